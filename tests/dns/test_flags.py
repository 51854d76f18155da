"""DO, CD and AD: apart in the cache, passed on to the upstream, and returned to clients that can read them."""

from __future__ import annotations

import asyncio
import itertools

import dnslib

from .conftest import ask, running

DO, CD, AD = 0x8000, 0x10, 0x20


class Signed(asyncio.DatagramProtocol):
    """An upstream on this machine that calls everything authentic; it notes the bits of each question."""

    def __init__(self) -> None:
        self.asked: list[tuple[bool, bool]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dnslib.DNSRecord.parse(data)
        dnssec = any(record.rtype == 41 and record.ttl & DO for record in query.ar)
        self.asked.append((dnssec, bool(data[3] & CD)))
        reply = query.reply()
        reply.add_answer(*dnslib.RR.fromZone(f"{query.q.qname} 60 A 198.51.100.{1 + len(self.asked)}"))
        packed = bytearray(reply.pack())
        packed[3] |= AD
        self.transport.sendto(bytes(packed), addr)  # type: ignore[attr-defined]


def query(*, dnssec: bool, checking_disabled: bool, authentic: bool) -> bytes:
    record = dnslib.DNSRecord.question("signed.example")
    if dnssec:
        record.add_ar(dnslib.EDNS0(flags="do", udp_len=1232))
    packed = bytearray(record.pack())
    packed[3] |= (CD if checking_disabled else 0) | (AD if authentic else 0)
    return bytes(packed)


def test_each_combination_of_flags_has_its_own_answer() -> None:
    async def main() -> None:
        transport, upstream = await asyncio.get_running_loop().create_datagram_endpoint(
            Signed, local_addr=("127.0.0.1", 0)
        )
        async with running(f"127.0.0.1:{transport.get_extra_info('sockname')[1]}") as server:
            given: dict[tuple[bool, bool], set[str]] = {}
            for _ in range(2):
                for dnssec, disabled, authentic in itertools.product((False, True), repeat=3):
                    answer = await ask(
                        server.port, query(dnssec=dnssec, checking_disabled=disabled, authentic=authentic)
                    )
                    assert answer is not None
                    assert bool(answer[3] & AD) is (dnssec or authentic)
                    assert bool(answer[3] & CD) is disabled
                    given.setdefault((dnssec, disabled), set()).add(str(dnslib.DNSRecord.parse(answer).a.rdata))
        transport.close()
        assert sorted(upstream.asked) == sorted(itertools.product((False, True), repeat=2))
        assert all(len(found) == 1 for found in given.values())
        assert len(set.union(*given.values())) == 4

    asyncio.run(main())
