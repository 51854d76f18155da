"""The short form of `make conformance`: all cases, but of WebSocket's only the quick ones, against Hedgerow alone."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator

import pytest
from http_conformance import Outcome, websocket
from http_conformance.certificates import root_of, run_certificates
from http_conformance.http2 import run_http2_cases
from http_conformance.proxies import HOST, Proxy, hedgerow
from http_conformance.run_messages import byte_origins, run_explicit, run_http2, run_inspected
from http_conformance.wire import ByteOrigin
from small_internet.whole import SmallInternet, small_internet


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Proxy, SmallInternet, ByteOrigin, ByteOrigin]]:
    """Hedgerow, and its origins of HTTP and HTTPS."""
    with (
        small_internet() as net,
        byte_origins(net) as (plain, secure),
        hedgerow(net, [plain.port, secure.port]) as proxy,
    ):
        yield proxy, net, plain, secure


def check(outcomes: Iterable[Outcome], least: int) -> None:
    found = list(outcomes)
    assert len(found) >= least
    assert [f"{each.case} (RFC {each.section}): {each.seen}" for each in found if not each.passed] == []


type Running = tuple[Proxy, SmallInternet, ByteOrigin, ByteOrigin]


def test_plain_http(running: Running) -> None:
    check(run_explicit(running[0], running[2]), 120)


def test_https(running: Running) -> None:
    check(run_inspected(running[0], running[3]), 110)


def test_http2_in_front(running: Running) -> None:
    check(run_http2(running[0], running[3]), 60)


def test_http2_frames(running: Running) -> None:
    check(run_http2_cases(running[0], running[3]), 90)


def test_certificates(running: Running) -> None:
    proxy, net, _, secure = running
    check(run_certificates(proxy, secure, root_of(net.authority), net.address_of(HOST)), 30)


def test_websocket() -> None:
    try:
        websocket.install()
    except subprocess.CalledProcessError:
        pytest.skip("kosoku can't be installed")
    with small_internet() as net, websocket.echo_server(net) as port, hedgerow(net, [port]) as proxy:
        check(websocket.run_websocket(proxy, net, port, websocket.SHORT), 50)
