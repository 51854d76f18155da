"""Corrections: a site is not of a topic for anybody, and everything else holds for it."""

from __future__ import annotations

import pytest

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.policies.decide import decide
from hedgerow.policies.explain import explain, find_device
from hedgerow.policies.model import Request, RequestKind
from hedgerow.policies.reading.load import PolicyError, parse_policy
from hedgerow.policies.remembered import RememberedSite
from hedgerow.policies.ruleset import Rulesets

PEOPLE = "people: {mia: {age: 9, devices: [192.168.1.9]}, tom: {age: 15, devices: [192.168.1.10]}}\n"
RECOGNISED = "free-porn-sex-tube-videos.com"
REMEMBERED = {"films.example": (RememberedSite("adult", "2026-11-20"),)}


def words(catalogue: Catalogue, policy: str, host: str, *, url: str | None = None, device: str = "192.168.1.9") -> str:
    parsed = parse_policy((PEOPLE + policy).encode(), None)
    corrected = Catalogue.open(catalogue.generation, parsed.corrections)
    rulesets = Rulesets(parsed, (), (), corrected, remembered=REMEMBERED)
    found = find_device(rulesets, device)
    assert found is not None
    kind = RequestKind.DNS if url is None else RequestKind.HTTP
    decision = decide(rulesets.ruleset(found, 0.0), corrected, Request(found.id, kind, host, url=url))
    return f"{decision.verdict} {decision.reason} {decision.what}".rstrip()


@pytest.mark.parametrize(
    ("policy", "host", "expected"),
    [
        ("", "adult.example", "block category adult"),
        ("corrections: {adult: adult.example}", "adult.example", "allow default"),
        ("corrections: {adult: [adult.example]}", "www.adult.example", "allow default"),
        ("corrections: {adult: [www.adult.example]}", "adult.example", "block category adult"),
        ("corrections: {gambling: [adult.example]}", "adult.example", "block category adult"),
        ("corrections: {adult: [gambling.example]}", "gambling.example", "block category gambling"),
        ("corrections: {adult: [adult.example]}", "notadult.example", "allow default"),
        ("corrections: {adult: [adult.example]}\nblock: [adult.example]", "adult.example", "block rule adult.example"),
        (f"corrections: {{adult: [{RECOGNISED}]}}", RECOGNISED, "allow default"),
        ("", RECOGNISED, "block recognised adult"),
        ("", "films.example", "block recognised adult"),
        ("corrections: {adult: [films.example]}", "films.example", "allow default"),
        ("corrections: {bypass: [vpn.example]}", "vpn.example", "allow default"),
    ],
)
def test_a_corrected_site_is_not_of_the_topic(catalogue: Catalogue, policy: str, host: str, expected: str) -> None:
    assert words(catalogue, policy, host) == expected
    if "mia" not in policy:
        assert words(catalogue, policy, host, device="192.168.1.10") == expected, "for everybody"


def test_explain_says_that_it_was_corrected(catalogue: Catalogue) -> None:
    parsed = parse_policy((PEOPLE + "corrections: {adult: [adult.example]}").encode(), None)
    corrected = Catalogue.open(catalogue.generation, parsed.corrections)
    rulesets = Rulesets(parsed, (), (), corrected)
    device = find_device(rulesets, "192.168.1.9")
    assert device is not None
    steps = explain(rulesets, corrected, device, "adult.example", 0.0).points[0].steps
    assert [step.why for step in steps if step.name == "category"] == ["a correction says that it is not adult"]


def test_rules_about_pages_are_lifted_too(catalogue: Catalogue) -> None:
    url = "https://mixed.example/weapons/1"
    assert words(catalogue, "", "mixed.example", url=url) == "block category weapons"
    assert words(catalogue, "corrections: {weapons: [mixed.example]}", "mixed.example", url=url) == "allow default"


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("corrections: {illegal: [a.example]}", "'illegal' is not a topic that can be corrected"),
        ("corrections: {education: [a.example]}", "'education' is not a topic that can be corrected"),
        ("corrections: {adlut: [a.example]}", "Did you mean adult?"),
        ("corrections: {adult: [co.uk]}", "'co.uk' is not a site"),
        ("corrections: {adult: [localhost]}", "'localhost' is not a site"),
        ("corrections: {adult: ['a b']}", "'a b' is not a site"),
    ],
)
def test_what_cannot_be_corrected(policy: str, said: str) -> None:
    with pytest.raises(PolicyError) as refused:
        parse_policy(policy.encode(), None)
    assert said in str(refused.value)
