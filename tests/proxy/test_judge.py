"""The strictest verdict holds, and what the resolver said is remembered only as long and for whom it may be."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import cast

from hedgerow.policies.content import PASS_THROUGH
from hedgerow.policies.model import Decision, DeviceId, Reason, Request, RequestKind, Verdict
from hedgerow.policies.ruleset import Ruleset
from hedgerow.proxy.policy import ResolvedHostCache, TunnelDecisionCache, strictest


@dataclass(frozen=True)
class Numbered:
    """As much of a ruleset as the memory of addresses looks at."""

    id: int


ALLOWED = Decision(Verdict.ALLOW, Reason.DEFAULT)


@dataclass(frozen=True)
class Found:
    addresses: tuple[str, ...]
    decision: Decision = ALLOWED


def test_the_strictest_verdict_holds() -> None:
    judged = [
        (Request(DeviceId("d"), RequestKind.TUNNEL, f"{verdict}.example"), Decision(verdict, Reason.DEFAULT))
        for verdict in (Verdict.ALLOW, Verdict.INSPECT, Verdict.BLOCK, Verdict.REWRITE)
    ]
    assert [strictest(judged[:size])[1].verdict for size in (1, 2, 3, 4)] == [Verdict.ALLOW, Verdict.INSPECT, Verdict.BLOCK, Verdict.BLOCK]


def test_addresses_are_known_for_a_while_and_one_ruleset() -> None:
    asked: list[str] = []

    async def resolve(_ruleset: Ruleset, _device: DeviceId, host: str, *, url_is_allowed: bool = False) -> Found:
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


def test_decisions_on_tunnels_are_remembered_but_not_whether_a_host_is_passed_through() -> None:
    asked: list[str] = []

    def decide(_ruleset: Ruleset, request: Request) -> Decision:
        asked.append(request.host)
        if request.host == "inspected.example":
            return Decision(Verdict.INSPECT, Reason.DEFAULT)
        return Decision(Verdict.BLOCK, Reason.BYPASS) if request.hides_host else ALLOWED

    def passed(_ruleset: Ruleset, request: Request, decision: Decision) -> Decision:
        return replace(decision, verdict=Verdict.ALLOW, what=PASS_THROUGH) if request.device in passed_to else decision

    one, two = (cast(Ruleset, Numbered(number)) for number in (1, 2))
    passed_to = set[str]()
    known = TunnelDecisionCache(decide, passed, limit=4)
    for _ in range(2):
        for ruleset in (one, two):
            assert known.decide(ruleset, Request(DeviceId("d"), RequestKind.TUNNEL, "a.example")) is ALLOWED
        assert known.decide(one, Request(DeviceId("d"), RequestKind.TUNNEL, "a.example", hides_host=True)).verdict is Verdict.BLOCK
        inspected = Request(DeviceId("d"), RequestKind.TUNNEL, "inspected.example")
        assert known.decide(one, inspected).verdict is Verdict.INSPECT
        passed_to.add("d")
        assert known.decide(one, inspected).what == PASS_THROUGH
        assert known.decide(one, replace(inspected, device=DeviceId("e"))).verdict is Verdict.INSPECT
        passed_to.clear()
    assert (asked.count("a.example"), asked.count("inspected.example")) == (3, 1)
    for number in range(20):
        known.decide(one, Request(DeviceId("d"), RequestKind.TUNNEL, f"{number}.example"))
    assert len(known._known) <= 4
