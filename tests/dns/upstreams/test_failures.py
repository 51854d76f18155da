"""Upstreams that are dead, slow, lying, truncating or looping: right answers, stale ones, or SERVFAIL in
bounded time.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from struct import pack
from typing import cast

import dnslib
import pytest
from small_internet import Fault, SmallInternet

from hedgerow.dns import pending_query, wire
from hedgerow.dns.answer_cache import Clocks
from hedgerow.dns.upstreams import health, pool
from hedgerow.dns.upstreams.factory import open_upstream_pool
from hedgerow.dns.upstreams.pool import UpstreamPool
from hedgerow.dns.upstreams.responses import address_texts
from hedgerow.dns.upstreams.udp import UdpChannel
from hedgerow.dns.upstreams.upstream import UpstreamError, UpstreamQuestion, is_own, parse_upstream
from hedgerow.policies.model import DeviceId
from hedgerow.policies.network import UpstreamStrategy

from ..conftest import Running, ask, rules, running
from .test_upstream import ask as question

DEAD = "udp://127.0.0.1:1"


class Shifted:
    """A clock that can be moved on."""

    def __init__(self) -> None:
        self.offset = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.offset


async def answer(
    server: Running, host: str, *, structured: bool = False
) -> tuple[int, list[str], list[int], int | None]:
    """Code, addresses, TTLs, extended error."""
    sent = dnslib.DNSRecord.question(host)
    sent.add_ar(dnslib.EDNS0(udp_len=1232, opts=[dnslib.EDNSOption(15, b"")] if structured else []))
    found = await server.resolver.answer(rules(), DeviceId("tablet"), bytes(sent.pack()), "udp")
    assert found.message is not None
    record = dnslib.DNSRecord.parse(found.message)
    code = next((int.from_bytes(option.data[:2]) for rr in record.ar for option in rr.rdata if option.code == 15), None)
    return record.header.rcode, [str(rr.rdata) for rr in record.rr], [rr.ttl for rr in record.rr], code


@pytest.mark.parametrize("fault", [Fault.DEAD, Fault.SERVFAIL, Fault.REFUSED, Fault.WRONG_ID, Fault.GARBAGE])
def test_stale_answer_is_used_when_upstreams_fail(
    internet: SmallInternet, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "_ATTEMPT_SECONDS", (0.1, 0.1, 0.1))
    steady = Shifted()

    async def main() -> None:
        async with running(internet.nameserver.upstream, clocks=Clocks(steady)) as server:
            fresh = await answer(server, "news.example")
            gone = await answer(server, "nowhere.example")
            assert (fresh[3], gone[0], gone[3]) == (None, 3, None)
            steady.offset += 3600.0
            with internet.nameserver.misbehaving(fault):
                old = await answer(server, "news.example")
                assert (old[0], old[1], old[3]) == (0, fresh[1], 3)
                assert old[2] in ([29], [30])
                assert await answer(server, "nowhere.example") == (3, [], [], 19)
                asked = internet.nameserver.queries("news.example")
                steady.offset += 20.0
                # and the upstreams have their peace for half a minute
                assert (await answer(server, "news.example"))[3] == 3
                assert internet.nameserver.queries("news.example") == asked
            steady.offset += 20.0
            assert (await answer(server, "news.example"))[3] is None
            steady.offset += 200_000.0
            with internet.nameserver.misbehaving(fault):
                rcode, found, _, code = await answer(server, "news.example")
                assert (rcode, found, code) == (2, [], 22)  # too old

    asyncio.run(main())


def test_stale_answer_comes_soon_and_the_fresh_one_is_kept(
    internet: SmallInternet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending_query, "STALE_ANSWER_DELAY", 0.1)
    steady = Shifted()

    async def main() -> None:
        async with running(internet.nameserver.upstream, clocks=Clocks(steady)) as server:
            await answer(server, "news.example")
            steady.offset += 3600.0
            with internet.nameserver.misbehaving(Fault.SLOW, "news.example", delay=0.9):
                assert (await answer(server, "news.example"))[3] == 3, "it waited for the upstream"
                async with asyncio.timeout(30):
                    while (await answer(server, "news.example"))[3] is not None:  # noqa: ASYNC110
                        await asyncio.sleep(0.05)
            assert internet.nameserver.queries("news.example") == 2

    asyncio.run(main())


def test_silent_upstreams_are_retried_once_per_half_minute(
    internet: SmallInternet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending_query, "STALE_ANSWER_DELAY", 0.05)
    monkeypatch.setattr(pool, "_ATTEMPT_SECONDS", (0.1, 0.1, 0.1))
    steady = Shifted()

    async def main() -> None:
        async with running(internet.nameserver.upstream, clocks=Clocks(steady)) as server:
            await answer(server, "news.example")
            steady.offset += 3600.0
            with internet.nameserver.misbehaving(Fault.DEAD):
                assert (await answer(server, "news.example"))[3] == 3
                await server.resolver.upstreams.close(5.0)  # which is when the upstreams have been given up
                asked = internet.nameserver.queries("news.example")
                assert (await answer(server, "news.example"))[3] == 3
                assert internet.nameserver.queries("news.example") == asked

    asyncio.run(main())


@pytest.mark.parametrize("rtype", [253, 254])
@pytest.mark.parametrize(("said", "told"), [(dnslib.RCODE.NOTIMP, 4), (dnslib.RCODE.REFUSED, 2), (0, 0)])
def test_obsolete_types_are_answered_as_the_upstream_does(rtype: int, said: int, told: int) -> None:
    """MAILB and MAILA (RFC 1035, section 3.2.3). A refusal would look like ours."""

    class Upstream(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = cast(asyncio.DatagramTransport, transport)

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            reply = dnslib.DNSRecord.parse(data).reply()
            reply.header.rcode = said
            self.transport.sendto(bytes(reply.pack()), addr)

    async def main() -> None:
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Upstream, local_addr=("127.0.0.1", 0))
        async with running(f"127.0.0.1:{transport.get_extra_info('sockname')[1]}") as server:
            asked = bytes(dnslib.DNSRecord.question("news.example").pack())
            got = await ask(server.port, asked[:-4] + pack("!HH", rtype, 1))
            assert got is not None
            assert got[3] & 15 == told
        transport.close()

    asyncio.run(main())


def test_outage_is_remembered(internet: SmallInternet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the first unknown name waits for all attempts.

    A known one is answered from the past before it is given up again.
    """
    monkeypatch.setattr(pool, "_ATTEMPT_SECONDS", (0.6, 0.6, 0.6))
    monkeypatch.setattr(pool, "_OUTAGE_SECONDS", 0.1)
    monkeypatch.setattr(pending_query, "STALE_ANSWER_DELAY", 5.0)
    steady = Shifted()

    async def main() -> None:
        async with running(internet.nameserver.upstream, clocks=Clocks(steady)) as server:
            upstreams = server.resolver.upstreams
            for host in ("news.example", "www.school.example"):
                assert (await answer(server, host))[0] == 0
            steady.offset += 3600.0
            with internet.nameserver.misbehaving(Fault.DEAD):
                assert (await answer(server, "first.example"))[0] == 2
                assert upstreams.outage.is_on
                assert (await answer(server, "second.example"))[0] == 2
                assert internet.nameserver.queries("second.example") == 1, "the client knows before the second attempt"
                assert (await answer(server, "second.example"))[0] == 2
                assert (await answer(server, "news.example"))[3] == 3
                assert internet.nameserver.queries("news.example") == 1 + 1, "nor does it wait for the attempts here"
            async with asyncio.timeout(30):
                while upstreams.outage.is_on:  # what was given up towards the client still goes on
                    await answer(server, "www.school.example")
            assert (await answer(server, "www.school.example"))[3] is None

    asyncio.run(main())


