"""The proxy policy: destinations that may be dialled, the strictest verdict, and caches of decisions and hosts."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from ipaddress import ip_network
from typing import cast

import pytest

from hedgerow.policies.content import PASS_THROUGH
from hedgerow.policies.model import Decision, Device, DeviceId, Reason, Request, RequestKind, Verdict
from hedgerow.policies.ruleset import Ruleset
from hedgerow.proxy.gate.commands import GateClient
from hedgerow.proxy.gate.rules import GateRules
from hedgerow.proxy.pages.block_page import BlockPage
from hedgerow.proxy.policy import (
    DestinationGuard,
    ProxyPolicy,
    ResolvedHost,
    ResolvedHostCache,
    strictest,
)
from hedgerow.proxy.sign_in import ProxyAuthenticator

LAN = (ip_network("192.168.1.0/24"), ip_network("2a00:1450:4001::/64"))


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        ("127.0.0.1", False),
        ("127.9.9.9", False),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("172.16.5.4", False),
        ("192.168.1.1", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("198.18.0.1", False),
        ("224.0.0.251", False),
        ("239.255.255.250", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("fe80::1", False),
        ("fd12:3456::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:93.184.215.14", True),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::5db8:d70e", True),
        ("2002:7f00:1::", False),
        ("2002:5db8:d70e::1", False),
        ("100:0:0:1::", False),
        ("4000::1", False),
        ("2002:c0a8:101::1", False),
        ("203.0.113.9", False),
        ("8.8.8.8", False),  # stands for our own public address here
        ("::ffff:8.8.8.8", False),
        ("64:ff9b::808:808", False),
        ("2a00:1450:4001::5", False),  # stands for a machine of the house with an address of the whole internet
        ("2a00:1450:4002::5", True),
        ("fec0::1", False),
        ("::127.0.0.1", False),
        ("::93.184.215.14", False),
        ("64:ff9b:1::7f00:1", False),
        ("2001:0:7f00:1::", False),
    ],
)
def test_addresses(address: str, allowed: bool) -> None:
    guard = DestinationGuard(home_networks=LAN, own=lambda: frozenset({"8.8.8.8"}))
    assert guard.allows(address) is allowed
    assert guard.allows(address) is allowed  # the second time from memory


def test_reachable_opens_only_its_networks() -> None:
    guard = DestinationGuard(reachable=(ip_network("192.168.1.20/32"), ip_network("fd12::/64")))
    found = guard.allowed(["192.168.1.20", "192.168.1.21", "fd12::7", "fd12:1::7", "1.1.1.1"])
    assert found == ("192.168.1.20", "fd12::7", "1.1.1.1")


def test_memory_is_bounded() -> None:
    guard = DestinationGuard()
    for number in range(10_000):
        guard.allows(f"10.0.{number // 256}.{number % 256}")
    assert len(guard._known) <= 4096


def test_a_reachable_address_is_open_in_every_notation() -> None:
    guard = DestinationGuard((ip_network("192.168.1.20/32"), ip_network("2a00:1450:4001::5/128")), home_networks=LAN)
    for address, allowed in (
        ("192.168.1.20", True),
        ("::ffff:192.168.1.20", True),
        ("192.168.1.21", False),
        ("2a00:1450:4001::5", True),
    ):
        assert guard.allows(address) is allowed
    assert not guard.allows("2002:c0a8:114::"), "6to4 leads elsewhere first"


@dataclass(frozen=True)
class Numbered:
    """As much of a ruleset as the memory of addresses looks at."""

    id: int


ALLOWED = Decision(Verdict.ALLOW, Reason.DEFAULT)


@dataclass(frozen=True)
class Found:
    addresses: tuple[str, ...]
    decision: Decision = ALLOWED
    failed: bool = False


def test_the_strictest_verdict_holds() -> None:
    judged = [
        (Request(DeviceId("d"), RequestKind.TUNNEL, f"{verdict}.example"), Decision(verdict, Reason.DEFAULT))
        for verdict in (Verdict.ALLOW, Verdict.INSPECT, Verdict.BLOCK, Verdict.REWRITE)
    ]
    assert [strictest(judged[:size])[1].verdict for size in (1, 2, 3, 4)] == [
        Verdict.ALLOW,
        Verdict.INSPECT,
        Verdict.BLOCK,
        Verdict.BLOCK,
    ]


def test_addresses_are_cached_per_ruleset_until_they_expire() -> None:
    asked: list[str] = []

    async def resolve(ruleset: Ruleset, device: DeviceId, host: str, *, url_is_allowed: bool = False) -> ResolvedHost:
        assert not url_is_allowed
        asked.append(host)
        return Found(() if host == "nowhere.example" else ("192.0.2.1",))

    one, two = (cast(Ruleset, Numbered(number)) for number in (1, 2))
    known = ResolvedHostCache(resolve, seconds=5, limit=3)

    def is_asked(ruleset: Ruleset, host: str, now: float) -> bool:
        asked.clear()
        found = asyncio.run(known.resolve(ruleset, DeviceId("d"), host, now))
        assert bool(found.addresses) is (host != "nowhere.example")
        return asked == [host]

    assert is_asked(one, "a.example", 100)
    assert not is_asked(one, "a.example", 104.9)
    assert is_asked(two, "a.example", 101)
    assert is_asked(one, "a.example", 105)
    assert is_asked(one, "nowhere.example", 100)
    assert is_asked(one, "nowhere.example", 100)
    for number in range(10):
        assert is_asked(one, f"{number}.example", 100)
    assert sum(not is_asked(one, f"{number}.example", 100) for number in reversed(range(10))) <= 3


def test_tunnel_decisions_are_cached_but_pass_through_is_not() -> None:
    asked: list[str] = []

    def decide(_ruleset: Ruleset, request: Request) -> Decision:
        asked.append(request.host)
        if request.host == "inspected.example":
            return Decision(Verdict.INSPECT, Reason.DEFAULT)
        return Decision(Verdict.BLOCK, Reason.BYPASS) if request.hides_host else ALLOWED

    async def resolve(*_: object, **__: object) -> Found:
        raise AssertionError

    def passed(_ruleset: Ruleset, request: Request, decision: Decision) -> Decision:
        return replace(decision, verdict=Verdict.ALLOW, what=PASS_THROUGH) if request.device in passed_to else decision

    one, two = (cast(Ruleset, Numbered(number)) for number in (1, 2))
    passed_to = set[str]()
    policy = ProxyPolicy(
        lambda _: None,
        decide,
        resolve,
        lambda *_: None,
        lambda _: None,
        DestinationGuard(),
        BlockPage(),
        apply_pass_through=passed,
    )
    known = GateRules(policy, b"", ProxyAuthenticator())
    first, second = (GateClient("192.0.2.7", Device(DeviceId("d"), "teen"), ruleset) for ruleset in (one, two))
    for _ in range(2):
        for client in (first, second):
            assert known.decide(client, Request(DeviceId("d"), RequestKind.TUNNEL, "a.example")) is ALLOWED
        assert (
            known.decide(first, Request(DeviceId("d"), RequestKind.TUNNEL, "a.example", hides_host=True)).verdict
            is Verdict.BLOCK
        )
        inspected = Request(DeviceId("d"), RequestKind.TUNNEL, "inspected.example")
        assert known.decide(first, inspected).verdict is Verdict.INSPECT
        passed_to.add("d")
        assert known.decide(first, inspected).what == PASS_THROUGH
        assert known.decide(first, replace(inspected, device=DeviceId("e"))).verdict is Verdict.INSPECT
        passed_to.clear()
    assert (asked.count("a.example"), asked.count("inspected.example")) == (3, 1)
