"""The setup code of `hedgerow up`: in a terminal with a QR code, never in a log, and new at each start."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
from multiprocessing.connection import wait
from pathlib import Path

import httpx
from small_internet import SmallInternet
from small_internet.running import (
    executable,
    hedgerow_command,
    network_section,
    running_hedgerow,
    setup_code,
    without_internet,
)

PASSWORD = "four words and more"


def read_until(terminal: int, end: str, seconds: float = 60) -> str:
    """Return what is shown on the terminal up to `end`."""
    shown = b""
    while end not in shown.decode(errors="replace"):
        assert wait([terminal], seconds), shown.decode(errors="replace")
        shown += os.read(terminal, 65536)
    return shown.decode(errors="replace")


def check_that_nothing_is_open(web: str) -> None:
    """Try what another user of the machine could do without the code."""
    with httpx.Client(base_url=web, trust_env=False, headers={"origin": web}, verify=False, timeout=60) as browser:
        for path in ("/", "/people", "/log", "/settings", "/start/people", "/sign-in"):
            page = browser.get(path)
            assert (page.status_code, page.headers.get("location")) in {(303, "/start"), (200, None)}, path
            assert page.status_code == 303 or "Setup code" in page.text, path
        for path in ("/api/v1/status", "/api/v1/setup", "/api/v1/policy", "/today/children"):
            assert browser.get(path).status_code in {401, 303}, path
        for path in (
            "/pause",
            "/start/people",
            "/settings/tokens",
            "/api/v1/pause",
            "/api/v1/accounts",
            "/api/v1/tokens",
        ):
            assert browser.post(path, data={"name": "eve"}).status_code == 401, path
        assert browser.get("/metrics").status_code == 200


def test_a_terminal_shows_addresses_and_the_code(whole_internet: SmallInternet, tmp_path: Path) -> None:
    state = tmp_path / "state"
    (tmp_path / "hedgerow.yaml").write_text(network_section(whole_internet))
    ours, theirs = pty.openpty()
    command = [
        executable(),
        "up",
        "--state",
        str(state),
        "--dns",
        "127.0.0.1:0",
        "--proxy",
        "127.0.0.1:0",
        "--web",
        "127.0.0.1:0",
    ]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=theirs, stderr=subprocess.DEVNULL, env=without_internet()
    ) as process:
        try:
            shown = read_until(ours, "until the first password is set")
            code = setup_code(state)
            found = re.search(r"on this machine:  (http://\S+)/start#(\S+)", shown)
            assert found, shown
            assert found[2] == code
            page = httpx.get(f"{found[1]}/start", trust_env=False, verify=False, timeout=60)
            assert (page.status_code, code in page.text) == (200, False)
            check_that_nothing_is_open(found[1])
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
            os.close(theirs)
            os.close(ours)


def test_the_code_is_new_at_each_start_in_no_file_and_over_with_the_first_account(
    whole_internet: SmallInternet, tmp_path: Path
) -> None:
    policy, codes = network_section(whole_internet), []
    for _ in range(2):
        with running_hedgerow(policy, directory=tmp_path) as running:
            codes.append(running.setup_code)
            assert re.fullmatch(r"[A-HJKMNP-Z2-9]{5}-[A-HJKMNP-Z2-9]{5}", codes[-1])
            assert "setup" not in running.ready_line
    assert codes[0] != codes[1]
    with running_hedgerow(policy, directory=tmp_path) as running:
        codes.append(running.setup_code)
        form = {"name": "Ana", "password": PASSWORD, "code": codes[0]}
        origin = {"origin": running.web}
        assert (
            httpx.post(
                f"{running.web}/start/password",
                data=form,
                headers=origin,
                trust_env=False,
                verify=False,
                timeout=60,
            ).status_code
            == 403
        )
        form["code"] = codes[2]
        assert (
            httpx.post(
                f"{running.web}/start/password",
                data=form,
                headers=origin,
                trust_env=False,
                verify=False,
                timeout=60,
            ).status_code
            == 303
        )
        assert json.loads(hedgerow_command("setup", "--json", "--state", str(running.state)).stdout)["code"] == ""
        assert "setup code" not in running.run("setup").stdout
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(
        code.replace("-", mark).encode() in content for code in codes for mark in ("-", "") for content in files
    )
