"""Upstreams that are right, dead, slow or lying, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Awaitable, Callable
from struct import pack

import dnslib
import pytest
import uvloop
from small_internet import Fault, SmallInternet
from small_internet.authority import server_context

from hedgerow.dns import wire
from hedgerow.dns.upstreams import pool
from hedgerow.dns.upstreams.factory import open_upstream_pool
from hedgerow.dns.upstreams.pool import UpstreamPool
from hedgerow.dns.upstreams.responses import address_texts
from hedgerow.dns.upstreams.trust import TrustStore
from hedgerow.dns.upstreams.upstream import UpstreamError, UpstreamQuestion, parse_upstream, system_upstreams

DEAD = "udp://127.0.0.1:1"  # nobody listens: the kernel says so at once


def ask(host: str, rtype: int = wire.A) -> UpstreamQuestion:
    return UpstreamQuestion(wire.name_of(host) + pack("!HH", rtype, wire.IN))


def with_upstreams[T](
    names: list[str], use: Callable[[UpstreamPool], Awaitable[T]], trust: TrustStore | None = None
) -> T:
    async def run() -> T:
        upstreams = open_upstream_pool(names, trust=trust)
        try:
            return await use(upstreams)
        finally:
            await upstreams.close()

    return asyncio.run(run())


def found(names: list[str], host: str) -> list[str]:
    async def use(upstreams: UpstreamPool) -> list[str]:
        return list(address_texts(await upstreams.ask(ask(host))))

    return with_upstreams(names, use)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("9.9.9.9", "udp://9.9.9.9:53"),
        ("9.9.9.9:5353", "udp://9.9.9.9:5353"),
        ("2620:fe::fe", "udp://[2620:fe::fe]:53"),
        ("[2620:fe::fe]:54", "udp://[2620:fe::fe]:54"),
        ("tcp://192.0.2.1", "tcp://192.0.2.1:53"),
        ("tls://dns.quad9.net", "tls://dns.quad9.net:853"),
        ("https://dns.mullvad.net/dns-query", "https://dns.mullvad.net:443/dns-query"),
        ("quic://dns.adguard-dns.com", "quic://dns.adguard-dns.com:853"),
        ("https://192.0.2.1:8443", "https://192.0.2.1:8443/dns-query"),
    ],
)
def test_valid_upstreams_are_parsed(text: str, shown: str) -> None:
    assert str(parse_upstream(text)) == shown


@pytest.mark.parametrize(
    "text", ["", "https3://a", "quic://", "udp://dns.example", "tls://", "9.9.9.9:99999", "udp://[::1"]
)
def test_invalid_upstreams_are_rejected(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_upstream(text)


def test_system_upstreams_exclude_ourselves() -> None:
    text = (
        "# comment\nsearch lan\nnameserver 127.0.0.1\nnameserver 192.0.2.1\nnameserver fe80::1%eth0\nnameserver "
        "192.0.2.1\n"
    )
    assert [str(spec) for spec in system_upstreams(text, [("0.0.0.0", 53)])] == [
        "udp://192.0.2.1:53",
        "udp://[fe80::1%eth0]:53",
    ]
    assert len(system_upstreams(text, [("127.0.0.1", 5300)])) == 3


@pytest.mark.parametrize("scheme", ["udp", "tcp"])
def test_name_is_resolved(internet: SmallInternet, scheme: str) -> None:
    for host in ("127.0.0.1", "[::1]"):
        assert found([f"{scheme}://{host}:{internet.nameserver.port}"], "news.example") == [
            internet.address_of("news.example")
        ]
    assert internet.nameserver.queries("news.example", transport=scheme) == 2


def test_truncated_answer_is_repeated_over_tcp(internet: SmallInternet) -> None:
    async def use(upstreams: UpstreamPool) -> int:
        return len((await upstreams.ask(ask("huge-text.oddities.example", 16))).data)

    assert with_upstreams([internet.nameserver.upstream], use) > 20_000
    assert internet.nameserver.queries("huge-text.oddities.example", transport="tcp") == 1


def test_equal_questions_in_flight_are_sent_once(internet: SmallInternet) -> None:
    async def use(upstreams: UpstreamPool) -> int:
        with internet.nameserver.misbehaving(Fault.SLOW, "slow.wild.example", delay=0.2):
            answers = await asyncio.gather(*(upstreams.ask(ask("slow.wild.example")) for _ in range(50)))
        return len({id(answer) for answer in answers})

    assert with_upstreams([internet.nameserver.upstream], use) == 1
    assert internet.nameserver.queries("slow.wild.example") == 1


@pytest.mark.parametrize("fault", [Fault.WRONG_ID, Fault.WRONG_QUESTION, Fault.HEADER_ONLY])
def test_spoofed_answer_is_ignored(internet: SmallInternet, fault: Fault) -> None:
    with internet.nameserver.misbehaving(fault, "bank.example", then_right=True):
        assert found([internet.nameserver.upstream], "bank.example") == [internet.address_of("bank.example")]
    assert internet.nameserver.queries("bank.example") == 1


class Reborn(asyncio.DatagramProtocol):
    """An upstream that has one address for everything."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, address: object) -> None:
        question = dnslib.DNSRecord.parse(data)
        reply = question.reply()
        reply.add_answer(dnslib.RR(question.q.qname, rdata=dnslib.A("192.0.2.7"), ttl=60))
        self._transport.sendto(reply.pack(), address)  # type: ignore[attr-defined]


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run])
def test_recovered_upstream_is_used_at_once(runner: Callable[[Awaitable[list[str]]], list[str]]) -> None:
    """While it restarts the kernel says so, and a socket that was told is not listened to any more by the loop that
    workers run in.
    """

    async def run() -> list[str]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as place:
            place.bind(("127.0.0.1", 0))
            port = place.getsockname()[1]
        upstreams = open_upstream_pool([f"udp://127.0.0.1:{port}"])
        try:
            for number in range(20):
                with contextlib.suppress(UpstreamError):
                    await upstreams.ask(ask(f"early{number}.example"))
            transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Reborn, ("127.0.0.1", port))
            try:
                return [
                    address
                    for number in range(5)
                    for address in address_texts(await upstreams.ask(ask(f"late{number}.example")))
                ]
            finally:
                transport.close()
        finally:
            await upstreams.close()

    assert runner(run()) == ["192.0.2.7"] * 5


