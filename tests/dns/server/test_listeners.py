"""The server over its sockets: transports, families, limits, and the path of a cache hit."""

from __future__ import annotations

import asyncio
import shutil
import socket
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dnslib
import pytest
import uvloop
from small_internet import Fault, SmallInternet

from hedgerow.dns.answer_cache import Clocks
from hedgerow.dns.server import reports, responder, stream
from hedgerow.dns.server.reports import Client
from hedgerow.policies.model import Decision, DeviceId, Request
from hedgerow.policies.ruleset import Ruleset
from hedgerow.sockets import open_udp_socket

from ..conftest import ALLOW, BLOCK, Running, ask, rules, running

RUNNERS: list[Callable[[Any], Any]] = [asyncio.run, uvloop.run]


def query(name: str, qtype: str = "A", id: int = 7, edns: bytes | None = None) -> bytes:
    question = dnslib.DNSRecord.question(name, qtype)
    question.header.id = id
    if edns is not None:
        question.add_ar(dnslib.EDNS0(udp_len=1232, opts=[dnslib.EDNSOption(10, edns)] if edns else []))
    return bytes(question.pack())


def rdatas(message: bytes | None) -> list[str]:
    assert message is not None
    return [str(rr.rdata) for rr in dnslib.DNSRecord.parse(message).rr]


