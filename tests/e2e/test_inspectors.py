"""Several inspectors: when one is killed, the others continue and no client notices."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPResponse
from pathlib import Path

from small_internet import SmallInternet
from small_internet.clients import curl
from small_internet.family import COMPUTER, LISTS, family_policy
from small_internet.running import Hedgerow, running_hedgerow, wait_until


def test_the_next_inspector_is_asked_when_one_is_down(internet: SmallInternet) -> None:
    options = ["--inspectors", "2"]
    with running_hedgerow(
        family_policy(internet), lists=LISTS, options=options, upstream_authority=internet.authority.root
    ) as running:

        def status(path: str) -> int:
            return curl(
                internet.url("www.school.example", path), proxy=running.proxy, source=COMPUTER, ca=running.authority
            ).status

        pids = running.pids("inspector")
        assert len(pids) == 2
        os.kill(pids[0], signal.SIGKILL)
        assert [status(path) for path in ("/secret/x", "/open") * 4] == [403, 200] * 4
        wait_until(lambda: len(set(running.pids("inspector"))) == 2 and pids[0] not in running.pids("inspector"), 30)


def test_kills_under_load_let_nothing_through(internet: SmallInternet) -> None:
    """Gates and inspectors are killed while requests go on: what is blocked is never shown, and what is open soon opens
    again.
    """
    with running_hedgerow(
        family_policy(internet), lists=LISTS, upstream_authority=internet.authority.root, workers=2
    ) as running:
        over = threading.Event()

        def status(path: str) -> int:
            url = internet.url("www.school.example", path)
            return curl(url, proxy=running.proxy, source=COMPUTER, ca=running.authority, timeout=5).status

        def ask(path: str) -> list[int]:
            found = list[int]()
            while not over.is_set():
                found.append(status(path))
            return found

        with ThreadPoolExecutor(3) as pool:
            asking = [pool.submit(ask, path) for path in ("/secret/x", "/secret/y", "/open")]
            try:
                for role in ("inspector", "gate") * 3:
                    (pid, *_) = running.pids(role)
                    os.kill(pid, signal.SIGKILL)

                    def is_replaced(role: str = role, pid: int = pid) -> bool:
                        return pid not in running.pids(role) and len(running.pids(role)) > 0

                    wait_until(is_replaced, 30)
                    wait_until(
                        lambda: [status(path) for path in ("/open", "/secret/x")] == [200, 403], 30, "it serves again"
                    )
            finally:
                over.set()
            refused, refused_too, opened = (each.result() for each in asking)
        assert 403 in refused
        assert {*refused, *refused_too} <= {403, 503, 0}
        assert {200} <= {*opened} <= {200, 503, 0}


def test_inspected_connections_outlive_their_gate(internet: SmallInternet) -> None:
    """Every gate is killed: a download goes on, and on a kept connection requests are judged as ever."""
    with running_hedgerow(family_policy(internet), lists=LISTS, upstream_authority=internet.authority.root) as running:
        authority = running.authority
        with downloading(running, authority, internet) as download, inspected(running, authority, internet) as kept:
            gates = set(running.pids("gate"))
            assert gates
            for pid in gates:
                os.kill(pid, signal.SIGKILL)
            wait_until(
                lambda: (now := set(running.pids("gate"))) and not gates & now, 30, "the gates' successors serve"
            )
            assert not any(Path(f"/proc/{pid}").exists() for pid in gates)
            assert sum(len(download.recv(65536)) for _ in range(2000)) > 20_000_000, "more than what was on its way"
            for path, status in (("/open", 200), ("/secret/x", 403), ("/open", 200)):
                kept.sendall(f"GET {path} HTTP/1.1\r\nHost: www.school.example\r\n\r\n".encode())
                answer = HTTPResponse(kept)
                answer.begin()
                assert (answer.status, bool(answer.read())) == (status, True)


@contextlib.contextmanager
def inspected(running: Hedgerow, authority: Path, internet: SmallInternet) -> Iterator[ssl.SSLSocket]:
    """An inspected connection of the computer's, on which nothing was asked yet."""
    host, proxy = "www.school.example", running.proxy
    with socket.create_connection(proxy, 10, (COMPUTER, 0)) as client:
        client.sendall(f"CONNECT {host}:{internet.origins.https_port} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert client.recv(1000).startswith(b"HTTP/1.1 200")
        context = ssl.create_default_context(cafile=str(authority))
        with context.wrap_socket(client, server_hostname=host) as secured:
            yield secured


@contextlib.contextmanager
def downloading(running: Hedgerow, authority: Path, internet: SmallInternet) -> Iterator[ssl.SSLSocket]:
    """Such a connection on which an answer has begun that never ends."""
    with inspected(running, authority, internet) as secured:
        secured.sendall(b"GET /endless HTTP/1.1\r\nHost: www.school.example\r\n\r\n")
        assert secured.recv(1000).startswith(b"HTTP/1.1 200")
        yield secured


def test_a_successor_takes_over_without_cutting_connections(internet: SmallInternet) -> None:
    """A download that began before goes on in the elder; requests all the while are served; the elder ends with the
    download.
    """
    with running_hedgerow(family_policy(internet), lists=LISTS, upstream_authority=internet.authority.root) as running:
        (elder,), authority = running.pids("inspector"), running.authority
        over = threading.Event()

        def ask() -> list[int]:
            found = list[int]()
            while not over.is_set():
                urls = [internet.url("www.school.example", path) for path in ("/open", "/secret/x")]
                found += [curl(url, proxy=running.proxy, source=COMPUTER, ca=authority).status for url in urls]
            return found

        with ThreadPoolExecutor(1) as pool, downloading(running, authority, internet) as download:
            asking = pool.submit(ask)
            try:
                os.kill(elder, signal.SIGUSR1)
                wait_until(lambda: is_replaced(running, elder), 30, "the successor serves")
                assert Path(f"/proc/{elder}").exists()
                assert sum(len(download.recv(65536)) for _ in range(2000)) > 20_000_000, "more than what was on its way"
            finally:
                over.set()
            assert set(asking.result()) == {200, 403}
        wait_until(lambda: not Path(f"/proc/{elder}").exists(), 30, "the elder ends")
        wait_until(
            lambda: 'hedgerow_worker_renewals_total{role="inspector"} 1.0' in curl(f"{running.web}/metrics").text,
            30,
            "counted",
        )


def is_replaced(running: Hedgerow, elder: int) -> bool:
    rows = json.loads((running.state / "run" / "workers.json").read_bytes())["workers"]
    return any(row["role"] == "inspector" and row["ready"] and row["pid"] != elder for row in rows)


def test_an_inspector_without_connections_ends_before_its_successor_starts(internet: SmallInternet) -> None:
    """A small machine has no memory for two."""
    with running_hedgerow(family_policy(internet), lists=LISTS, upstream_authority=internet.authority.root) as running:
        (elder,) = running.pids("inspector")
        os.kill(elder, signal.SIGUSR1)
        wait_until(lambda: is_replaced(running, elder), 30, "the successor serves")
        assert not Path(f"/proc/{elder}").exists()
        assert "inspector 0 ended" not in running.stderr, "which is no failure"
        answer = curl(
            internet.url("www.school.example", "/open"), proxy=running.proxy, source=COMPUTER, ca=running.authority
        )
        assert answer.status == 200
