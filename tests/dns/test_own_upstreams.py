"""Upstreams of single clients: asked for them alone, cached for them alone, and judged like all others."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import dnslib
import pytest
from small_internet import SmallInternet
from small_internet.nameserver import Nameserver, nameserver
from small_internet.records import parse_zone

from hedgerow.dns.server.reports import Client
from hedgerow.dns.upstreams.factory import open_upstream_pool
from hedgerow.policies.model import DeviceId
from hedgerow.policies.network import ForwardZone

from .conftest import HeldRules, Running, ask, running

OTHERS, OWN = "127.0.0.1", "127.0.0.2"
ELSEWHERE = """\
www.shared 60 A 203.0.113.2
adult 60 A 203.0.113.2
alias 60 CNAME adult.example.
router 60 A 192.168.1.1
"""


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Nameserver]:
    zones = [parse_zone("example", ELSEWHERE), parse_zone("google.com", "forcesafesearch 60 A 203.0.113.9")]
    with nameserver(zones) as server:
        yield server


@contextlib.asynccontextmanager
async def two_clients(internet: SmallInternet, elsewhere: Nameserver, **options: Any) -> AsyncIterator[Running]:
    """A server whose second client has an upstream of its own."""
    own = (elsewhere.upstream,)
    async with running(internet.nameserver.upstream, others=[own], **options) as server:
        server.clients[OWN] = Client(DeviceId("phone"), HeldRules(2, upstream=own))  # type: ignore[arg-type]
        yield server


async def addresses(server: Running, name: str, client: str, kind: str = "A") -> list[str]:
    answer = await ask(server.port, bytes(dnslib.DNSRecord.question(name, kind).pack()), source=client)
    assert answer is not None
    return [str(record.rdata) for record in dnslib.DNSRecord.parse(answer).rr]


def test_each_client_gets_the_answers_of_its_own_upstreams(internet: SmallInternet, elsewhere: Nameserver) -> None:
    internet.nameserver.add_zone(parse_zone("shared.example", "www 60 A 203.0.113.1"))

    async def run() -> None:
        async with two_clients(internet, elsewhere) as server:
            for _ in range(2):  # asked, and then from the cache
                assert await addresses(server, "www.shared.example", OTHERS) == ["203.0.113.1"]
                assert await addresses(server, "www.shared.example", OWN) == ["203.0.113.2"]
            assert await addresses(server, "www.google.com", OWN) == ["forcesafesearch.google.com.", "203.0.113.9"]

    asyncio.run(run())
    assert internet.nameserver.queries("www.shared.example") == elsewhere.queries("www.shared.example") == 1


def test_no_upstream_opens_what_is_blocked(internet: SmallInternet, elsewhere: Nameserver) -> None:
    async def run() -> None:
        async with two_clients(internet, elsewhere) as server:
            assert await addresses(server, "adult.example", OWN) == ["0.0.0.0"]
            assert await addresses(server, "alias.example", OWN) == ["0.0.0.0"], "nor behind another name"

    asyncio.run(run())
    assert elsewhere.queries("adult.example") == 0


def test_names_of_this_network_stay_with_its_resolvers(internet: SmallInternet, elsewhere: Nameserver) -> None:
    internet.nameserver.add_zone(parse_zone("corp.example", "www 60 A 203.0.113.3"))
    elsewhere.forget_queries()
    forward = [ForwardZone("corp.example", (internet.nameserver.upstream,))]

    async def run() -> None:
        async with two_clients(internet, elsewhere, forward=forward) as server:
            assert await addresses(server, "www.corp.example", OWN) == ["203.0.113.3"]
            await addresses(server, "5.1.168.192.in-addr.arpa", OWN, "PTR")

    asyncio.run(run())
    assert elsewhere.names_asked() == set()


def test_all_pools_close_together(elsewhere: Nameserver) -> None:
    async def run() -> None:
        pool = open_upstream_pool([elsewhere.upstream], others=[(elsewhere.upstream,), ("tcp://127.0.0.1:1",)])
        assert len({each.key for each in (pool, *pool.others.values())}) == 3, "no answer of one is another's"
        await pool.close()

    asyncio.run(run())
