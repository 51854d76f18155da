"""Golden cases of tests/cases: a policy, an instant, a device's request, and the expected decision."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, cast
from zoneinfo import ZoneInfo

import pytest
import yaml

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.policies.decide import FIELDS_READ, SERVING_READS, STEPS, apply_allowed, decide, fields_read
from hedgerow.policies.explain import explain, find_device, requests_for
from hedgerow.policies.model import (
    Decision,
    Device,
    DeviceId,
    Grant,
    Pause,
    Policy,
    Reason,
    Request,
    RequestKind,
    Session,
    Verdict,
)
from hedgerow.policies.reading.load import parse_policy
from hedgerow.policies.request_context import CONTEXT_READS, FIELDS_BY_KIND, build_context
from hedgerow.policies.ruleset import Rulesets
from hedgerow.policies.time_model import Bonus, SpentBudget
from hedgerow.policies.times.budget import balances, mark, spent_budgets
from hedgerow.policies.unlisted import CertificateFlaw
from hedgerow.policies.url_decisions import UrlDecisions

CASES = Path(__file__).parents[1] / "cases"


def _load() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    for path in sorted(CASES.glob("*.yaml")):
        topic = yaml.load(path.read_text(encoding="utf-8"), yaml.CBaseLoader)
        if not isinstance(topic, dict):
            continue  # of another part, with a form of its own
        for case in topic["cases"]:
            # One case may tell what holds at several moments: each is a case of its own.
            for at, expected in (case.get("moments") or {None: None}).items():
                alone = case if at is None else {**case, "at": at, "expect": expected}
                yield f"{path.stem}: {case['name']}" + (f" ({at})" if at else ""), topic, alone


ALL = list(_load())


def _instant(text: str, policy: Policy) -> float:
    """Parse `2026-11-24 20:30`; a `second` after it means the second time that clocks show this."""
    wall = text.partition(" second")[0]
    zone = ZoneInfo(policy.network.timezone)
    form = "%Y-%m-%d %H:%M:%S" if wall.count(":") == 2 else "%Y-%m-%d %H:%M"
    return datetime.strptime(wall.strip(), form).replace(tzinfo=zone, fold=" second" in text).timestamp()


def _span(entry: dict[str, Any], policy: Policy) -> dict[str, Any]:
    times: dict[str, Any] = {key: _instant(entry[key], policy) for key in ("starts", "ends") if key in entry}
    whose = {"device": DeviceId(entry["device"])} if "device" in entry else {"person": entry.get("person")}
    spared: dict[str, Any] = {key: entry[key] for key in ("spared_person", "spared_device") if key in entry}
    return {"actor": "ana", "starts": 0.0, **times, **whose, **spared}


def _stretch(text: str, policy: Policy) -> range:
    """Return the minutes of `2026-11-24 15:00-16:30`."""
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
        Bonus(
            str(n),
            f"person:{each['person']}",
            each.get("of", ""),
            int(each["minutes"]),
            "ana",
            _instant(each["at"], policy),
        )
        for n, each in enumerate(case.get("bonuses", ()))
    ]
    return spent_budgets(balances(policy, marks, given, at))


def _sessions(case: dict[str, Any], policy: Policy) -> list[Session]:
    return [
        Session(
            str(n),
            DeviceId(each["device"]),
            "ana",
            _instant(each["starts"], policy),
            _instant(each["ends"], policy) if "ends" in each else None,
            each.get("person"),
            each.get("profile"),
        )
        for n, each in enumerate(case.get("sessions", ()))
    ]


def _words(decision: Decision) -> str:
    return " ".join(word for word in (decision.verdict.value, decision.reason.value, decision.what) if word)


def _situation(
    topic: dict[str, Any], case: dict[str, Any], catalogue: Catalogue
) -> tuple[Rulesets, Device | None, float]:
    policy = parse_policy((case.get("policy") or topic["policy"]).encode(), None)
    grants = [
        Grant(id=str(n), subject=each["subject"], **_span(each, policy))
        for n, each in enumerate(case.get("grants", ()))
    ]
    pauses = [Pause(id=str(n), **_span(each, policy)) for n, each in enumerate(case.get("pauses", ()))]
    at = _instant(case.get("at") or topic["at"], policy)
    rulesets = Rulesets(policy, grants, pauses, catalogue, _spent(case, policy, at), _sessions(case, policy))
    return rulesets, find_device(rulesets, case.get("device") or topic["device"]), at


def _expectations(case: dict[str, Any]) -> dict[str, str]:
    return case["expect"] if isinstance(case["expect"], dict) else {"en.wikipedia.org": case["expect"]}


@pytest.mark.parametrize(("topic", "case"), [entry[1:] for entry in ALL], ids=[entry[0] for entry in ALL])
def test_golden_case(topic: dict[str, Any], case: dict[str, Any], catalogue: Catalogue) -> None:
    rulesets, device, at = _situation(topic, case, catalogue)
    policy = rulesets.policy
    if case["expect"] == "refused":
        assert device is None
        return
    assert device is not None
    ruleset = rulesets.ruleset(device, at)
    for target, expected in _expectations(case).items():
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


class _RecordingRequest:
    """A request that records which of its fields are read."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self.read: set[str] = set()

    def __getattr__(self, name: str) -> object:
        self.read.add(name)
        return getattr(self._request, name)


