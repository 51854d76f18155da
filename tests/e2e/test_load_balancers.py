"""dnsdist and HAProxy in front: the PROXY protocol tells Hedgerow which device asks, and HAProxy's health check works
without tricks.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from small_internet import SmallInternet
from small_internet.clients import curl, kdig
from small_internet.family import LISTS, OWN_LISTS
from small_internet.running import Hedgerow, network_section, parse_address, running_hedgerow, wait_until

BALANCER, CHILD, ADULT = "127.0.0.9", "127.0.0.41", "127.0.0.42"
NAME = "dns.home.example"
PEOPLE = f"""
people:
  mia: {{age: 9, devices: [mia-tablet]}}
  ann: {{profile: adult, devices: [ann-phone]}}
devices:
  mia-tablet: {{ip: {CHILD}}}
  ann-phone: {{ip: {ADULT}}}
"""


@pytest.fixture(scope="module")
def behind(whole_internet: SmallInternet) -> Iterator[Hedgerow]:
    policy = (
        network_section(whole_internet)
        + f"  server_name: {NAME}\n  proxy_protocol_from: [{BALANCER}]\n"
        + PEOPLE
        + OWN_LISTS
    )
    with running_hedgerow(
        policy, lists=LISTS, options=("--dot", "127.0.0.1:0"), upstream_authority=whole_internet.authority.root
    ) as running:
        yield running


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def started(port: int, log: Path, *words: str) -> Iterator[None]:
    with log.open("w") as file, subprocess.Popen(words, stdout=file, stderr=file, stdin=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                assert process.poll() is None, log.read_text()
                time.sleep(0.02)
            yield
        finally:
            process.terminate()


@pytest.mark.skipif(shutil.which("dnsdist") is None, reason="dnsdist is not installed")
def test_dnsdist(behind: Hedgerow, whole_internet: SmallInternet, tmp_path: Path) -> None:
    port, config = free_port(), tmp_path / "dnsdist.conf"
    config.write_text(
        f'setLocal("127.0.0.1:{port}")\nsetACL("127.0.0.0/8")\nsetSecurityPollSuffix("")\n'
        f'newServer({{address="{behind.dns[0]}:{behind.dns[1]}",'
        f' source="{BALANCER}", useProxyProtocol=true, checkInterval=1}})\n'
    )
    with started(port, tmp_path / "log", "dnsdist", "--supervised", "--disable-syslog", "-C", str(config)):
        opened = [whole_internet.address_of("adult.example")]
        for options in ((), ("+tcp",)):
            # once its health check has passed
            wait_until(lambda options=options: _asked(port, ADULT, options) == opened, 20)  # type: ignore[misc]
            for _ in range(2):
                assert _asked(port, ADULT, options) == opened
                assert _asked(port, CHILD, options) == ["0.0.0.0"]
    assert kdig(behind.dns, "bank.example", source=BALANCER, options=("+time=1", "+retry=0")) is None, (
        "without a header it gets nothing"
    )


def _asked(port: int, source: str, options: tuple[str, ...]) -> list[str]:
    found = kdig(("127.0.0.1", port), "adult.example", source=source, options=options)
    return found.data("A") if found is not None else []


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed")
def test_haproxy(behind: Hedgerow, whole_internet: SmallInternet, tmp_path: Path) -> None:
    dot, proxy, stats = free_port(), free_port(), tmp_path / "stats.sock"
    inside = parse_address(behind.ready_line.partition(" dot=")[2].split()[0])
    web = urlsplit(behind.web)
    send = f"source {BALANCER} send-proxy-v2 check port {web.port} addr {web.hostname} inter 200ms"
    config = tmp_path / "haproxy.cfg"
    config.write_text(
        f"global\n  stats socket {stats} level admin\n"
        "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n"
        f"listen dot\n  bind 127.0.0.1:{dot}\n  option httpchk GET /healthz\n"
        f"  server one {inside[0]}:{inside[1]} {send}\n"
        f"listen proxy\n  bind 127.0.0.1:{proxy}\n  option httpchk GET /readyz\n"
        f"  server one {behind.proxy[0]}:{behind.proxy[1]} {send}\n"
    )
    with started(proxy, tmp_path / "log", "haproxy", "-W", "-db", "-f", str(config)):
        wait_until(lambda: _checks(stats) == {"dot": "L7OK", "proxy": "L7OK"}, 20, "the health check")
        tls = ("+tls", f"+tls-ca={behind.authority}", f"+tls-hostname={NAME}")
        assert _asked(dot, CHILD, tls) == ["0.0.0.0"]
        assert _asked(dot, ADULT, tls) == [whole_internet.address_of("adult.example")]
        url = f"http://adult.example:{whole_internet.origins.http_port}/"
        assert curl(url, proxy=("127.0.0.1", proxy), source=CHILD).status == 403
        assert curl(url, proxy=("127.0.0.1", proxy), source=ADULT).status == 200


def _checks(stats: Path) -> dict[str, str]:
    """Return the state of each server's health check, which HAProxy sends as HTTP/1.0 without a Host field."""
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(stats))
            sock.sendall(b"show stat\n")
            said = b"".join(iter(lambda: sock.recv(65536), b"")).decode()
    except OSError:
        return {}
    head, *rows = [line.split(",") for line in said.removeprefix("# ").splitlines() if line]
    found = [dict(zip(head, row, strict=False)) for row in rows]
    return {row["pxname"]: row["check_status"].lstrip("* ") for row in found if row["svname"] == "one"}
