"""What is recorded, as lines of JSON beside the journal, and single decisions in the log of the debug level."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
from small_internet import SmallInternet
from small_internet.clients import kdig
from small_internet.running import network_section, running_hedgerow, wait_until

CHILD, PARENT = "127.0.0.6", "127.0.0.41"


def test_decisions_are_written_for_collectors_but_no_visit_to_a_helpline(
    whole_internet: SmallInternet, tmp_path: Path
) -> None:
    file = tmp_path / "logs" / "events.jsonl"
    policy = (
        f"{network_section(whole_internet)}  log_to: {file.name}\npeople:\n  mia: {{age: 9, privacy: domain, devices:"
        f" [tablet]}}\n  ana: {{age: 41, privacy: category, devices: [phone]}}\ndevices: {{tablet: {{ip: {CHILD}}},"
        f" phone: {{ip: {PARENT}}}}}\n"
    )
    with running_hedgerow(policy, options=["--log-level", "debug", "--logs", str(file.parent)]) as running:
        kdig(running.dns, "www.childline.org.uk", source=CHILD)
        kdig(running.dns, "secret.example", source=PARENT)
        kdig(running.dns, "pornhub.com", source=CHILD)

        def decisions() -> list[dict[str, object]]:
            rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
            found = [row for row in rows if row["type"] == "decision"]
            return found if {"tablet", "phone"} <= {row["device"] for row in found} else []

        rows = wait_until(decisions, 20, "two decisions in the file")
        blocked = next(row for row in rows if row.get("host") == "pornhub.com")
        assert (blocked["person"], blocked["verdict"], blocked["what"]) == ("mia", "block", "adult")
        wait_until(
            lambda: "tablet (mia) dns pornhub.com: block, category adult" in running.stderr,
            20,
            "the decision in the log",
        )
        for text in (file.read_text(), running.stderr):
            assert "childline" not in text
            assert "secret.example" not in text


def test_no_policy_makes_hedgerow_write_to_a_start_file_of_a_shell(
    whole_internet: SmallInternet, tmp_path: Path
) -> None:
    shell = tmp_path / ".bashrc"
    shell.write_text("# my shell\n")
    good = f"{network_section(whole_internet)}  log_to: events.jsonl\ndevices: {{tablet: {{ip: {CHILD}}}}}\n"
    bad = good.replace("events.jsonl", str(shell))
    line = 1 + bad[: bad.index("log_to")].count("\n")
    with running_hedgerow(good) as running:
        file = running.state / "logs" / "events.jsonl"

        def lines_after(name: str) -> int:
            kdig(running.dns, name, source=CHILD)
            return len(file.read_text().splitlines()) if file.exists() else 0

        known = wait_until(lambda: lines_after("pornhub.com"), 20, "a line in the file")
        socket = httpx.HTTPTransport(uds=str(running.state / "run" / "control.sock"), verify=False)
        with httpx.Client(transport=socket, base_url="http://localhost/api/v1", timeout=60) as machine:
            refused = machine.patch("/policy", json={"network": {"log_to": [str(shell)]}})
            assert (refused.status_code, "is not the name of a file" in refused.text) == (422, True), refused.text

        running.edit_policy(bad)
        wait_until(lambda: f"hedgerow.yaml:{line}:" in running.stderr, 20, "the mistake with its place in the log")
        checked = running.run("check", str(running.policy_path))
        told = "".join((checked.stdout + checked.stderr).split())
        assert checked.returncode == 1
        assert f"{shell}' is not the name of a file, such as events.jsonl".replace(" ", "") in told
        assert "hedgerowup--logs" in told
        wait_until(lambda: lines_after("porn.com") > known, 20, "lines in the file of the last good policy")
        assert shell.read_text() == "# my shell\n"


def test_a_path_of_an_earlier_version_does_not_keep_the_filter_from_starting(
    whole_internet: SmallInternet, tmp_path: Path
) -> None:
    old = tmp_path / "events.jsonl"
    policy = f"{network_section(whole_internet)}  log_to: [{old}, events.jsonl]\ndevices: {{tablet: {{ip: {CHILD}}}}}\n"
    with running_hedgerow(policy) as running:  # no last good policy that this version reads
        assert "nothing is written to these places of log_to" in running.stderr
        assert f"{old}' is not the name of a file, such as events.jsonl" in " ".join(running.stderr.split())
        file = running.state / "logs" / "events.jsonl"

        def lines() -> str:
            answer = kdig(running.dns, "pornhub.com", source=CHILD)
            assert answer is not None
            assert answer.data("A") == ["0.0.0.0"]
            return file.read_text() if file.exists() else ""

        wait_until(lines, 20, "a line in the other place")
        assert not old.exists()
        ready = httpx.get(f"{running.web}/readyz", verify=False, timeout=60)
        assert (ready.status_code, "the newest policy has mistakes" in ready.text) == (503, True), ready.text
        running.edit_policy(policy.replace(f"{old}, ", ""))
        wait_until(
            lambda: httpx.get(f"{running.web}/readyz", verify=False, timeout=60).status_code == 200,
            20,
            "the policy without the mistake",
        )