def test_first_unknown_name_of_an_outage_does_not_wait_for_all_attempts(
    internet: SmallInternet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "_ATTEMPT_SECONDS", (0.1, 60.0, 60.0))
    monkeypatch.setattr(pool, "_OUTAGE_SECONDS", 0.1)
    monkeypatch.setattr(health, "FAST_PROBE_SECONDS", 0.2)

    async def main() -> None:
        async with running(internet.nameserver.upstream) as server:
            assert (await answer(server, "news.example"))[0] == 0
            with internet.nameserver.misbehaving(Fault.DEAD):
                async with asyncio.timeout(30):
                    found = await asyncio.gather(*(answer(server, f"{name}.example") for name in ("first", "second")))
            assert [each[0] for each in found] == [2, 2]
            assert server.resolver.upstreams.outage.is_on
            async with asyncio.timeout(30):
                while (await answer(server, "third.wild.example"))[0]:
                    pass
            assert not server.resolver.upstreams.outage.is_on

    asyncio.run(main())


def test_slow_name_is_waited_for_while_the_upstream_answers_others(
    internet: SmallInternet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "_ATTEMPT_SECONDS", (0.1, 60.0, 60.0))
    monkeypatch.setattr(health, "FAST_PROBE_SECONDS", 0.5)

    async def main() -> None:
        async with running(internet.nameserver.upstream) as server:
            assert (await answer(server, "news.example"))[0] == 0
            with internet.nameserver.misbehaving(Fault.SLOW, "slow.wild.example", delay=1.5):
                assert (await answer(server, "slow.wild.example"))[0] == 0
            assert internet.nameserver.queries("") == 1

    asyncio.run(main())


