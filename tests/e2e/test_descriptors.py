"""File descriptors: as many as the system allows, and no device takes those of the others."""

from __future__ import annotations

import contextlib
import resource
import socket
from pathlib import Path

from small_internet import SmallInternet
from small_internet.clients import curl
from small_internet.family import COMPUTER, LISTS, TABLET, family_policy
from small_internet.running import running_hedgerow

SESSION_LIMIT = 1024  # more than the two small internets take that tests of one process may have
TUNNELS = 300


def test_tunnels_of_one_device_leave_descriptors_for_others(whole_internet: SmallInternet) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.ExitStack() as stack:
        resource.setrlimit(resource.RLIMIT_NOFILE, (SESSION_LIMIT, hard))
        try:
            running = stack.enter_context(running_hedgerow(family_policy(whole_internet), lists=LISTS))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        (gate,) = running.pids("gate")
        limits = Path(f"/proc/{gate}/limits").read_text()
        (allowed,) = [int(line.split()[3]) for line in limits.splitlines() if line.startswith("Max open files")]
        assert allowed > SESSION_LIMIT
        for _ in range(TUNNELS):
            tunnel = stack.enter_context(
                socket.create_connection(running.proxy, source_address=(TABLET, 0), timeout=20)
            )
            tunnel.sendall(
                f"CONNECT bank.example:{whole_internet.origins.https_port} HTTP/1.1\r\nHost: "
                f"bank.example\r\n\r\n".encode()
            )
        page = curl(whole_internet.url("bank.example", "/", "http"), proxy=running.proxy, source=COMPUTER)
        assert page.status == 200, running.stderr
        assert "Too many open files" not in running.stderr
