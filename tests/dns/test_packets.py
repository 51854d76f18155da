"""Real, mutated and malicious packets: the server survives, and its answers are DNS."""

from __future__ import annotations

import asyncio
import json
import logging
import resource
import socket
from pathlib import Path

import dnslib
import pytest
from small_internet import SmallInternet

from hedgerow.dns import wire
from hedgerow.dns.upstreams import responses

from .conftest import Running, ask, running

pytestmark = pytest.mark.shared


def load_packets(folder: Path) -> list[bytes]:
    lines = (folder / "fuzz-packets-a.jsonl").read_text().splitlines()
    packets = [bytes.fromhex(json.loads(line)["hex"]) for line in lines]
    assert len(packets) == 4877
    malformed = [path.read_bytes() for path in sorted((folder / "malformed-adguard").glob("*.bin"))]
    assert len(malformed) > 50
    return packets + malformed


def as_query(packet: bytes) -> bytes:
    """The same packet with QR off: many of the corpus are answers, which are not answered."""
    return packet[:2] + bytes((packet[2] & 0x7F,)) + packet[3:] if len(packet) > 2 else packet


def check_answer(sent: bytes, answer: bytes) -> None:
    """It answers this query, it is DNS to the last octet for us, and a library that had no part in it reads it."""
    assert answer[:2] == sent[:2]
    assert answer[2] & 0x80
    assert not sent[2] & 0x80, "an answer was answered"
    assert int.from_bytes(answer[4:6]) in (0, 1)
    if answer[4:6] == b"\0\1":
        name, end = wire.read_name(answer, 12)
        assert answer[12 : end + 4] == sent[12 : end + 4]
        responses.parse_response(answer, name.lower() + answer[end : end + 4])
    else:
        assert len(answer) == 12
        assert answer[6:12] == bytes(6)
    record = dnslib.DNSRecord.parse(answer)
    assert record.header.rcode | sum(rr.ttl >> 24 for rr in record.ar if rr.rtype == 41) << 4 in (0, 1, 2, 3, 4, 5, 16)


async def send_all(server: Running, packets: list[bytes]) -> int:
    """Sends every packet over UDP and checks what comes back; returns how many answers came."""
    loop = asyncio.get_running_loop()
    answered = 0
    packets = [packet for packet in packets if len(packet) < 65_000]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        sock.connect(("127.0.0.1", server.port))
        for packet in packets:
            sock.send(packet)
            if len(packet) < 12 or packet[2] & 0x80:
                continue
            async with asyncio.timeout(10):
                check_answer(packet, await loop.sock_recv(sock, 65535))
            answered += 1
    return answered


@pytest.mark.usefixtures("each_listener")
def test_every_packet_is_survived_over_udp(
    internet: SmallInternet, shared_data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Twice, so that the second time meets the cache; a query that is not silence by rule must be answered."""
    packets = load_packets(shared_data / "dns")

    async def run() -> int:
        async with running(internet.nameserver.upstream) as server:
            answered = 0
            for _ in range(2):
                answered += await send_all(server, packets) + await send_all(
                    server, [as_query(packet) for packet in packets]
                )
            assert ("hedgerow_dns_dropped_total", "error") not in server.server.responder.counters
            assert await ask(server.port, bytes(dnslib.DNSRecord.question("adult.example").pack())) is not None
            return answered

    with caplog.at_level(logging.ERROR):
        assert asyncio.run(run()) > 9_000
    assert not caplog.records


def test_every_packet_is_survived_over_tcp(internet: SmallInternet, shared_data: Path) -> None:
    """On one connection: garbage in one frame must not harm the next."""
    packets = [as_query(packet) for packet in load_packets(shared_data / "dns")]
    by_id = {}

    async def run() -> None:
        async with running(internet.nameserver.upstream) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            for number, packet in enumerate(packet for packet in packets if len(packet) >= 12):
                sent = number.to_bytes(2) + packet[2:]
                by_id[sent[:2]] = sent
                writer.write(len(sent).to_bytes(2) + sent)
                await writer.drain()
                async with asyncio.timeout(10):
                    answer = await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
                check_answer(by_id.pop(answer[:2]), answer)
            writer.close()
            await writer.wait_closed()

    asyncio.run(run())
    assert not by_id


def resident_octets() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc")
def test_packets_at_full_speed_are_survived(
    internet: SmallInternet, shared_data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody waits for answers.

    Memory stays flat once the caches have seen all of it, and a sane client is answered after it.
    """
    packets = [as_query(packet) for packet in load_packets(shared_data / "dns") if len(packet) < 65_000]

    async def run() -> list[int]:
        async with running(internet.nameserver.upstream) as server:
            sizes = []
            for _ in range(10):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
                    sock.connect(("127.0.0.1", server.port))
                    for number, packet in enumerate(packets):
                        sock.send(packet)
                        if number % 64 == 0:
                            await asyncio.sleep(0)
                await asyncio.sleep(0.05)
                sizes.append(resident_octets())
            assert ("hedgerow_dns_dropped_total", "error") not in server.server.responder.counters
            assert await ask(server.port, bytes(dnslib.DNSRecord.question("adult.example").pack())) is not None
            return sizes

    with caplog.at_level(logging.ERROR):
        sizes = asyncio.run(run())
    assert not caplog.records
    assert sizes[-1] - sizes[2] < 4_000_000, sizes
