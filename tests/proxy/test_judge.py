"""The strictest verdict holds, and what the resolver said is remembered only as long and for whom it may be."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

from hedgerow.policies.content import PASSED
from hedgerow.policies.model import Decision, DeviceId, Kind, Reason, Request, Verdict
from hedgerow.policies.ruleset import Ruleset
from hedgerow.proxy.judge import KnownAddresses, KnownDecisions, strictest


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
        (Request(DeviceId("d"), Kind.TUNNEL, f"{verdict}.example"), Decision(verdict, Reason.DEFAULT))
        for verdict in (Verdict.ALLOW, Verdict.INSPECT, Verdict.BLOCK, Verdict.REWRITE)
    ]
    assert [strictest(judged[:size])[1].verdict for size in (1, 2, 3, 4)] == [Verdict.ALLOW, Verdict.INSPECT, Verdict.BLOCK, Verdict.BLOCK]


def test_addresses_are_known_for_a_while_and_one_ruleset() -> None:
    one, two = (cast(Ruleset, Numbered(number)) for number in (1, 2))
    known, found = KnownAddresses(seconds=5, limit=3), Found(("192.0.2.1",))
    known.put(one, "a.example", found, now=100)
    assert known.get(one, "a.example", now=104.9) is found
    assert known.get(one, "a.example", now=105) is None
    assert known.get(two, "a.example", now=101) is None
    known.put(one, "b.example", Found(()), now=100)
    assert known.get(one, "b.example", now=100) is None
    for number in range(10):
        known.put(one, f"{number}.example", found, now=100)
    assert sum(known.get(one, f"{number}.example", now=100) is not None for number in range(10)) <= 3


def test_decisions_on_tunnels_are_remembered_but_not_whether_a_host_is_passed_through() -> None:
    asked: list[str] = []

    def decide(_ruleset: Ruleset, request: Request) -> Decision:
        asked.append(request.host)
        if request.host == "inspected.example":
            return Decision(Verdict.INSPECT, Reason.DEFAULT)
        return Decision(Verdict.BLOCK, Reason.BYPASS) if request.hides_host else ALLOWED

    def passed(_ruleset: Ruleset, request: Request, decision: Decision) -> Decision:
        return replace(decision, verdict=Verdict.ALLOW, what=PASSED) if request.device in passed_to else decision

    one, two = (cast(Ruleset, Numbered(number)) for number in (1, 2))
    passed_to = set[str]()
    known = KnownDecisions(decide, passed, limit=4)
    for _ in range(2):
        for ruleset in (one, two):
            assert known.decide(ruleset, Request(DeviceId("d"), Kind.TUNNEL, "a.example")) is ALLOWED
        assert known.decide(one, Request(DeviceId("d"), Kind.TUNNEL, "a.example", hides_host=True)).verdict is Verdict.BLOCK
        inspected = Request(DeviceId("d"), Kind.TUNNEL, "inspected.example")
        assert known.decide(one, inspected).verdict is Verdict.INSPECT
        passed_to.add("d")
        assert known.decide(one, inspected).what == PASSED
        assert known.decide(one, replace(inspected, device=DeviceId("e"))).verdict is Verdict.INSPECT
        passed_to.clear()
    assert (asked.count("a.example"), asked.count("inspected.example")) == (3, 1)
    for number in range(20):
        known.decide(one, Request(DeviceId("d"), Kind.TUNNEL, f"{number}.example"))
    assert len(known._known) <= 4
