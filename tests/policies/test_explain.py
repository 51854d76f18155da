from __future__ import annotations

import pytest

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.policies.explain import Explanation, explain, find_device, requests_for
from hedgerow.policies.model import DeviceId, RequestKind, Verdict
from hedgerow.policies.reading.load import parse_policy
from hedgerow.policies.ruleset import Rulesets

NOON = 1_795_521_600.0  # Tuesday 2026-11-24 12:00 UTC
POLICY = b"""network: {timezone: Europe/Lisbon}
people:
  mia:
    age: 9
    devices: [pc, tablet]
    bedtime: "20:30-07:00"
    block:
      - tv.example
      - clips.example/shorts
devices:
  pc: {ip: 192.168.1.9, trusts_ca: true}
  tablet: {mac: "aa:bb:cc:dd:ee:01"}
"""


def _explain(catalogue: Catalogue, device: str, target: str, at: float = NOON) -> Explanation:
    rulesets = Rulesets(parse_policy(POLICY, None), (), (), catalogue)
    found = find_device(rulesets, device)
    assert found is not None
    return explain(rulesets, catalogue, found, target, at)


def _last_why(explanation: Explanation) -> str:
    return explanation.points[-1].steps[-1].why


def test_rules_of_the_policy_have_their_line(catalogue: Catalogue) -> None:
    explanation = _explain(catalogue, "pc", "www.tv.example")
    assert explanation.decision.rule is not None
    assert (explanation.decision.rule.line, explanation.decision.rule.text) == (8, "- tv.example")
    assert _last_why(explanation) == "the person blocks tv.example (built-in policy:8)"


def test_rules_of_lists_have_their_line(catalogue: Catalogue) -> None:
    rule = _explain(catalogue, "pc", "www.adult.example").decision.rule
    assert rule is not None
    assert (rule.source, rule.line, rule.text) == ("own/adult", 1, "adult.example")


def test_times_are_wall_clock_times(catalogue: Catalogue) -> None:
    closed = {step.name: step.why for step in _explain(catalogue, "pc", "example.org").points[0].steps}["closed"]
    assert closed == "no pause is in force, and no bedtime before Tue 24 Nov 20:30"
    assert "until Wed 25 Nov 07:00" in _last_why(_explain(catalogue, "pc", "example.org", NOON + 9 * 3600))


@pytest.mark.parametrize(
    ("target", "message"),
    [("tiktok", "is a service: ask about one of its sites, such as tiktok.com"), ("Social", "is a category")],
)
def test_services_and_categories_are_not_hosts(catalogue: Catalogue, target: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _explain(catalogue, "pc", target)


def test_schedules_are_named(catalogue: Catalogue) -> None:
    policy = parse_policy(
        b"network: {timezone: UTC}\nschedules: {dinner: {block: internet, when: '12:00-13:00'}}", None
    )
    rulesets = Rulesets(policy, (), (), catalogue)
    device = find_device(rulesets, "192.168.1.9")
    assert device is not None
    assert _last_why(explain(rulesets, catalogue, device, "example.org", NOON)).startswith(
        "the internet is closed by the schedule dinner until Tue 24 Nov"
    )


def test_only_a_wrong_clock_closes_until_the_clock_is_right(catalogue: Catalogue) -> None:
    policy = parse_policy(
        b"""network: {timezone: UTC}
people: {mia: {age: 9, budget: 1h, chores: {tidy up: 10m}, devices: [pc]}}
schedules: {first: {block: internet, when: {every-day: all-day}, unless: chores}}
devices: {pc: {ip: 192.168.1.9}}
""",
        None,
    )
    for trusted_from, end in ((0.0, ""), (NOON + 60, " until the clock is right")):
        rulesets = Rulesets(policy, (), (), catalogue, trusted_from=trusted_from)
        device = find_device(rulesets, "pc")
        assert device is not None
        told = explain(rulesets, catalogue, device, "example.org", NOON)
        assert _last_why(told) == f"the internet is closed by the schedule first{end} (built-in policy:3)"
        assert (told.decision.until, told.decision.by_wrong_clock) == (None, bool(end))


def test_enforcement_points_of_a_url(catalogue: Catalogue) -> None:
    def points(device: str, url: str) -> list[tuple[RequestKind, Verdict]]:
        return [(point.request.kind, point.decision.verdict) for point in _explain(catalogue, device, url).points]

    shorts = "https://clips.example/shorts/1"
    assert points("pc", shorts) == [
        (RequestKind.DNS, Verdict.ALLOW),
        (RequestKind.TUNNEL, Verdict.INSPECT),
        (RequestKind.HTTP, Verdict.BLOCK),
    ]
    assert points("tablet", shorts) == [(RequestKind.DNS, Verdict.ALLOW), (RequestKind.TUNNEL, Verdict.ALLOW)]
    assert points("tablet", shorts.replace("https", "http")) == [
        (RequestKind.DNS, Verdict.ALLOW),
        (RequestKind.HTTP, Verdict.BLOCK),
    ]
    assert points("pc", "https://tv.example/") == [(RequestKind.DNS, Verdict.BLOCK)]


def test_devices_are_found_by_name_address_and_mac(catalogue: Catalogue) -> None:
    rulesets = Rulesets(parse_policy(POLICY, None), (), (), catalogue)
    found = [
        find_device(rulesets, name)
        for name in ("pc", "192.168.1.9", "AA-BB-CC-DD-EE-01", "aa:bb:cc:00:00:99", "8.8.8.8", "nobody")
    ]
    assert [device.id if device else None for device in found] == [
        "pc",
        "pc",
        "tablet",
        "aa:bb:cc:00:00:99",
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("target", "host", "port"),
    [
        ("https://Example.org", "example.org", 443),
        ("http://example.org:8080/a", "example.org", 8080),
        ("example.org/a", "example.org", 443),
        ("https://[2001:db8::1]/a", "2001:db8::1", 443),
        ("https://[2001:db8::1]:8443/a", "2001:db8::1", 8443),
        ("https://bücher.example/", "xn--bcher-kva.example", 443),
    ],
)
def test_targets(target: str, host: str, port: int) -> None:
    last = requests_for(DeviceId("x"), target)[-1]
    assert (last.host, last.port) == (host, port)


@pytest.mark.parametrize(
    "target",
    ["", "not a host", "ftp://example.org/", "https://", "https://exa mple.org/", "https://example.org:99999/"],
)
def test_invalid_targets(target: str) -> None:
    with pytest.raises(ValueError):
        requests_for(DeviceId("x"), target)