def test_steps_declare_every_field_that_they_read(catalogue: Catalogue) -> None:
    """Caches derive their keys from these declarations. Every step is run on every case, whichever step decides."""
    read_by_any: set[str] = set()
    for _, topic, case in ALL:
        rulesets, device, at = _situation(topic, case, catalogue)
        if device is None:
            continue
        for request in (each for target in _expectations(case) for each in requests_for(device.id, target)):
            recorder = _RecordingRequest(request)
            context = build_context(rulesets.ruleset(device, at), catalogue, cast(Request, recorder))
            assert recorder.read <= CONTEXT_READS
            parts: list[tuple[str, frozenset[str], Callable[[], object]]]
            parts = [(step.name, step.reads, partial(step.judge, context)) for step in STEPS]
            parts.append(
                ("serving", SERVING_READS, partial(apply_allowed, context, Decision(Verdict.ALLOW, Reason.DEFAULT)))
            )
            for name, declared, run in parts:
                recorder.read.clear()
                run()
                assert recorder.read <= declared, f"{name} reads {sorted(recorder.read - declared)} of {request}"
                read_by_any |= recorder.read
    assert read_by_any == FIELDS_READ, "a field is declared that no step reads, or the cases lack one"


def test_requests_set_only_the_fields_of_their_kind() -> None:
    requests = requests_for(DeviceId("tv"), "https://example.org/a")
    for request in requests:
        filled = {field.name for field in fields(Request) if getattr(request, field.name) != field.default} - {"kind"}
        assert filled <= FIELDS_BY_KIND[request.kind]
    assert fields_read(RequestKind.DNS) == ("dns_type", "host")
    assert fields_read(RequestKind.TUNNEL) == ("flaw", "hides_host", "host")


@pytest.mark.parametrize(("age", "verdict"), [(6, Verdict.BLOCK), (9, Verdict.ALLOW), (15, Verdict.ALLOW)])
def test_a_server_that_cannot_be_looked_at_is_closed_where_new_sites_are(
    catalogue: Catalogue, age: int, verdict: Verdict
) -> None:
    text = f"people: {{mia: {{age: {age}, devices: [tablet]}}}}\ndevices: {{tablet: {{ip: 127.0.0.2}}}}\n"
    rulesets = Rulesets(parse_policy(text.encode(), None), (), (), catalogue)
    found = rulesets.devices.find("127.0.0.2")
    assert found is not None
    request = Request(found.id, RequestKind.TUNNEL, "gone.example", 443, flaw=CertificateFlaw.UNSEEN)
    assert decide(rulesets.ruleset(found, 1_800_000_000.0), catalogue, request).verdict is verdict


def test_the_cases_are_many_and_have_unique_names() -> None:
    assert len(ALL) >= 200
    assert len({name for name, _, _ in ALL}) == len(ALL)


def test_decisions_on_urls_are_the_same_where_the_host_is_known(catalogue: Catalogue) -> None:
    """Whichever URL of a host comes first, what is kept of it decides no other one differently."""
    reading = {step.name for step in STEPS if "url" in step.reads}
    assert reading == {"illegal", "grant", "youtube", "category", "search", "safe-search"}, (
        "UrlDecisions knows these steps only"
    )
    is_kept = False
    for _, topic, case in ALL:
        rulesets, device, at = _situation(topic, case, catalogue)
        if device is None:
            continue
        ruleset = rulesets.ruleset(device, at)
        for target in _expectations(case):
            named = [each for each in requests_for(device.id, target) if each.url is not None]
            asked = [
                replace(each, url=url)
                for each in named
                for url in (f"https://{each.host}/", f"https://{each.host}/a?b=c", each.url)
            ]
            for order in (asked, asked[::-1]):
                decisions = UrlDecisions(catalogue)
                for request in (*order, *order):
                    assert decisions.decide(ruleset, request) == decide(ruleset, catalogue, request), request
                is_kept = is_kept or bool(decisions._known)
    assert is_kept
