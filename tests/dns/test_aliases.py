"""Aliases of an authoritative server, which says nothing about names beyond its zones: Hedgerow follows them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import cast

import dnslib
import pytest
from small_internet import SmallInternet

from hedgerow.dns import aliases, wire
from hedgerow.dns.upstreams import responses
from hedgerow.dns.upstreams.pool import OutcomeCallback, UpstreamOutcome, UpstreamPool
from hedgerow.dns.upstreams.upstream import UpstreamQuestion
from hedgerow.policies.network import ForwardZone

from .conftest import BLOCK, Running, ask, running

ZONE = """
away         CNAME news.example.
blocked      CNAME adult.example.
inside       CNAME away
nowhere      CNAME no-such-name.example.
circle       CNAME back
back         CNAME circle
long         CNAME long1
dept         DNAME example.
bare         DNAME example.
huge         DNAME {huge}.example.
"""
HUGE = ".".join(["x" * 60] * 3)


class Authoritative(asyncio.DatagramProtocol):
    """Answers for one zone with its own records only, in the order given; `bare` and `huge` have DNAMEs without the
    CNAME.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        lines = [line.split() for line in ZONE.format(huge=HUGE).split("\n") if line]
        lines += [[f"long{number}", "CNAME", f"long{number + 1}"] for number in range(1, 30)]
        self.records = {
            label: dnslib.RR.fromZone(f"{label}.corp.example. 60 {kind} {target}", origin="corp.example.")[0]
            for label, kind, target in lines
            if kind != "DNAME"
        }
        self.dnames = {label: target for label, kind, target in lines if kind == "DNAME"}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dnslib.DNSRecord.parse(data)
        name = str(query.q.qname).lower().rstrip(".")
        self.asked.append(name)
        reply = query.reply(aa=1, ra=0)
        label = name.removesuffix(".corp.example")
        head, _, parent = label.rpartition(".")
        if label in self.records:
            reply.add_answer(self.records[label])
        elif parent in self.dnames:
            target = self.dnames[parent]
            owner = f"{parent}.corp.example"
            # The alias first: some servers do that, though the DNAME belongs before it.
            if parent == "dept":
                reply.add_answer(dnslib.RR(name, dnslib.QTYPE.CNAME, ttl=60, rdata=dnslib.CNAME(f"{head}.{target}")))
            reply.add_answer(dnslib.RR(owner, 39, ttl=60, rdata=dnslib.RD(wire.name_of(target.rstrip(".")))))
        else:
            reply.header.rcode = 3
        self.transport.sendto(bytes(reply.pack()), addr)  # type: ignore[attr-defined]


@contextlib.asynccontextmanager
async def forwarding(internet: SmallInternet) -> AsyncIterator[tuple[Running, Authoritative]]:
    transport, authoritative = await asyncio.get_running_loop().create_datagram_endpoint(
        Authoritative, local_addr=("127.0.0.1", 0)
    )
    place = f"127.0.0.1:{transport.get_extra_info('sockname')[1]}"
    try:
        async with running(internet.nameserver.upstream, forward=[ForwardZone("corp.example", (place,))]) as server:
            yield server, authoritative
    finally:
        transport.close()


async def look_up(server: Running, name: str, kind: str = "A") -> tuple[int, list[tuple[str, str]]]:
    """Return the code, and the records in their order."""
    got = await ask(server.port, bytes(dnslib.DNSRecord.question(name, kind).pack()))
    assert got is not None
    record = dnslib.DNSRecord.parse(got)
    names = {39: "DNAME"}
    return record.header.rcode, [
        (str(rr.rname).rstrip("."), names.get(rr.rtype) or dnslib.QTYPE.get(rr.rtype)) for rr in record.rr
    ]


NEWS = ("news.example", "A")
CASES = {
    "away.corp.example": (0, [("away.corp.example", "CNAME"), NEWS]),
    "inside.corp.example": (0, [("inside.corp.example", "CNAME"), ("away.corp.example", "CNAME"), NEWS]),
    "news.dept.corp.example": (0, [("dept.corp.example", "DNAME"), ("news.dept.corp.example", "CNAME"), NEWS]),
    "news.bare.corp.example": (0, [("bare.corp.example", "DNAME"), ("news.bare.corp.example", "CNAME"), NEWS]),
    "nowhere.corp.example": (3, [("nowhere.corp.example", "CNAME")]),
    "circle.corp.example": (2, []),
    "blocked.corp.example": (0, [("blocked.corp.example", "A")]),
    "long.corp.example": (2, []),
    f"{HUGE}.huge.corp.example": (2, []),
}


@pytest.mark.parametrize("name", CASES)
def test_aliases_are_followed_in_order(internet: SmallInternet, name: str) -> None:
    async def main() -> None:
        async with forwarding(internet) as (server, authoritative):
            assert await look_up(server, name) == CASES[name]
            asked = len(authoritative.asked)
            assert asked <= aliases.MAX_HOPS + 1
            assert await look_up(server, name) == CASES[name]
            assert len(authoritative.asked) == asked, "the second answer comes from the cache"

    asyncio.run(main())


def test_targets_are_judged(internet: SmallInternet) -> None:
    async def main() -> None:
        async with forwarding(internet) as (server, _):
            assert (await look_up(server, "away.corp.example"))[1][-1] == NEWS
            server.decisions.table["news.example"] = BLOCK
            server.server.swap(server.clients.get, server.decisions)
            assert await look_up(server, "away.corp.example") == (0, [("away.corp.example", "A")])

    asyncio.run(main())


def test_private_names_are_not_told_to_public_resolvers() -> None:
    question = dnslib.DNSRecord.question("router.corp.example").reply()
    question.add_answer(*dnslib.RR.fromZone("router.corp.example. 60 CNAME nas.home.arpa."))
    asked = wire.name_of("router.corp.example") + b"\0\1\0\1"
    outcomes: list[UpstreamOutcome] = []

    class Public:
        def may_ask(self, name: bytes) -> bool:
            return name != wire.name_of("nas.home.arpa")

        def start(self, question_: UpstreamQuestion, callback: OutcomeCallback) -> None:
            assert question_.question == asked
            callback(responses.parse_response(bytes(question.pack()), asked))

    aliases.start_following(cast(UpstreamPool, Public()), UpstreamQuestion(asked), outcomes.append)
    (outcome,) = outcomes
    assert isinstance(outcome, responses.Response)
    assert [record.rtype for record in outcome.answers] == [wire.CNAME]