async def kdig(server: Running, *arguments: str, host: str = "127.0.0.1") -> str:
    port = server.port6 if ":" in host else server.port
    process = await asyncio.create_subprocess_exec(
        "kdig", f"@{host}", "-p", str(port), "+timeout=6", "+retry=0", *arguments, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    return out.decode()


@pytest.mark.skipif(shutil.which("kdig") is None, reason="kdig is not installed")
@pytest.mark.usefixtures("each_listener")
@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("transport", ["+multiline", "+tcp"])  # the first only stands for UDP
def test_kdig_over_each_transport_and_family(
    internet: SmallInternet, run: Callable[[Any], Any], host: str, transport: str
) -> None:
    async def main() -> None:
        async with running(internet.nameserver.upstream) as server:
            for _ in range(2):  # found out, then remembered
                blocked = await kdig(server, transport, "+edns", "www.adult.example", "A", host=host)
                assert "0.0.0.0" in blocked
                assert "Filtered" in blocked
                assert "category adult" in blocked
                assert "AAAA ::" in (await kdig(server, transport, "www.adult.example", "AAAA", host=host)).replace(
                    "\t", " "
                )
                assert "ANSWER: 0; AUTHORITY: 1" in await kdig(
                    server, transport, "www.adult.example", "HTTPS", host=host
                )
                assert internet.address_of("news.example") in await kdig(server, transport, "news.example", host=host)
                safe = await kdig(server, transport, "www.google.com", host=host)
                assert "forcesafesearch.google.com." in safe
                assert internet.address_of("forcesafesearch.google.com") in safe
                ech = await kdig(server, transport, "with-ech.oddities.example", "HTTPS", host=host)
                assert "ipv4hint" in ech
                assert "ech=" not in ech
                whole = await kdig(server, transport, "huge-text.oddities.example", "TXT", host=host)
                assert len(whole) > 20_000

    run(main())


@pytest.mark.usefixtures("each_listener")
@pytest.mark.parametrize("wildcard", ["0.0.0.0", "::"])
def test_answers_leave_from_the_queried_address(internet: SmallInternet, wildcard: str) -> None:
    """A connected socket takes nothing from another address; IPv6 has only one on loopback."""

    async def main() -> None:
        async with running(internet.nameserver.upstream) as server:
            port = await server.server.listen(wildcard, 0)
            for host in ("127.0.0.1", "127.0.0.5") if wildcard == "0.0.0.0" else ("::1",):
                source = "::1" if host == "::1" else "127.0.0.1"
                for name in (f"n{host.replace(':', '')}.wild.example", "adult.example"):
                    for _ in range(3):  # a miss, then hits
                        assert await ask(port, query(name), host=host, source=source, wait=2) is not None

    asyncio.run(main())


@pytest.mark.usefixtures("each_listener")
def test_burst_of_hits_and_misses_is_answered(internet: SmallInternet) -> None:
    async def main() -> None:
        async with running(internet.nameserver.upstream) as server:
            loop = asyncio.get_running_loop()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
                sock.connect(("127.0.0.1", server.port))
                sent = {}
                for id in range(300):
                    sent[id] = query(
                        ("adult.example", "news.example", f"n{id}.wild.example", "NEWS.example")[id % 4], id=id
                    )
                    sock.send(sent[id])
                async with asyncio.timeout(10):
                    while sent:
                        answer = await loop.sock_recv(sock, 4096)
                        asked = sent.pop(int.from_bytes(answer[:2]))
                        assert answer[12 : len(asked)] == asked[12:]
                        assert len(rdatas(answer)) == 1

    asyncio.run(main())


@pytest.mark.usefixtures("each_listener")
def test_hit_is_not_parsed_and_keeps_case_and_id(internet: SmallInternet) -> None:
    async def main() -> None:
        async with running(internet.nameserver.upstream) as server:
            for cookie in (b"", b"12345678", b"16 octets, 16 ok"):  # each length is parsed once
                await ask(server.port, query("news.example", edns=cookie))
            misses = server.server.responder.counters["hedgerow_dns_cache_misses_total",]
            for id, (name, cookie) in enumerate(
                [("NEWS.example", b""), ("nEwS.ExAmPlE", b"8 octets"), ("news.EXAMPLE", b"sixteen octets!!")]
            ):
                sent = query(name, id=id, edns=cookie)
                answer = await ask(server.port, sent)
                assert answer is not None
                assert answer[:2] == sent[:2]
                assert answer[12:29] == sent[12:29]
                assert rdatas(answer) == [internet.address_of("news.example")]
            assert server.server.responder.counters["hedgerow_dns_cache_misses_total",] == misses
            assert server.server.responder.counters["hedgerow_dns_cache_hits_total",] == 3
            assert internet.nameserver.queries("news.example") == 1

    asyncio.run(main())


def test_answers_are_reported_with_their_count(internet: SmallInternet) -> None:
    async def main() -> None:
        async with running(internet.nameserver.upstream) as server:
            for _ in range(5):
                await ask(server.port, query("adult.example"))
            await ask(server.port, query("news.example"))
            server.server.flush()
            counts: dict[tuple[str, str], int] = {}
            for device, host, decision, count in server.seen:
                assert device == "tablet"
                counts[host, decision.verdict] = counts.get((host, decision.verdict), 0) + count
            assert counts == {("adult.example", "block"): 5, ("news.example", "allow"): 1}
            assert server.server.responder.counters["hedgerow_dns_queries_total", "block", "category", "udp"] == 5
            assert server.server.responder.counters["hedgerow_dns_cache_hits_total",] == 4

    asyncio.run(main())


def test_each_answer_is_counted_once(internet: SmallInternet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "MAX_RAW_QUERIES", 2)
    now = 1000.0

    async def main() -> None:
        nonlocal now
        async with running(internet.nameserver.upstream, clocks=Clocks(lambda: now, lambda: now)) as server:
            for _ in range(3):
                for name in ("adult.example", "news.example", "a.adult.example", "b.adult.example"):
                    for _ in range(3):
                        await ask(server.port, query(name))
                now += 1.5  # every TTL is another now
            server.server.forget_clients()
            await ask(server.port, query("news.example"))
            server.server.flush()
            counts = Counter[str]()
            for _, host, _, count in server.seen:
                counts[host] += count
            assert counts == {"adult.example": 9, "news.example": 10, "a.adult.example": 9, "b.adult.example": 9}

    asyncio.run(main())


def test_answers_are_reported_a_few_at_a_time(internet: SmallInternet) -> None:
    """Also what is asked while the last second's answers wait for their report."""

    async def main() -> None:
        async with running(internet.nameserver.upstream) as server:
            clients, names = server.server.responder.clients, [f"{number}.adult.example" for number in range(60)]

            async def ask_all() -> None:
                for name in names:
                    for _ in range(3):  # the first is decided, the second learnt, the third known by its octets
                        await ask(server.port, query(name))

            server.server._timer.cancel()  # the server's own reports
            await ask_all()
            clients.begin_report()
            assert not server.seen
            while not server.seen:
                clients.reports.report_some()
            assert len(server.seen) < 20
            await ask_all()
            rounds = 0
            while clients.reports.report_some():
                rounds += 1
            assert rounds > 3
            assert {count for *_, count in server.seen} == {3}, "an answer's wordings are added up before they are told"
            server.server.flush()
            assert Counter(host for _, host, _, count in server.seen for _ in range(count)) == dict.fromkeys(names, 6)

    asyncio.run(main())


def test_flood_of_names_is_reported_by_decision(internet: SmallInternet, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first names of a client are told apart; the others are counted, so that no answer is missing from the
    reports.
    """
    monkeypatch.setattr(reports, "MAX_UNREPORTED", 2)

    async def main() -> None:
        async with running(internet.nameserver.upstream) as server:
            server.server._timer.cancel()
            for name in (*(f"{label}.adult.example" for label in "abcdea"), "news.example"):
                await ask(server.port, query(name))
            (known,) = server.server.responder.clients.known.values()
            server.server.responder.clients.reports.add_up_all([known])
            assert len(known.counts) <= 4
            server.server.flush()
            counts = {(host, str(decision.verdict)): count for _, host, decision, count in server.seen}
            assert counts == {
                ("a.adult.example", "block"): 2,
                ("b.adult.example", "block"): 1,
                ("", "block"): 3,
                ("", "allow"): 1,
            }
            assert server.server.responder.counters["hedgerow_dns_queries_total", "block", "category", "udp"] == 6

    asyncio.run(main())


def test_answers_to_record_types_of_a_host_are_one_report(internet: SmallInternet) -> None:
    async def main() -> None:
        async with running(internet.nameserver.upstream) as server:
            for qtype in ("A", "AAAA", "HTTPS", "A"):
                await ask(server.port, query("adult.example", qtype))
            server.server.flush()
            assert [(host, count) for _, host, _, count in server.seen] == [("adult.example", 4)]

    asyncio.run(main())


def test_unknown_clients_are_refused_without_look_up(internet: SmallInternet) -> None:
    async def main() -> None:
        async with running(internet.nameserver.upstream) as server:
            for host in ("news.example", "adult.example"):
                sent = query(host)
                answer = await ask(server.port, sent, source="127.0.0.9")
                assert answer is not None
                assert len(answer) <= len(sent)
                assert (dnslib.DNSRecord.parse(answer).header.rcode, rdatas(answer)) == (5, [])
            for sent in (
                query("News.example", edns=b""),
                query("news.example", edns=b"12345678"),
                query("news.example", "MX"),
            ):
                answer = await ask(server.port, sent, source="127.0.0.9")
                assert answer is not None
                assert len(answer) <= len(sent)
                question = dnslib.DNSRecord.parse(sent)
                found = dnslib.DNSRecord.parse(answer)
                assert (found.header.id, found.header.rcode, found.questions) == (7, 5, question.questions)
                assert [rr.rtype for rr in found.ar] == [rr.rtype for rr in question.ar]
            broken = query("news.example")[:-2]
            answer = await ask(server.port, broken, source="127.0.0.9")
            assert answer is not None
            assert len(answer) <= len(broken)
            assert internet.nameserver.queries() == 0
            assert not server.seen
            assert "127.0.0.9" not in server.server.responder.clients.known

    asyncio.run(main())


def test_answer_counts_for_its_transport(internet: SmallInternet) -> None:
    """Also where the same question came over another one before."""

    async def main() -> dict[str, float]:
        async with running(internet.nameserver.upstream) as server:
            here = server.server.responder
            for transport in ("tcp", "dot", "doh", "doq", "dot", "tcp", "doh", "doq", "doh"):
                known = here.client_for("127.0.0.1", "127.0.0.1", b"")
                assert known is not None
                assert here.answer(known, query("adult.example"), transport, lambda _: None)
            server.server.flush()
            return {
                labels[3]: count for labels, count in here.counters.items() if labels[0] == "hedgerow_dns_queries_total"
            }

    assert asyncio.run(main()) == {"tcp": 2, "dot": 2, "doh": 3, "doq": 2}


def test_invalid_queries_are_counted_by_cause(internet: SmallInternet) -> None:
    plain = query("news.example")
    changes = dnslib.DNSRecord.question("news.example", "IXFR")
    changes.add_auth(*dnslib.RR.fromZone("news.example. 0 SOA ns.example. a.example. 7 0 0 0 0"))
    transfer = bytes(changes.pack())
    version_one = bytearray(query("news.example", edns=b""))
    version_one[-5] = 1
    sent = {
        "malformed": [plain[:-2], plain[:4] + b"\0\2" + plain[6:]],
        "opcode": [plain[:2] + b"\x11" + plain[3:]],
        "version": [bytes(version_one)],
        "refused": [plain[:-1] + b"\3", query("news.example", "AXFR"), transfer],
    }

    async def main() -> None:
        async with running(internet.nameserver.upstream) as server:
            for questions in sent.values():
                for question in questions:
                    assert await ask(server.port, question) is not None
            counters = server.server.responder.counters
            counted = {
                labels[0]: count for (name, *labels), count in counters.items() if name == responder.DROPPED_METRIC
            }
            assert counted == {cause: len(questions) for cause, questions in sent.items()}

    asyncio.run(main())


def test_ruleset_boundary_changes_the_answer(internet: SmallInternet) -> None:
    async def main() -> None:
        async with running(internet.nameserver.upstream) as server:
            until = time.time() + 1.5
            server.clients["127.0.0.1"] = Client(DeviceId("tablet"), rules(1, until))
            server.decisions.table["closed.wild.example"] = BLOCK
            before = await ask(server.port, query("open.wild.example"))
            assert before is not None
            assert dnslib.DNSRecord.parse(before).rr[0].ttl <= 1
            night = Client(DeviceId("tablet"), rules(2))
            server.clients["127.0.0.1"] = night
            assert rdatas(await ask(server.port, query("open.wild.example"))) == [f"{internet.prefix}.99"]
            server.decisions.table["open.wild.example"] = BLOCK
            while time.time() < until:
                found = rdatas(await ask(server.port, query("open.wild.example")))
                assert found == [f"{internet.prefix}.99"] or time.time() >= until
                await asyncio.sleep(0.05)
            assert rdatas(await ask(server.port, query("open.wild.example"))) == ["0.0.0.0"]

    asyncio.run(main())


def test_swap_takes_effect_with_the_next_datagram(internet: SmallInternet) -> None:
    async def main() -> None:
        async with running(internet.nameserver.upstream) as server:
            assert rdatas(await ask(server.port, query("news.example"))) == [internet.address_of("news.example")]
            server.decisions.table["news.example"] = BLOCK
            server.server.swap(server.clients.get, server.decisions)
            assert rdatas(await ask(server.port, query("news.example"))) == ["0.0.0.0"]
            server.clients.clear()
            server.server.forget_clients()
            answer = await ask(server.port, query("news.example"))
            assert answer is not None
            assert dnslib.DNSRecord.parse(answer).header.rcode == 5

    asyncio.run(main())


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(6):
        return await reader.readexactly(int.from_bytes(await reader.readexactly(2)))


def frame(message: bytes) -> bytes:
    return len(message).to_bytes(2) + message


@pytest.mark.parametrize("run", RUNNERS)
def test_pipelined_queries_are_answered_out_of_order(internet: SmallInternet, run: Callable[[Any], Any]) -> None:
    async def main() -> None:
        async with running(internet.nameserver.upstream) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            with internet.nameserver.misbehaving(Fault.SLOW, "slow.wild.example", delay=0.3):
                hosts = ["slow.wild.example", *(f"n{number}.wild.example" for number in range(200)), "adult.example"]
                for id, host in enumerate(hosts):
                    writer.write(frame(query(host, id=id)))
                writer.write_eof()  # who has said all still gets all answers
                ids = [int.from_bytes((await read_frame(reader))[:2]) for _ in hosts]
            assert sorted(ids) == list(range(len(hosts)))
            assert ids[0] != 0  # what was asked later need not wait
            writer.close()
            await writer.wait_closed()

    run(main())


def test_query_may_arrive_octet_by_octet(internet: SmallInternet) -> None:
    async def main() -> None:
        async with running(internet.nameserver.upstream) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            for octet in frame(query("adult.example")) * 2:
                writer.write(bytes((octet,)))
                await writer.drain()
                await asyncio.sleep(0)
            for _ in range(2):
                assert rdatas(await read_frame(reader)) == ["0.0.0.0"]
            writer.close()
            await writer.wait_closed()

    asyncio.run(main())


def test_oversized_query_is_not_buffered(internet: SmallInternet) -> None:
    """It is answered by its header, and what comes behind it is heard."""

    async def main() -> None:
        async with running(internet.nameserver.upstream) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            question = query("adult.example")
            writer.write(b"\xff\xff" + question[:12])
            async with asyncio.timeout(3):
                refused = await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
                assert (refused[:2], refused[3] & 15) == (question[:2], 1)
                writer.write(bytes(0xFFFF - 12) + len(question).to_bytes(2) + question)
                answer = await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
            assert dnslib.DNSRecord.parse(answer).rr
            (connection,) = server.server.streams.table.connections
            assert connection._framer._buffer == b""
            writer.close()

    asyncio.run(main())


def test_unread_answers_end_the_connection(internet: SmallInternet) -> None:
    """They come all at once, when the upstream has said what it is that so many have asked for."""

    async def main() -> None:
        async with running(internet.nameserver.upstream) as server:
            with internet.nameserver.misbehaving(Fault.SLOW, delay=0.3):
                greedy = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
                greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                await asyncio.get_running_loop().sock_connect(greedy, ("127.0.0.1", server.port))
                question = query("huge-text.oddities.example", "TXT")
                unchecked = question[:3] + b"\x10" + question[4:]
                for each in (
                    question,
                    unchecked,
                    question[:3] + b"\x30" + question[4:],
                ):  # what the kernel keeps of them is not ours to bound
                    frames = (len(each).to_bytes(2) + each) * stream.MAX_OUTSTANDING
                    await asyncio.get_running_loop().sock_sendall(greedy, frames)
                await asyncio.sleep(0.1)
                for _ in range(500):
                    await asyncio.sleep(0.01)
                    if not server.server.streams.table.connections:
                        break
            assert server.server.responder.counters["hedgerow_dns_dropped_total", "send"] == 1
            greedy.close()
            assert await ask(server.port, query("adult.example")) is not None

    asyncio.run(main())


def test_idle_connections_are_closed(internet: SmallInternet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream.StreamConnection, "idle_seconds", 0.5)

    async def main() -> None:
        async with running(internet.nameserver.upstream) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"\0")  # and never the rest
            async with asyncio.timeout(5):
                with pytest.raises((ConnectionError, EOFError)):
                    await reader.readexactly(1)
            writer.close()

    asyncio.run(main())


def test_connections_per_client_are_bounded(internet: SmallInternet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MAX_CONNECTIONS_PER_CLIENT", 4)

    async def main() -> None:
        async with running(internet.nameserver.upstream) as server:
            pairs = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(8)]
            answered = 0
            for reader, writer in pairs:
                try:
                    writer.write(frame(query("adult.example")))
                    answered += bool(await read_frame(reader))
                except (OSError, EOFError):
                    pass
                writer.close()
            assert answered == 4
            assert server.server.responder.counters["hedgerow_dns_dropped_total", "connections"] == 4

    asyncio.run(main())


def test_excess_pending_queries_are_dropped_and_counted(
    internet: SmallInternet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Devices without a name have half of the room together, so that the others' queries are never dropped
    for theirs.
    """
    monkeypatch.setattr(responder, "MAX_PENDING", 6)

    async def main() -> None:
        async with running(internet.nameserver.upstream) as server:
            server.clients["127.0.0.2"] = Client(DeviceId("mias-tablet"), rules(), is_named=True)
            with internet.nameserver.misbehaving(Fault.SLOW, delay=0.5):
                strangers = [ask(server.port, query(f"n{number}.wild.example"), wait=1.5) for number in range(6)]
                named = [
                    ask(server.port, query(f"m{number}.wild.example"), source="127.0.0.2", wait=1.5)
                    for number in range(3)
                ]
                answers = await asyncio.gather(*strangers, *named)
            assert sum(answer is not None for answer in answers[:6]) == 3
            assert all(answer is not None for answer in answers[6:])
            assert server.server.responder.counters["hedgerow_dns_dropped_total", "overload"] == 3

    asyncio.run(main())


@pytest.mark.parametrize(
    ("change", "rcode"),
    [
        (lambda good: good[:2] + b"\x11" + good[3:], 4),  # an opcode that we do not have
        (lambda good: good[:2] + b"\x29" + good[3:], 4),  # UPDATE
        (lambda good: good[:4] + b"\0\0" + good[6:12], 1),
        (lambda good: good + b"junk", 1),
        (lambda good: good[:-2] + b"\0\3", 5),  # CHAOS
        (lambda good: good[:-4] + b"\0\xfc\0\1", 5),  # AXFR
        (lambda good: good[:-4] + b"\0\x29\0\1", 1),  # OPT is no type to ask for
        (lambda good: good[:-4] + b"\xff\x00\0\1", 0),  # a type that nobody knows
        (lambda good: good[:10] + b"\0\1" + good[12:] + b"\0\0\x29\x04\xd0\0\1\0\0\0\0", 16),  # EDNS version 1: BADVERS
        # EDNS flags without meaning
        (lambda good: good[:10] + b"\0\1" + good[12:] + b"\0\0\x29\x04\xd0\0\0\x7f\xff\0\0", 0),
        # an unknown option
        (lambda good: good[:10] + b"\0\1" + good[12:] + b"\0\0\x29\x04\xd0\0\0\0\0\0\4\xff\xf0\0\0", 0),
    ],
)
def test_compliance_queries_are_answered(internet: SmallInternet, change: Callable[[bytes], bytes], rcode: int) -> None:
    """The set of RFC 8906, section 8."""

    async def main() -> None:
        async with running(internet.nameserver.upstream) as server:
            answer = await ask(server.port, change(query("news.example")))
            assert answer is not None
            record = dnslib.DNSRecord.parse(answer)
            extended = sum(rr.ttl >> 24 for rr in record.ar if rr.rtype == 41) << 4
            assert record.header.rcode | extended == rcode

    asyncio.run(main())


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"\0" * 11, query("news.example")[:2] + b"\x81\x80" + query("news.example")[4:]]
)
def test_fragments_and_responses_are_not_answered(internet: SmallInternet, data: bytes) -> None:
    async def main() -> None:
        async with running(internet.nameserver.upstream) as server:
            assert await ask(server.port, data, wait=0.2) is None
            assert rdatas(await ask(server.port, query("adult.example"))) == ["0.0.0.0"]

    asyncio.run(main())


