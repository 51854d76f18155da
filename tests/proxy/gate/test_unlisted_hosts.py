"""The look at an unlisted host's server, by real handshakes: what is closed for a child, what stays open, and that it
is done once.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest
from proxy_stand import Stand, proxy_stand
from small_internet.clients import HttpAnswer, curl
from small_internet.records import parse_zone
from small_internet.whole import SmallInternet

from hedgerow.policies.model import DeviceId, Reason, Request, RequestKind
from hedgerow.policies.unlisted import UNTRUSTED_CERTIFICATE, CertificateFlaw
from hedgerow.proxy import certificate_examiner
from hedgerow.proxy.certificate_examiner import CertificateExaminer, Server

from ..conftest import ADULT, CHILD, LISTS

STRANGER = "127.0.0.44"
AT_HOME = "chat.example"


@pytest.fixture(scope="module")
def examining(net: SmallInternet, policy: str) -> Iterator[Stand]:
    with proxy_stand(
        net, policy, {**LISTS, "dynamic-dns": f"{AT_HOME}\n", "bypass": "vpn.example\n"}, examines=True
    ) as running:
        yield running


@pytest.fixture(autouse=True)
def _fresh(examining: Stand, net: SmallInternet) -> None:
    examining.reported()
    net.origins.forget_connections()


def fetch(stand: Stand, net: SmallInternet, host: str, source: str = CHILD) -> HttpAnswer:
    """As a client that takes any certificate."""
    return curl(net.url(host, "/open"), proxy=stand.proxy, source=source, insecure=True)


@pytest.mark.parametrize(
    ("host", "what"),
    [
        ("self-signed.example", UNTRUSTED_CERTIFICATE),
        ("wrong-name.example", UNTRUSTED_CERTIFICATE),
        (AT_HOME, "dynamic-dns"),
    ],
)
def test_a_server_that_proves_nothing_is_closed_with_a_reason(
    examining: Stand, net: SmallInternet, host: str, what: str
) -> None:
    answer = fetch(examining, net, host)
    assert (answer.status, answer.connect_status) == (0, 200)
    assert not [
        each for connection in net.origins.connections() for each in connection.requests if each.method == "GET"
    ]
    told = examining.wait_for(
        lambda found: any(each.decision and each.decision.reason is Reason.RECOGNISED for each in found)
    )
    assert {each.decision.what for each in told if each.decision and each.decision.reason is Reason.RECOGNISED} == {
        what
    }


@pytest.mark.parametrize("host", ["news.example", "expired.example"])
def test_what_ordinary_sites_do_stays_open(examining: Stand, net: SmallInternet, host: str) -> None:
    """A certificate that was issued yesterday, or that somebody forgot to renew."""
    assert fetch(examining, net, host).status == 200


def test_adults_are_not_concerned(examining: Stand, net: SmallInternet) -> None:
    assert fetch(examining, net, "self-signed.example", ADULT).status == 200


def test_a_machine_without_a_name_is_looked_after_only_where_it_could_be_a_childs(
    examining: Stand, net: SmallInternet, policy: str
) -> None:
    """A lamp's maker has an authority of its own, and so has whoever runs a proxy for a phone with a new address."""
    assert fetch(examining, net, "self-signed.example", STRANGER).status == 0
    examining.swap(policy=policy.replace("    age: 9\n", "    age: 40\n"))
    try:
        assert fetch(examining, net, "self-signed.example", STRANGER).status == 200
    finally:
        examining.swap(policy=policy)


def test_the_policy_opens_a_site(examining: Stand, net: SmallInternet, policy: str) -> None:
    examining.swap(policy=policy.replace("    age: 9\n", "    age: 9\n    allow: [self-signed.example]\n"))
    try:
        assert fetch(examining, net, "self-signed.example").status == 200
    finally:
        examining.swap(policy=policy)


def test_a_host_is_looked_at_once(examining: Stand, net: SmallInternet) -> None:
    host = "files.example"
    for _ in range(3):
        fetch(examining, net, host)
    assert len(net.origins.connections()) == 3 + 2, "one look asks over HTTP/1.1 and over HTTP/2"