def test_dead_upstream_is_skipped_for_a_while(internet: SmallInternet) -> None:
    async def use(upstreams: UpstreamPool) -> float:
        await upstreams.ask(ask("news.example"))
        began = time.monotonic()
        await upstreams.ask(ask("games.example"))
        return time.monotonic() - began

    assert with_upstreams([DEAD, internet.nameserver.upstream], use) < 1.0


@pytest.mark.parametrize(
    ("fault", "words"), [(Fault.REFUSED, "the upstream refuses"), (Fault.SERVFAIL, "the upstream failed")]
)
def test_refusal_of_all_upstreams_is_servfail(internet: SmallInternet, fault: Fault, words: str) -> None:
    async def use(upstreams: UpstreamPool) -> None:
        with pytest.raises(UpstreamError, match=words):
            await upstreams.ask(ask("news.example"))

    with internet.nameserver.misbehaving(fault):
        with_upstreams([internet.nameserver.upstream], use)


@pytest.mark.parametrize("fault", [Fault.DEAD, Fault.GARBAGE, Fault.WRONG_ID])
def test_dead_or_lying_upstream_fails_in_bounded_time(
    internet: SmallInternet, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault is not Fault.DEAD:  # once is enough to wait as long as a user would
        monkeypatch.setattr(pool, "_ATTEMPT_SECONDS", (0.1, 0.15, 0.2))

    async def use(upstreams: UpstreamPool) -> float:
        began = time.monotonic()
        with pytest.raises(UpstreamError):
            await upstreams.ask(ask("news.example"))
        return time.monotonic() - began

    with internet.nameserver.misbehaving(fault):
        assert with_upstreams([internet.nameserver.upstream], use) < sum(pool._ATTEMPT_SECONDS) + 3


def test_source_ports_and_ids_vary() -> None:
    seen: list[tuple[int, int]] = []

    class Recorder(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            seen.append((addr[1], int.from_bytes(data[:2])))
            self.transport.sendto(bytes(dnslib.DNSRecord.parse(data).reply().pack()), addr)  # type: ignore[attr-defined]

    async def run() -> None:
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Recorder, local_addr=("127.0.0.1", 0))
        upstreams = open_upstream_pool([f"127.0.0.1:{transport.get_extra_info('sockname')[1]}"])
        for number in range(700):
            await upstreams.ask(ask(f"n{number}.example"))
        await upstreams.close()
        transport.close()

    asyncio.run(run())
    assert len({port for port, _ in seen}) >= 9  # 8 at once, each for 64 questions
    assert len({number for _, number in seen}) > 600


class EncryptedFront:
    """DoT in front of the small internet's nameserver.

    It closes a connection after three queries, as real servers do after a while.
    """

    def __init__(self, internet: SmallInternet) -> None:
        self.queries = self.connections = 0
        self._writers: list[asyncio.StreamWriter] = []
        self._internet = internet
        self._context = server_context(internet.authority.leaf("news.example"))

    async def start(self, address: str) -> int:
        self.server = await asyncio.start_server(self._serve, address, 0, ssl=self._context)
        return int(self.server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        self.server.close()
        for writer in self._writers:
            writer.close()
        await self.server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        with contextlib.suppress(EOFError, OSError):
            for _ in range(3):
                query = await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
                self.queries += 1
                reply = self._internet.nameserver.replies(query, "tcp")[0].wire
                writer.write(len(reply).to_bytes(2) + reply)
        writer.close()


def test_upstream_by_name_is_resolved_and_its_connection_kept(internet: SmallInternet) -> None:
    """Five names through an upstream that is found through the plain one behind it."""
    front = EncryptedFront(internet)
    hosts = ["news.example", "games.example", "bank.example", "chat.example", "files.example"]

    async def run() -> list[list[str]]:
        port = await front.start(internet.address_of("news.example"))
        names = [f"tls://news.example:{port}", internet.nameserver.upstream]
        upstreams = open_upstream_pool(names, trust=TrustStore(internet.authority.root))
        try:
            return [list(address_texts(await upstreams.ask(ask(host)))) for host in hosts]
        finally:
            await upstreams.close()
            await front.stop()

    assert asyncio.run(run()) == [[internet.address_of(host)] for host in hosts]
    assert (front.queries, front.connections) == (5, 2)