def test_workers_share_a_port(internet: SmallInternet) -> None:
    async def main() -> None:
        async with running(internet.nameserver.upstream) as server:
            other = open_udp_socket("127.0.0.1", server.port)
            other.close()
            with pytest.raises(OSError, match="assign"):
                await server.server.listen("192.0.2.1", 0)

    asyncio.run(main())


@pytest.mark.usefixtures("each_listener")
def test_queued_query_is_judged_by_the_new_rules(internet: SmallInternet) -> None:
    """Ids of rulesets are those of one snapshot: an answer under another's rules would be everybody's."""

    async def main() -> None:
        async with running(internet.nameserver.upstream) as server:
            day, night = Client(DeviceId("tablet"), rules(1)), Client(DeviceId("tablet"), rules(1))
            clients = {"127.0.0.1": day}

            def decide(ruleset: Ruleset, _request: Request) -> Decision:
                return ALLOW if ruleset is day.ruleset else BLOCK

            server.server.swap(clients.get, decide)
            names = [f"n{number}.wild.example" for number in range(60)]
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as client_for:
                client_for.connect(("127.0.0.1", server.port))
                for name in names:
                    client_for.send(query(name))
                (listener, _) = server.server._datagrams
                while not len(listener._misses):  # noqa: ASYNC110 (some of them stand in line, in the next turn of the loop)
                    await asyncio.sleep(0)
                clients["127.0.0.1"] = night
                server.server.swap(clients.get, decide)
            found = [await ask(server.port, query(name)) for name in names]
            shown = {str(dnslib.DNSRecord.parse(answer).rr[0].rdata) for answer in found if answer is not None}
            assert shown == {"0.0.0.0"}

    asyncio.run(main())