def test_the_server_that_the_tunnel_leads_to_is_looked_at(examining: Stand, net: SmallInternet) -> None:
    """Not another address of the name, such as one where nobody answers."""
    nobody, there = f"{net.prefix}.250", net.address_of("self-signed.example")
    net.nameserver.add_zone(parse_zone("two-addresses.example", f"@ 60 A {nobody}\n@ 60 A {there}\n"))
    for _ in range(4):  # their order varies
        assert fetch(examining, net, "two-addresses.example").status == 0
    assert all(not connection.requests for connection in net.origins.connections())


PAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
SITE, PROXY, FRESH = CertificateFlaw.NONE, CertificateFlaw.PROXY, CertificateFlaw.FRESH
HOST = "proxy.example"


@dataclass
class TlsServer:
    """A server of somebody's own, and what it answers to each request. `is_answering` lets it answer. One that
    `keeps_alive` then waits for the end of the next request's head.
    """

    port: int
    said: bytes
    is_answering: asyncio.Event
    asked: int = 0
    keeps_alive: bool = False


@contextlib.asynccontextmanager
async def tls_server(
    net: SmallInternet, said: bytes, address: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[TlsServer]:
    leaf = net.authority.leaf(HOST)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(leaf.certificate, leaf.key)

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError):
            while data := await reader.read(4096):
                writer.write(data)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # of an examiner that has left
        with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError, OSError):
            asked = await reader.readuntil(b"\r\n\r\n")
            running.asked += 1
            await running.is_answering.wait()
            writer.write(running.said)
            if b"established" in running.said:
                there = asked.split()[1].decode().rpartition(":")[2]
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", int(there))
                await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))
            await writer.drain()
            if running.keeps_alive:
                await reader.readuntil(b"\r\n\r\n")

    async with await asyncio.start_server(answer, address, port, ssl=context) as server:
        running = TlsServer(server.sockets[0].getsockname()[1], said, asyncio.Event())
        running.is_answering.set()
        yield running


def server_at(port: int, host: str = HOST, owner: str = "tablet") -> Server:
    request = Request(DeviceId(owner), RequestKind.TUNNEL, host, port)
    return Server(host, "127.0.0.1", port, DeviceId(owner), request)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", PROXY),
        (b"HTTP/1.1 405 Method Not Allowed\r\nAllow: GET, HEAD\r\n\r\n", FRESH),
        (b"HTTP/1.1 405 Method Not Allowed\r\nAllow: GET, CONNECT\r\n\r\n", PROXY),
        (b"HTTP/1.1 403 Forbidden\r\nProxy-Agent: ours/1.0\r\n\r\n", PROXY),
        (b"HTTP/1.1 500 Unable to connect\r\nServer: tinyproxy/1.11.2\r\n\r\n", PROXY),
        (PAGE, FRESH),
        (b"HTTP/1.1 200 Connection established\r\n\r\n", PROXY),
        (b"", FRESH),
    ],
)
def test_a_proxy_behind_tls_is_told_from_a_site(net: SmallInternet, said: bytes, expected: CertificateFlaw) -> None:
    """With a password or without one. A server that answers any method with a page is a site."""

    async def look() -> list[CertificateFlaw]:
        async with tls_server(net, said) as server:
            examiner = CertificateExaminer(net.authority.root, also_private=True)
            looks = (examiner.examine(server_at(server.port, host)) for host in (HOST, "other.example"))
            return list(await asyncio.gather(*looks))

    assert asyncio.run(look()) == [expected, CertificateFlaw.OTHER_NAME]


