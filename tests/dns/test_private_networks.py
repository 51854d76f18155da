"""Names of this network: asked of resolvers in it, or of none."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address
from typing import Any

import dnslib
import pytest
from small_internet import SmallInternet

from hedgerow.dns.private_networks import PRIVATE_ZONES, private_zone
from hedgerow.dns.special_names import LocalNames
from hedgerow.dns.wire import parse_query
from hedgerow.policies.network import ForwardZone, LocalRecord

from .conftest import ask, running

ELSEWHERE = "tls://resolver.elsewhere.example"  # not found by anybody: whatever is asked of it fails
PRIVATE = [
    *(
        "10.1.2.3",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "127.0.0.1",
        "169.254.1.1",
        "100.64.0.1",
        "100.127.255.255",
        "0.0.0.0",
    ),
    *("::1", "::", "fd12::1", "fe80::1", "febf::1", "2001:db8::1"),
]
PUBLIC = [
    "9.9.9.9",
    "172.15.0.1",
    "172.32.0.1",
    "100.63.0.1",
    "100.128.0.1",
    "192.167.1.1",
    "2001:db9::1",
    "2620:fe::fe",
    "fec0::1",
]


def query(name: str, kind: str = "A") -> bytes:
    return bytes(dnslib.DNSRecord.question(name, kind).pack())


@pytest.mark.parametrize("address", PRIVATE)
def test_reverse_names_of_private_addresses_are_private(address: str) -> None:
    assert private_zone(ip_address(address).reverse_pointer) is not None


@pytest.mark.parametrize("address", PUBLIC)
def test_reverse_names_of_public_addresses_are_not(address: str) -> None:
    assert private_zone(ip_address(address).reverse_pointer) is None


def test_local_names_are_not_asked_of_public_upstreams(internet: SmallInternet) -> None:
    """A resolver in this network is asked where there is one, and a zone's own."""
    nas, public = "5.1.168.192.in-addr.arpa", "news.example"

    async def asked_of(upstreams: list[str], **options: Any) -> list[int]:
        async with running(upstreams, **options) as server:
            answers = [
                await ask(server.port, query(name, kind))
                for name, kind in ((nas, "PTR"), ("local", "SOA"), (public, "A"))
            ]
            return [dnslib.DNSRecord.parse(answer).header.rcode for answer in answers if answer is not None]

    async def main() -> None:
        assert await asked_of([ELSEWHERE]) == [3, 0, 2]
        assert internet.nameserver.queries(nas) == 0
        router = internet.nameserver.upstream
        assert (await asked_of([ELSEWHERE, router]))[2] == 0
        assert internet.nameserver.queries(nas) == 1
        await asked_of([router])
        assert internet.nameserver.queries(nas) == 2
        await asked_of([ELSEWHERE], forward=[ForwardZone("1.168.192.in-addr.arpa", (router,))])
        assert internet.nameserver.queries(nas) == 3

    asyncio.run(main())


def test_all_named_zones_are_kept() -> None:
    assert {"home.arpa", "local", "test", "internal", "alt"} <= PRIVATE_ZONES
    assert [
        private_zone(host) for host in ("printer.local", "test", "example.test.com", "arpa", "in-addr.arpa", "")
    ] == [
        "local",
        "test",
        *(None,) * 4,
    ]


@pytest.mark.parametrize(
    ("host", "known"), [("dns.home.example", True), ("mia-phone.dns.home.example", True), ("home.example", False)]
)
def test_server_name_resolves_to_us(host: str, known: bool) -> None:
    names = LocalNames(own=LocalRecord("dns.home.example", ("192.168.1.2",)))
    found = names.answer(host, parse_query(query(host)))
    assert (found is not None and found.answers == 1) is known


@pytest.mark.parametrize("host", ["nas.lan", "5.1.168.192.in-addr.arpa", "dns.home.example"])
def test_any_of_a_local_name_is_not_empty(host: str) -> None:
    names = LocalNames(
        [LocalRecord("nas.lan", ("192.168.1.5",))], own=LocalRecord("dns.home.example", ("192.168.1.2",))
    )
    found = names.answer(host, parse_query(query(host, "ANY")))
    assert found is not None
    assert found.answers == 1