def test_safe_search_works_from_stale_targets(internet: SmallInternet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_ATTEMPT_SECONDS", (0.1, 0.1, 0.1))
    steady = Shifted()

    async def main() -> None:
        async with running(internet.nameserver.upstream, clocks=Clocks(steady)) as server:
            fresh = await answer(server, "www.google.com")
            assert fresh[1] == ["forcesafesearch.google.com.", internet.address_of("forcesafesearch.google.com")]
            with internet.nameserver.misbehaving(Fault.DEAD):
                steady.offset += 3600.0
                assert await answer(server, "www.google.com") == (0, fresh[1], [30, 30], 3)
                steady.offset += 200_000.0
                assert (await answer(server, "www.google.com"))[0] == 2, "too old"

    asyncio.run(main())


def test_bogus_answer_is_not_replaced_by_a_stale_one() -> None:
    """The upstream says that validation failed (EDE 6): the old answer may be the forged one."""
    replies: list[bytes] = []

    class Validator(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            asked = dnslib.DNSRecord.parse(data)
            reply = asked.reply()
            if replies:
                reply.header.rcode = 2
                reply.add_ar(dnslib.EDNS0(opts=[dnslib.EDNSOption(15, b"\0\6")]))
            else:
                reply.add_answer(dnslib.RR(asked.q.qname, ttl=60, rdata=dnslib.A("192.0.2.1")))
            replies.append(data)
            self.transport.sendto(bytes(reply.pack()), addr)  # type: ignore[attr-defined]

    steady = Shifted()

    async def main() -> None:
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Validator, local_addr=("127.0.0.1", 0))
        async with running(f"127.0.0.1:{transport.get_extra_info('sockname')[1]}", clocks=Clocks(steady)) as server:
            assert (await answer(server, "signed.test"))[1] == ["192.0.2.1"]
            steady.offset += 3600.0
            rcode, found, _, code = await answer(server, "signed.test")
            assert (rcode, found, code) == (2, [], 6)
        transport.close()

    asyncio.run(main())


def test_popular_answer_is_prefetched(internet: SmallInternet) -> None:
    steady = Shifted()

    async def main() -> None:
        async with running(internet.nameserver.upstream, clocks=Clocks(steady)) as server:
            sent = bytes(dnslib.DNSRecord.question("news.example").pack())
            first = await ask(server.port, sent)
            assert first is not None
            ttl = dnslib.DNSRecord.parse(first).rr[0].ttl
            steady.offset += ttl * 0.95
            await ask(server.port, sent)
            server.server.flush()
            async with asyncio.timeout(30):
                while internet.nameserver.queries("news.example") < 2:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
            steady.offset += ttl * 0.1
            with internet.nameserver.misbehaving(Fault.DEAD):
                again = await ask(server.port, sent)
            assert again is not None
            assert dnslib.DNSRecord.parse(again).rr[0].ttl > ttl * 0.8

    asyncio.run(main())


@pytest.mark.parametrize("fault", [Fault.TRUNCATING, Fault.EXTRA_RECORDS])
def test_recoverable_faults_are_recovered(internet: SmallInternet, fault: Fault) -> None:
    async def main() -> None:
        async with running(internet.nameserver.upstream) as server:
            with internet.nameserver.misbehaving(fault):
                assert (await answer(server, "news.example"))[:2] == (0, [internet.address_of("news.example")])

    asyncio.run(main())


def with_strategy(names: list[str], strategy: UpstreamStrategy, use: object) -> object:
    async def run() -> object:
        upstreams = open_upstream_pool(names, strategy=strategy)
        try:
            return await use(upstreams)  # type: ignore[operator]
        finally:
            await upstreams.close()

    return asyncio.run(run())


def test_truncation_over_tcp_is_a_failure(internet: SmallInternet) -> None:
    """A truncated answer would look like NODATA."""

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        query = await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
        reply = dnslib.DNSRecord.parse(query).reply()
        reply.header.tc = 1
        wire = bytes(reply.pack())
        writer.write(len(wire).to_bytes(2) + wire)
        await writer.drain()
        writer.close()

    async def run() -> list[str]:
        async with await asyncio.start_server(cut, "127.0.0.1", 0) as server:
            upstreams = open_upstream_pool(
                [f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}", internet.nameserver.upstream]
            )
            try:
                return list(address_texts(await upstreams.ask(question("news.example"))))
            finally:
                await upstreams.close()

    assert asyncio.run(run()) == [internet.address_of("news.example")]


def test_dead_upstream_costs_no_time_in_parallel(internet: SmallInternet) -> None:
    async def use(upstreams: UpstreamPool) -> float:
        with internet.nameserver.misbehaving(Fault.SLOW, "slow.wild.example", delay=0.05):
            began = time.monotonic()
            found = await upstreams.ask(question("slow.wild.example"))
            assert list(address_texts(found))
            return time.monotonic() - began

    silent, port = silent_upstream()
    try:
        took = with_strategy([f"127.0.0.1:{port}", internet.nameserver.upstream], UpstreamStrategy.PARALLEL, use)
    finally:
        silent.close()
    assert isinstance(took, float)
    assert took < 1.0, "as long as the first attempt waits"


def silent_upstream() -> tuple[socket.socket, int]:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    return sock, sock.getsockname()[1]


def test_fastest_is_asked_and_the_others_are_measured_again(internet: SmallInternet) -> None:
    counted: Counter[str] = Counter()

    class Slow(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            counted["slow"] += 1
            reply = bytes(dnslib.DNSRecord.parse(data).reply().pack())
            asyncio.get_running_loop().call_later(0.4, self.transport.sendto, reply, addr)  # type: ignore[attr-defined]

    async def main() -> None:
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Slow, local_addr=("127.0.0.1", 0))
        clock = Shifted()
        names = [f"127.0.0.1:{transport.get_extra_info('sockname')[1]}", internet.nameserver.upstream]
        upstreams = open_upstream_pool(names, strategy=UpstreamStrategy.FASTEST)
        upstreams.clock = clock
        for number in range(20):
            await upstreams.ask(question(f"n{number}.wild.example"))
        assert counted["slow"] <= 2
        before = counted["slow"]
        clock.offset += 60.0
        await upstreams.ask(question("later.wild.example"))
        await asyncio.sleep(0.45)
        assert counted["slow"] == before + 1
        await upstreams.close()
        transport.close()

    asyncio.run(main())


def test_backoff_grows_with_failures(internet: SmallInternet) -> None:
    async def main() -> None:
        clock = Shifted()
        upstreams = open_upstream_pool([DEAD, internet.nameserver.upstream])
        upstreams.clock = clock
        rests = []
        for number in range(8):
            await upstreams.ask(question(f"n{number}.wild.example"))
            health = upstreams.health["udp://127.0.0.1:1"]
            rests.append(round(health.backoff_until - clock()))
            clock.offset += 100.0
        assert rests == [1, 2, 4, 8, 16, 32, 60, 60]
        await upstreams.close()

    asyncio.run(main())


@pytest.mark.parametrize(("guesses", "keeps_case"), [(1, True), (17, False)])
def test_forged_answer_in_another_case_does_not_end_random_case(
    internet: SmallInternet, guesses: int, keeps_case: bool
) -> None:
    """An upstream that kept the case before is trusted for a while; a real change is noticed after some answers."""

    async def main() -> bool:
        upstreams = open_upstream_pool([internet.nameserver.upstream])
        (channel,) = upstreams._channels
        assert isinstance(channel, UdpChannel)
        try:
            for number in range(1 + guesses):
                ask = UpstreamQuestion(wire.name_of(f"guess{number}.wild.example") + pack("!HH", wire.A, wire.IN))
                heard: asyncio.Future[bytes | Exception] = asyncio.get_running_loop().create_future()
                channel.send(ask, ask.question[:1] + b"G" + ask.question[2:], heard.set_result)
                if number:
                    (waiting,) = [each for port in channel._ports for each in port.waiting.questions.values()]
                    waiting.deliver(pack("!HHHHHH", waiting.number, 0x8180, 1, 0, 0, 0) + ask.question)
                answer = await heard
                assert isinstance(answer, bytes)
                assert len(dnslib.DNSRecord.parse(answer).rr) == 1
            return channel.keeps_case
        finally:
            await upstreams.close()

    assert asyncio.run(main()) is keeps_case


@pytest.mark.parametrize("delay", [1.2, 2.3])
def test_late_answer_still_counts(internet: SmallInternet, delay: float) -> None:
    """As of an upstream behind a satellite, which takes longer each time than it is waited for before it is asked
    again.
    """

    async def main() -> tuple[list[str], float]:
        upstreams = open_upstream_pool([internet.nameserver.upstream])
        try:
            with internet.nameserver.misbehaving(Fault.SLOW, delay=delay):
                found = list(address_texts(await upstreams.ask(question("news.example"))))
            (health,) = upstreams.health.values()
            return found, health.seconds
        finally:
            await upstreams.close()

    found, seconds = asyncio.run(main())
    assert found == [internet.address_of("news.example")]
    assert seconds >= delay  # of the first attempt: the others would have had to wait anew
    assert internet.nameserver.queries("news.example") == 2


@pytest.mark.parametrize("gives_question", [True, False])
def test_upstream_without_edns_is_asked_without(internet: SmallInternet, gives_question: bool) -> None:
    refused = 0

    def reply(data: bytes, transport: str) -> bytes:
        nonlocal refused
        if data[10:12] == b"\0\0":
            return internet.nameserver.replies(data, transport)[0].wire
        refused += 1
        end = data.index(b"\0", 12) + 5
        count, question = (b"\0\1", data[12:end]) if gives_question else (b"\0\0", b"")
        return data[:2] + b"\x81\x81" + count + bytes(6) + question

    class Old(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            self.transport.sendto(reply(data, "udp"), addr)  # type: ignore[attr-defined]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                message = reply(await reader.readexactly(int.from_bytes(await reader.readexactly(2))), "tcp")
                writer.write(len(message).to_bytes(2) + message)
        except (EOFError, OSError):
            writer.close()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Old, local_addr=("127.0.0.1", port))
        upstreams = open_upstream_pool([f"127.0.0.1:{port}"])
        for host in ("news.example", "games.example", "bank.example"):
            assert list(address_texts(await upstreams.ask(question(host)))) == [internet.address_of(host)]
        with internet.nameserver.misbehaving(Fault.TRUNCATING):
            assert list(address_texts(await upstreams.ask(question("chat.example")))) == [
                internet.address_of("chat.example")
            ]
        assert refused == 1
        await upstreams.close()
        transport.close()
        server.close()

    asyncio.run(main())


def test_upstream_that_changes_case_is_confirmed_over_tcp_once(internet: SmallInternet) -> None:
    class Folding(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            end = data.index(b"\0", 12)
            reply = internet.nameserver.replies(data[:12] + data[12:end].lower() + data[end:], "udp")[0].wire
            self.transport.sendto(reply, addr)  # type: ignore[attr-defined]

    streams = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal streams
        streams += 1
        try:
            while True:
                query = await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
                reply = internet.nameserver.replies(query, "tcp")[0].wire
                writer.write(len(reply).to_bytes(2) + reply)
        except (EOFError, OSError):
            writer.close()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            Folding, local_addr=("127.0.0.1", port)
        )
        upstreams = open_upstream_pool([f"127.0.0.1:{port}"])
        for host in ("news.example", "games.example", "bank.example"):
            assert list(address_texts(await upstreams.ask(question(host)))) == [internet.address_of(host)]
        assert streams == 1
        await upstreams.close()
        transport.close()
        server.close()

    asyncio.run(main())


def test_questions_are_spelled_in_random_case() -> None:
    seen = {question("a-long-name-with-letters.example").in_random_case() for _ in range(50)}
    assert len(seen) > 45
    assert {written.lower() for written in seen} == {question("a-long-name-with-letters.example").question}
    assert UpstreamQuestion(b"\1\x40\x03123\0\0\1\0\1").in_random_case() == b"\1\x40\x03123\0\0\1\0\1"


@pytest.mark.parametrize(
    ("upstream", "own", "expected"),
    [
        ("127.0.0.1:5300", ("0.0.0.0", 5300), True),
        ("127.0.0.1:5301", ("0.0.0.0", 5300), False),
        ("[::1]:53", ("::", 53), True),
        ("192.0.2.1", ("192.0.2.1", 53), True),
        ("192.0.2.1", ("0.0.0.0", 53), False),
        ("tls://192.0.2.1:853", ("192.0.2.1", 53), False),
        ("tls://192.0.2.1:853", ("192.0.2.1", 853), True),
    ],
)
def test_own_addresses_are_no_upstream(upstream: str, own: tuple[str, int], expected: bool) -> None:
    assert is_own(parse_upstream(upstream), [own]) is expected


def test_address_of_this_machine_is_our_own_if_we_listen_on_all() -> None:
    assert open_upstream_pool(["127.0.0.77:5300", "192.0.2.1:5300"], own=[("0.0.0.0", 5300)]).names == (
        "udp://192.0.2.1:5300",
    )


def test_question_that_comes_back_ends_the_loop_at_once() -> None:
    """A forwarder passes everything on to us, and is our upstream."""

    class Forwarder(asyncio.DatagramProtocol):
        passed = 0

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport
            self.ports: dict[int, tuple[str, int]] = {}

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            if addr[1] == self.target:
                self.transport.sendto(data, self.ports[int.from_bytes(data[:2])])  # type: ignore[attr-defined]
                return
            Forwarder.passed += 1
            self.ports[int.from_bytes(data[:2])] = addr
            self.transport.sendto(data, ("127.0.0.1", self.target))  # type: ignore[attr-defined]

        target = 0

    async def main() -> None:
        transport, forwarder = await asyncio.get_running_loop().create_datagram_endpoint(
            Forwarder, local_addr=("127.0.0.1", 0)
        )
        async with running(f"127.0.0.1:{transport.get_extra_info('sockname')[1]}") as server:
            forwarder.target = server.port
            found = await ask(server.port, bytes(dnslib.DNSRecord.question("some-looping-name.example").pack()))
            assert found is not None
            assert dnslib.DNSRecord.parse(found).header.rcode == 2
            assert Forwarder.passed <= 3
        transport.close()

    asyncio.run(main())


def test_closing_ends_questions_in_flight(internet: SmallInternet) -> None:
    async def main() -> None:
        upstreams = open_upstream_pool([internet.nameserver.upstream])
        with internet.nameserver.misbehaving(Fault.SLOW, delay=0.2):
            first = asyncio.create_task(upstreams.ask(question("news.example")))
            await asyncio.sleep(0.05)
            await upstreams.close(grace=2.0)
            assert list(address_texts(await first)) == [internet.address_of("news.example")]
        other = open_upstream_pool([internet.nameserver.upstream])
        with internet.nameserver.misbehaving(Fault.DEAD):
            second = asyncio.create_task(other.ask(question("news.example")))
            await asyncio.sleep(0.05)
            await other.close()
            with pytest.raises(UpstreamError, match="closed"):
                await second

    asyncio.run(main())


@pytest.mark.usefixtures("each_listener")
def test_clients_that_can_read_structured_errors_get_them(internet: SmallInternet) -> None:
    """The option's place does not matter, nor do earlier queries of other clients."""
    cookie, padding, empty = (
        dnslib.EDNSOption(10, b"12345678"),
        dnslib.EDNSOption(12, bytes(20)),
        dnslib.EDNSOption(15, b"\0\0"),
    )

    async def main() -> None:
        async with running(internet.nameserver.upstream) as server:
            reported = (
                [empty],
                [cookie, empty],
                [cookie, padding, dnslib.EDNSOption(15, b"")],
                [cookie, empty, padding],
            )
            for options in (*reported, [], [cookie, padding], *reported, [cookie], [cookie, padding], *reported):
                structured = options in reported
                sent = dnslib.DNSRecord.question("adult.example")
                sent.add_ar(dnslib.EDNS0(udp_len=1232, opts=options))
                found = await ask(server.port, bytes(sent.pack()))
                assert found is not None
                (option,) = (
                    option for rr in dnslib.DNSRecord.parse(found).ar for option in rr.rdata if option.code == 15
                )
                expected = (
                    b'{"j":"category adult","o":"Hedgerow","l":"en"}' if structured else b"Hedgerow: category adult"
                )
                assert option.data[2:] == expected

    asyncio.run(main())