@pytest.mark.skipif(shutil.which("dnsperf") is None, reason="dnsperf is not installed")
def test_no_query_is_lost_while_snapshots_change(internet: SmallInternet, tmp_path: Path) -> None:
    queries = tmp_path / "queries.txt"
    queries.write_text(
        "".join(f"n{number}.wild.example A\nadult.example A\nnews.example AAAA\n" for number in range(50))
    )

    async def main() -> None:
        async with running(internet.nameserver.upstream) as server:
            command = [
                "dnsperf",
                "-s",
                "127.0.0.1",
                "-p",
                str(server.port),
                "-d",
                str(queries),
                "-l",
                "2",
                "-Q",
                "2000",
            ]
            process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
            done = asyncio.create_task(process.communicate())
            swaps = 0
            while not done.done():
                await asyncio.wait([done], timeout=0.02)
                server.server.swap(server.clients.get, server.decisions)
                swaps += 1
            text = (await done)[0].decode()
            assert swaps > 20
            assert "Queries lost:         0 " in text, text
            assert int(text.partition("Queries completed:")[2].split()[0]) > 1000
            assert "NOERROR" in text
            assert "SERVFAIL" not in text

    uvloop.run(main())


@pytest.mark.provokes_traceback
def test_broken_observer_is_logged_once_and_filtering_continues(
    internet: SmallInternet, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with running(internet.nameserver.upstream) as server:

            def refuse(*_: object) -> None:
                raise OSError("the journal is gone")

            server.server.responder.clients.reports._observe = refuse
            for host in ("adult.example", "news.example"):
                await ask(server.port, query(host))
                server.server.flush()
            assert rdatas(await ask(server.port, query("adult.example"))) == ["0.0.0.0"]
            assert server.server.responder.counters["hedgerow_events_dropped_total", "dns"] == 2

    asyncio.run(main())
    assert len(caplog.records) == 1


@pytest.mark.root
@pytest.mark.parametrize(
    ("host", "level", "option"), [("127.0.0.1", socket.IPPROTO_IP, 10), ("::1", socket.IPPROTO_IPV6, 23)]
)
def test_udp_socket_has_large_buffers_and_never_fragments(host: str, level: int, option: int) -> None:
    """By SO_RCVBUFFORCE, past what net.core.rmem_max allows; IP_MTU_DISCOVER and IPV6_MTU_DISCOVER are PROBE."""
    with open_udp_socket(host, 0) as sock:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= 4 << 20
        assert sock.getsockopt(level, option) == 3