@pytest.mark.parametrize(("said", "expected"), [(b"HTTP/1.1 407 No\r\n\r\n", PROXY), (PAGE, SITE)])
def test_a_missing_certificate_does_not_hide_a_proxy(
    net: SmallInternet, said: bytes, expected: CertificateFlaw
) -> None:
    """Ordinary sites forget an intermediate certificate too."""

    async def look() -> CertificateFlaw:
        async with tls_server(net, said) as server:
            stranger = CertificateExaminer(also_private=True)  # to whom the authority is unknown
            return await stranger.examine(server_at(server.port))

    assert asyncio.run(look()) is expected


def test_a_server_that_answers_no_request_is_closed_to_children_whose_pages_are_read_strictly(
    net: SmallInternet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy may wait for its password, and a relay for calls may wait for the rest of a message."""
    monkeypatch.setattr(certificate_examiner, "_ANSWER_SECONDS", 0.1)

    async def look() -> CertificateFlaw:
        async with tls_server(net, PAGE) as server:
            server.is_answering.clear()
            return await CertificateExaminer(net.authority.root, also_private=True).examine(server_at(server.port))

    assert asyncio.run(look()) is CertificateFlaw.SILENT


def test_a_site_that_waits_for_the_next_request_has_answered(
    net: SmallInternet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes the beginning of a handshake for that of a request."""
    monkeypatch.setattr(certificate_examiner, "_TUNNEL_SECONDS", 0.1)

    async def look() -> CertificateFlaw:
        async with tls_server(net, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as server:
            server.keeps_alive = True
            return await CertificateExaminer(net.authority.root, also_private=True).examine(server_at(server.port))

    assert asyncio.run(look()) is FRESH


def test_a_late_answer_counts(net: SmallInternet, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first connection does not wait for it, and a tunnel is cut when it comes."""
    monkeypatch.setattr(certificate_examiner, "_PATIENCE_SECONDS", 0.1)

    async def look() -> None:
        async with tls_server(net, b"HTTP/1.1 407 No\r\n\r\n") as server:
            server.is_answering.clear()
            examiner, place = CertificateExaminer(net.authority.root, also_private=True), server_at(server.port)
            assert await examiner.examine(place) is CertificateFlaw.UNSEEN
            assert examiner.known(place) is CertificateFlaw.NONE
            late = examiner.renew(place)
            server.is_answering.set()
            assert late is not None
            await late
            assert examiner.known(place) is PROXY

    asyncio.run(look())


def test_a_tunnel_is_cut_when_its_server_turns_out_to_be_a_proxy(examining: Stand, net: SmallInternet) -> None:
    address, port = f"{net.prefix}.251", net.origins.https_port
    net.nameserver.add_zone(parse_zone(HOST, f"@ 60 A {address}\n"))

    async def browse() -> bytes:
        async with tls_server(net, b"HTTP/1.1 407 No\r\n\r\n", address, port) as server:
            server.is_answering.clear()
            reader, writer = await asyncio.open_connection(*examining.proxy, local_addr=(CHILD, 0))
            writer.write(f"CONNECT {HOST}:{port} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
            assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
            await writer.start_tls(ssl.create_default_context(cafile=net.authority.root), server_hostname=HOST)
            server.is_answering.set()
            with contextlib.closing(writer), contextlib.suppress(ConnectionError):
                return await reader.read()
            return b""

    assert asyncio.run(browse()) == b""
    told = examining.wait_for(lambda found: any(each.decision and each.decision.what == "bypass" for each in found))
    assert [
        each.request.flaw for each in told if each.decision and each.decision.what == "bypass" and each.request
    ] == ["proxy"]


def test_a_server_that_is_new_here_is_looked_at_again_soon(net: SmallInternet) -> None:
    """A proxy that was a site at first is found while it is used, and one that hides again stays closed for a day."""
    now = 1_800_000_000.0

    async def look() -> list[float]:
        nonlocal now
        async with tls_server(net, PAGE) as server:
            examiner = CertificateExaminer(net.authority.root, lambda: now, also_private=True)
            place, looks, began = server_at(server.port), list[float](), now
            while now < began + 24 * 3600:
                if (again := examiner.renew(place)) is not None:
                    await again
                    looks.append(now - began)
                now += 60
            server.said = b"HTTP/1.1 407 No\r\n\r\n"
            now += 6 * 3600
            assert await examiner.examine(place) in {SITE, FRESH}, "what is known counts until the look is done"
            late = examiner.renew(place)
            assert late is not None
            await late
            server.said = PAGE
            now += 60
            assert await examiner.examine(place) is PROXY
            return looks

    looks = asyncio.run(look())
    assert looks[:5] == [0, 120, 240, 480, 960]
    assert 10 < len(looks) < 20


def test_the_looks_of_a_device_are_bounded(net: SmallInternet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers that never answer keep none of another device's from being looked at."""
    monkeypatch.setattr(certificate_examiner, "_PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(certificate_examiner, "_WAITING_PER_DEVICE", 12)

    async def look() -> None:
        async with tls_server(net, PAGE) as server:
            slow = socket.create_server(("127.0.0.1", 0))
            examiner = CertificateExaminer(net.authority.root, also_private=True)
            names = [f"host-{number}.{HOST}" for number in range(20)]
            for name in names:
                assert await examiner.examine(server_at(slow.getsockname()[1], name)) is CertificateFlaw.UNSEEN
            assert [examiner.renew(server_at(slow.getsockname()[1], name)) is not None for name in names] == [
                True
            ] * 12 + [False] * 8
            look = examiner.renew(server_at(server.port, owner="phone"))
            assert look is not None
            await look
            assert examiner.known(server_at(server.port)) in {SITE, FRESH}
            with contextlib.closing(slow):
                looks = [examiner.renew(server_at(slow.getsockname()[1], name)) for name in names]
            await asyncio.gather(*filter(None, looks))

    asyncio.run(look())


def test_a_proxy_does_not_hide_among_servers_that_say_nothing(
    net: SmallInternet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same device: another one's is looked at, and so is the proxy itself once there is time."""
    monkeypatch.setattr(certificate_examiner, "_PATIENCE_SECONDS", 0.02)
    monkeypatch.setattr(certificate_examiner, "_LOOK_SECONDS", 2.0)

    async def look() -> None:
        async with tls_server(net, b"HTTP/1.1 407 No\r\n\r\n") as server:
            with contextlib.closing(socket.create_server(("127.0.0.1", 0), backlog=256)) as slow:
                examiner = CertificateExaminer(net.authority.root, also_private=True)
                silent = [server_at(slow.getsockname()[1], f"host-{number}.{HOST}") for number in range(40)]
                found = [await examiner.examine(each) for each in silent]
                assert set(found[:20]) == {CertificateFlaw.UNSEEN}, "as many as a page of many sites"
                assert set(found[24:]) == {CertificateFlaw.CROWDED}
                assert await examiner.examine(server_at(server.port)) is CertificateFlaw.CROWDED
                of_another = server_at(server.port, f"other.{HOST}", owner="phone")
                other = examiner.renew(of_another)
                assert other is not None
                await other
                assert examiner.known(of_another) is CertificateFlaw.OTHER_NAME
            later = examiner.renew(server_at(server.port))
            assert later is not None
            await later
            assert await examiner.examine(server_at(server.port)) is PROXY

    asyncio.run(look())


def test_machines_of_the_house_are_not_looked_at(net: SmallInternet) -> None:
    """At home a printer's page has a certificate that it signed itself; `network.reachable` opens it."""
    host = "self-signed.example"
    net.origins.forget_connections()
    request = Request(DeviceId("tablet"), RequestKind.TUNNEL, host, net.origins.https_port)
    server = Server(host, net.address_of(host), request.port, request.device, request)
    looked = CertificateExaminer().examine(server)
    assert asyncio.run(looked) is CertificateFlaw.NONE
    assert net.origins.connections() == []


def test_a_server_that_does_not_answer_could_not_be_looked_at() -> None:
    looked = CertificateExaminer(also_private=True).examine(server_at(1, "gone.example"))
    assert asyncio.run(looked) is CertificateFlaw.UNSEEN
