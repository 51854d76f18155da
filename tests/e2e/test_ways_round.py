"""Bypass attempts of clever children, hostile clients and hostile origins."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import stat
import subprocess
import threading
import time
from pathlib import Path

import pytest
from small_internet import SmallInternet
from small_internet.bodies import body, body_sha256
from small_internet.clients import HttpAnswer, curl, curl_shows, kdig
from small_internet.family import COMPUTER, LISTS, TABLET, family_policy
from small_internet.running import Hedgerow, running_hedgerow, wait_until

from hedgerow.proxy.handover import HandoverHeader, encode_handover_header

HEAD_LIMIT = 32_000_000
"""More than any head needs and than the sockets on the way hold; who has sent so much of one must have been cut off."""


def fetch(running: Hedgerow, internet: SmallInternet, url: str, source: str = TABLET, **options: object) -> HttpAnswer:
    authority = running.authority if source == COMPUTER else internet.authority.root
    return curl(url, proxy=running.proxy, source=source, ca=authority, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("source", [TABLET, COMPUTER])
@pytest.mark.parametrize("connect_to", ["the address", "bank.example"])
def test_a_tunnel_under_another_name_is_judged_by_its_sni(
    family: Hedgerow, internet: SmallInternet, source: str, connect_to: str
) -> None:
    port = internet.origins.https_port
    instead = internet.address_of("adult.example") if connect_to == "the address" else connect_to
    mapping = ["--connect-to", f"adult.example:{port}:{instead}:{port}"]
    answer = fetch(family, internet, internet.url("adult.example"), source, options=mapping)
    assert answer.status in (0, 403), answer.error
    assert internet.origins.connections() == []


def test_each_request_of_a_kept_connection_is_judged(family: Hedgerow, internet: SmallInternet) -> None:
    urls = [
        internet.url("bank.example", "/1", "http"),
        internet.url("adult.example", "/2", "http"),
        internet.url("bank.example", "/3", "http"),
    ]
    command = [
        "curl",
        "-s",
        "-w",
        "%{http_code}/%{num_connects} ",
        "-x",
        f"http://127.0.0.1:{family.proxy[1]}",
        "--interface",
        TABLET,
    ]
    for url in urls:
        command += ["-o", "/dev/null", url]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=30, check=False, env={"PATH": "/usr/bin:/bin"}
    )
    assert [each.partition("/")[0] for each in done.stdout.split()] == ["200", "403", "200"]
    assert internet.origins.requests() == [("bank.example", "/1"), ("bank.example", "/3")]


def test_the_url_decides_and_not_the_host_header(family: Hedgerow, internet: SmallInternet) -> None:
    answer = fetch(family, internet, internet.url("bank.example", "/", "http"), headers=["Host: adult.example"])
    assert answer.status != 200 or answer.json()["host"].partition(":")[0] == "bank.example"


def test_case_and_a_trailing_dot_do_not_bypass(family: Hedgerow, internet: SmallInternet) -> None:
    for name in ("ADULT.eXample", "adult.example.", "Www.Adult.Example."):
        answer = kdig(family.dns, name, source=TABLET)
        assert answer is not None
        assert answer.data("A") == ["0.0.0.0"]
        assert fetch(family, internet, internet.url(name, "/", "http")).status == 403


def test_the_inspector_serves_the_gate_only(family: Hedgerow, internet: SmallInternet) -> None:
    """It is in no network at all, and its socket is for the gate's user only; not even there it answers without an
    introduction.
    """
    assert _listening_ports(family.pids("inspector")) == []
    path = family.state / "run" / "inspect" / "0.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    request = b"GET http://bank.example/ HTTP/1.1\r\nHost: bank.example\r\n\r\n"
    # A key of somebody else's; words that are no introduction at all.
    for line in (encode_handover_header(b"k" * 32, HandoverHeader(TABLET, None), time.time()), b"- - -\r\n", b""):
        ours, theirs = socket.socketpair()
        with ours, theirs, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as post:
            post.connect(str(path))
            socket.send_fds(post, [line + request], [theirs.fileno()])
            theirs.close()
            ours.settimeout(10)
            with contextlib.suppress(ConnectionResetError):
                assert ours.recv(1000) == b""
    assert internet.origins.requests() == []


def _listening_ports(pids: list[int]) -> list[int]:
    found = []
    for pid in pids:
        inodes = {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}
        for kind in ("tcp", "tcp6"):
            rows = [line.split() for line in Path(f"/proc/{pid}/net/{kind}").read_text().splitlines()[1:]]
            found += [
                int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in inodes
            ]
    return found


def leads_to_the_guide(answer: HttpAnswer) -> bool:
    """Before there is a password, pages lead to the guide, which asks for the setup code."""
    return answer.status == 303 and answer.headers["location"] == ["/start"]


def test_devices_do_not_reach_the_pages_of_the_people_in_charge(family: Hedgerow, internet: SmallInternet) -> None:
    port = family.web.rpartition(":")[2]
    assert curl(f"{family.web}/metrics").status == 200, "a program that scrapes metrics on the machine itself"
    for url in (f"{family.web}/", f"{family.web}/metrics"):
        answer = curl(url, source=TABLET)
        assert answer.status in (401, 403) or leads_to_the_guide(answer), url
        assert curl(url, headers=["Host: rebinding.oddities.example"]).status in (400, 401, 403, 421), url
    for url in (f"{family.web}/", f"http://rebinding.oddities.example:{port}/"):
        answer = fetch(family, internet, url)
        assert answer.status in (403, 502) or leads_to_the_guide(answer), url


@pytest.mark.parametrize("source", [TABLET, COMPUTER])
@pytest.mark.parametrize("host", ["files.example", "www.school.example", "www.google.com"])
def test_uploads_arrive_whole_in_every_lane(
    family: Hedgerow, internet: SmallInternet, tmp_path: Path, source: str, host: str
) -> None:
    (tmp_path / "data").write_bytes(b"".join(body(20_000_000)))
    for scheme in ("http", "https"):
        inspected = source == COMPUTER
        authority = family.authority if inspected else internet.authority.root
        options = ["--data-binary", f"@{tmp_path / 'data'}"]
        answer = curl(
            internet.url(host, "/upload", scheme), proxy=family.proxy, source=source, ca=authority, options=options
        )
        assert (answer.exit_code, answer.status) == (0, 200), answer.error
        assert answer.json() == {"length": 20_000_000, "sha256": body_sha256(20_000_000)}


def test_streams_are_not_delayed(family: Hedgerow, internet: SmallInternet) -> None:
    for source, url in (
        (TABLET, internet.url("files.example", "/sse/3", "http")),
        (COMPUTER, internet.url("www.school.example", "/sse/3")),
    ):
        authority = family.authority if source == COMPUTER else internet.authority.root
        assert curl_shows(url, b"event 2", proxy=family.proxy, source=source, ca=authority)


def test_lifelines_are_not_logged(family: Hedgerow, internet: SmallInternet) -> None:
    for source in (TABLET, COMPUTER):
        answer = kdig(family.dns, "www.childline.org.uk", source=source)
        assert answer is not None
        assert answer.data("A") == [internet.address_of("www.childline.org.uk")]
        assert curl(internet.url("www.childline.org.uk", "/", "http"), proxy=family.proxy, source=source).status == 200
        through = curl(
            internet.url("www.childline.org.uk"), proxy=family.proxy, source=source, ca=internet.authority.root
        )
        assert through.status == 200, "a helpline was inspected"
    fetch(family, internet, internet.url("gambling.example", "/marker-of-the-journal", "http"))
    wait_until(lambda: "gambling.example" in family.run("log", "--json").stdout, 30, "the journal is written")
    assert "childline" not in family.run("log", "--json", "--limit", "1000").stdout
    kept = b"".join(path.read_bytes() for path in family.state.glob("journal*"))
    assert b"childline" not in kept
    assert "childline" not in family.stderr


def test_endless_heads_are_refused_on_persistent_connections(family: Hedgerow, internet: SmallInternet) -> None:
    with socket.create_connection(family.proxy, timeout=10, source_address=(TABLET, 0)) as sock:
        sock.sendall(b"GET http://files.example/status/204 HTTP/1.1\r\nHost: files.example\r\n\r\n")
        assert sock.recv(1000).startswith(b"HTTP/1.1 204")
        assert _flood(sock) < HEAD_LIMIT


def test_endless_heads_are_refused_inside_tls(family: Hedgerow, internet: SmallInternet) -> None:
    target = f"www.school.example:{internet.origins.https_port}".encode()
    context = ssl.create_default_context(cafile=str(family.authority))
    with socket.create_connection(family.proxy, timeout=10, source_address=(COMPUTER, 0)) as sock:
        sock.sendall(b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (target, target))
        assert sock.recv(1000).startswith(b"HTTP/1.1 200")
        with context.wrap_socket(sock, server_hostname="www.school.example") as secured:
            assert _flood(secured) < HEAD_LIMIT


def _flood(sock: socket.socket) -> int:
    """Sends a head without end and returns how much of it was taken before the connection was closed."""
    sent = 0
    try:
        sock.sendall(b"GET http://files.example/ HTTP/1.1\r\n")
        while sent < HEAD_LIMIT:
            sock.sendall(b"X-Padding: " + b"p" * 8000 + b"\r\n")
            sent += 8013
    except (OSError, ssl.SSLError):
        pass
    return sent


def test_an_origin_with_an_endless_head_affects_nobody_else(internet: SmallInternet) -> None:
    with running_hedgerow(family_policy(internet), lists=LISTS) as running:
        (inspector,) = running.pids("inspector")
        before = _resident_mb(inspector)
        url = internet.url("broken.example", "/broken/endless-head", "http")
        victim = threading.Thread(target=lambda: fetch(running, internet, url, timeout=3))
        victim.start()
        try:
            wait_until(lambda: internet.origins.bytes_sent(internet.address_of("broken.example")) > 100_000, 30)
            time.sleep(1)
            assert fetch(running, internet, internet.url("bank.example", "/", "http")).status == 200
            assert _resident_mb(inspector) < before + 100
        finally:
            victim.join()
        wait_until(
            lambda: (
                not any(each.is_open for each in internet.origins.connections(internet.address_of("broken.example")))
            ),
            30,
        )


def _resident_mb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) // 1024


def test_explain_and_the_inspected_path_agree(family: Hedgerow, internet: SmallInternet) -> None:
    for path, verdict, status in (("/secret/x", "block", 403), ("/lessons", "allow", 200)):
        done = family.run("explain", "--json", "mia-computer", f"https://www.school.example{path}")
        assert json.loads(done.stdout)["decision"]["verdict"] == verdict
        assert fetch(family, internet, internet.url("www.school.example", path), COMPUTER).status == status
