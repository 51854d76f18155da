"""After requests in each lane, the libraries in every process are what they are in a process of their own: nothing was
replaced.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import library_state
from small_internet import SmallInternet
from small_internet.clients import curl, kdig
from small_internet.family import TABLET
from small_internet.running import Hedgerow, network_section, parse_address, running_hedgerow, wait_until

NAME = "dns.home.example"
INSPECTED, TUNNELLED, CHAT = "www.school.example", "bank.example", "chat.example"
QUERY = "AAABAAABAAAAAAAABGJhbmsHZXhhbXBsZQAAAQAB"  # bank.example A
PEOPLE = f"""
people:
  mia: {{age: 14, devices: [mia-tablet], block: ["{INSPECTED}/secret", "{CHAT}/secret"]}}
devices:
  mia-tablet: {{ip: {TABLET}, trusts_ca: true}}
"""


def ask_in_each_lane(running: Hedgerow, net: SmallInternet) -> None:
    for version in ("--http1.1", "--http2"):
        for method in ("GET", "POST"):
            url, more = net.url(INSPECTED, "/open"), ["--data", "x"] if method == "POST" else []
            assert (
                curl(url, proxy=running.proxy, source=TABLET, ca=running.authority, options=[version, *more]).status
                == 200
            )
    assert open_websocket(running, net).startswith(b"HTTP/1.1 101 ")
    assert curl(net.url(TUNNELLED), proxy=running.proxy, source=TABLET, ca=net.authority.root).status == 200
    assert curl(net.url(INSPECTED, "/open", scheme="http"), proxy=running.proxy, source=TABLET).status == 200
    for lane, how in (("doh", "https"), ("doq", "quic"), ("dot", "tls")):
        options = (f"+{how}", f"+tls-ca={running.authority}", f"+tls-hostname={NAME}", f"+tls-sni={NAME}")
        assert kdig(place(running, lane), TUNNELLED, "A", source=TABLET, options=options) is not None
    for how in ("+notcp", "+tcp"):
        assert kdig(running.dns, TUNNELLED, "A", source=TABLET, options=[how]) is not None
    for version, lane in (("--http1.1", "doh"), *((("--http3-only", "doh3"),) if curl_has_http3() else ())):
        host, port = place(running, lane)
        query = f"https://{NAME}:{port}/dns-query?dns={QUERY}"
        at = [f"{NAME}:{port}:{host}"]
        assert curl(query, source=TABLET, ca=running.authority, resolve=at, options=[version]).status == 200
    assert curl(running.web).status in {200, 303}


def place(running: Hedgerow, lane: str) -> tuple[str, int]:
    found = re.search(rf" {lane}=(\S+)", running.ready_line)
    assert found
    return parse_address(found[1])


def curl_has_http3() -> bool:
    return "HTTP3" in subprocess.run(["curl", "-V"], capture_output=True, text=True, check=True).stdout


def open_websocket(running: Hedgerow, net: SmallInternet) -> bytes:
    """Return the beginning of an inspected origin's answer to a client that asks for a WebSocket."""
    asked = (
        f"GET /websocket HTTP/1.1\r\nHost: {CHAT}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    context = ssl.create_default_context(cafile=str(running.authority))
    with socket.create_connection(running.proxy, 10, (TABLET, 0)) as client:
        client.sendall(f"CONNECT {CHAT}:{net.origins.https_port} HTTP/1.1\r\nHost: {CHAT}\r\n\r\n".encode())
        assert client.recv(999).startswith(b"HTTP/1.1 200 ")
        with context.wrap_socket(client, server_hostname=CHAT) as inside:
            inside.sendall(asked.encode())
            return inside.recv(999)


def states(running: Hedgerow) -> list[dict[str, Any]]:
    """Return what all processes report of their libraries."""
    pids = [pid for pid in running.all_pids() if is_handled(pid)]
    for pid in pids:
        os.kill(pid, library_state.SIGNAL)

    def reported() -> list[dict[str, Any]]:
        lines = [line for line in running.stderr.splitlines(keepends=True) if line.startswith(library_state.MARK)]
        return [json.loads(line.removeprefix(library_state.MARK)) for line in lines if line.endswith("\n")]

    return wait_until(lambda: found if len(found := reported()) >= len(pids) else [], 60, "all processes report")


def is_handled(pid: int) -> bool:
    """Return whether a process handles the signal, which would end any other."""
    with contextlib.suppress(OSError):
        caught = re.search(r"SigCgt:\s*([0-9a-f]+)", Path(f"/proc/{pid}/status").read_text())
        return caught is not None and bool(int(caught[1], 16) >> (library_state.SIGNAL - 1) & 1)
    return False


def test_nothing_of_a_library_is_replaced(whole_internet: SmallInternet, tmp_path: Path) -> None:
    support = str(Path(library_state.__file__).parent)
    lines = ["import sys", f"sys.path.append({support!r})", "import library_state", "library_state.report_on_signal()"]
    (tmp_path / "sitecustomize.py").write_text("\n".join(lines) + "\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    policy = network_section(whole_internet) + f"  server_name: {NAME}\n" + PEOPLE
    options = [word for name in ("dot", "doh", "doq", "doh3") for word in (f"--{name}", "127.0.0.1:0")]
    with running_hedgerow(
        policy, options=options, environment=environment, upstream_authority=whole_internet.authority.root
    ) as running:
        ask_in_each_lane(running, whole_internet)
        reported = states(running)
    used = {name.partition(".")[0] for each in reported for name in each["modules"]}
    assert used >= {"mitmproxy", "h2", "hpack", "aioquic", "uvicorn", "h11", "ssl", "starlette"}
    for each in reported:
        fresh = subprocess.run(
            [sys.executable, library_state.__file__],
            input=json.dumps(each["modules"]),
            capture_output=True,
            text=True,
            check=True,
        )
        assert each["state"] == json.loads(fresh.stdout)
