"""The golden cases of tests/cases: a policy, a moment, what a device asks for, and what it gets."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.policies.decide import decide
from hedgerow.policies.explain import explain, find_device, requests_for
from hedgerow.policies.model import Decision, DeviceId, Grant, Pause, Policy, RequestKind, Session
from hedgerow.policies.reading.load import parse_policy
from hedgerow.policies.ruleset import Rulesets
from hedgerow.policies.time_model import Bonus, SpentBudget
from hedgerow.policies.times.budget import balances, mark, spent_budgets

CASES = Path(__file__).parents[1] / "cases"


def _load() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    for path in sorted(CASES.glob("*.yaml")):
        topic = yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader)
        if not isinstance(topic, dict):
            continue  # of another part, with a form of its own
        for case in topic["cases"]:
            # One case may tell what holds at several moments: each is a case of its own.
            for at, expected in (case.get("moments") or {None: None}).items():
                alone = case if at is None else {**case, "at": at, "expect": expected}
                yield f"{path.stem}: {case['name']}" + (f" ({at})" if at else ""), topic, alone


ALL = list(_load())


def _instant(text: str, policy: Policy) -> float:
    """`2026-11-24 20:30`, with `second` after it for the second time that clocks show this."""
    wall = text.partition(" second")[0]
    zone = ZoneInfo(policy.network.timezone)
    form = "%Y-%m-%d %H:%M:%S" if wall.count(":") == 2 else "%Y-%m-%d %H:%M"
    return datetime.strptime(wall.strip(), form).replace(tzinfo=zone, fold=" second" in text).timestamp()


def _span(entry: dict[str, Any], policy: Policy) -> dict[str, Any]:
    times = {key: _instant(entry[key], policy) for key in ("starts", "ends") if key in entry}
    whose = {"device": DeviceId(entry["device"])} if "device" in entry else {"person": entry.get("person")}
    return {"giver": "ana", "starts": 0.0, **times, **whose}


def _stretch(text: str, policy: Policy) -> range:
    """The minutes of `2026-11-24 15:00-16:30`."""
    day, clocks = text.split(" ")
    start, end = (int(_instant(f"{day} {clock}", policy) // 60) for clock in clocks.split("-"))
    return range(start, end)


def _spent(case: dict[str, Any], policy: Policy, at: float) -> tuple[SpentBudget, ...]:
    marks: dict[tuple[str, str], dict[int, int]] = {}
    for entry in case.get("used", ()):
        account = f"device:{entry['device']}" if "device" in entry else f"person:{entry['person']}"
        for minute in _stretch(entry["at"], policy):
            mark(marks.setdefault((account, entry.get("of", "")), {}), minute)
    given = [
        Bonus(str(n), f"person:{each['person']}", each.get("of", ""), int(each["minutes"]), "ana", _instant(each["at"], policy))
        for n, each in enumerate(case.get("bonuses", ()))
    ]
    return spent_budgets(balances(policy, marks, given, at))


def _sittings(case: dict[str, Any], policy: Policy) -> list[Session]:
    return [
        Session(str(n), DeviceId(each["device"]), "ana", _instant(each["starts"], policy),
                _instant(each["ends"], policy) if "ends" in each else None, each.get("person"), each.get("profile"))
        for n, each in enumerate(case.get("sittings", ()))
    ]  # fmt: skip


def _words(decision: Decision) -> str:
    return " ".join(word for word in (decision.verdict.value, decision.reason.value, decision.what) if word)


@pytest.mark.parametrize(("topic", "case"), [entry[1:] for entry in ALL], ids=[entry[0] for entry in ALL])
def test_golden_case(topic: dict[str, Any], case: dict[str, Any], catalogue: Catalogue) -> None:
    policy = parse_policy((case.get("policy") or topic["policy"]).encode(), None)
    grants = [Grant(id=str(n), subject=each["subject"], **_span(each, policy)) for n, each in enumerate(case.get("grants", ()))]
    pauses = [Pause(id=str(n), **_span(each, policy)) for n, each in enumerate(case.get("pauses", ()))]
    at = _instant(case.get("at") or topic["at"], policy)
    rulesets = Rulesets(policy, grants, pauses, catalogue, _spent(case, policy, at), _sittings(case, policy))
    device = find_device(rulesets, case.get("device") or topic["device"])
    if case["expect"] == "refused":
        assert device is None
        return
    assert device is not None
    ruleset = rulesets.ruleset(device, at)
    expect = case["expect"] if isinstance(case["expect"], dict) else {"en.wikipedia.org": case["expect"]}
    for target, expected in expect.items():
        decision = explain(rulesets, catalogue, device, target, at).decision
        for point in ("dns", "tunnel", "http"):
            if expected.startswith(f"{point}: "):
                request = next(each for each in requests_for(device.id, target) if each.kind is RequestKind(point))
                decision = decide(ruleset, catalogue, request)
                expected = expected.removeprefix(f"{point}: ")
        assert _words(decision) == expected, target
        if "until" in case:
            assert decision.until == _instant(case["until"], policy)
        if "note" in case:
            assert decision.note == case["note"]
        if "target" in case:
            assert decision.target == case["target"]
    if "holds_until" in case:
        assert ruleset.until == _instant(case["holds_until"], policy)


def test_there_are_enough_cases() -> None:
    assert len(ALL) >= 200
    assert len({name for name, _, _ in ALL}) == len(ALL)
