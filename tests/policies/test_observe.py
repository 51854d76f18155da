from __future__ import annotations

import pytest

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.policies.decide import decide
from hedgerow.policies.load import parse_policy
from hedgerow.policies.model import DeviceId, Kind, Observation, Reason, Request
from hedgerow.policies.observe import observe
from hedgerow.policies.ruleset import Rulesets

NOON = 1_795_521_600.0


def _observed(catalogue: Catalogue, privacy: str, host: str, url: str | None = None) -> Observation | None:
    policy = (
        f"people: {{mia: {{age: 9, devices: [192.168.1.9], privacy: {privacy}, allow: [scratch.mit.edu], block: [roblox, tv.example]}}}}"
    )
    rulesets = Rulesets(parse_policy(policy.encode(), None), (), (), catalogue)
    device = rulesets.device_at("192.168.1.9")
    assert device is not None
    ruleset = rulesets.ruleset(device, NOON)
    request = Request(DeviceId("x"), Kind.HTTP if url else Kind.DNS, host, url=url)
    return observe(ruleset, request, decide(ruleset, catalogue, request), NOON, 3)


@pytest.mark.parametrize(
    ("privacy", "host", "url", "expected"),
    [
        (
            "full",
            "en.wikipedia.org",
            "http://u:p@en.wikipedia.org/wiki/Cat?x=1#top",
            ("", "en.wikipedia.org", "http://en.wikipedia.org/wiki/Cat?x=1"),
        ),
        ("domain", "en.wikipedia.org", "http://en.wikipedia.org/wiki/Cat", ("", "en.wikipedia.org", "")),
        ("category", "en.wikipedia.org", "http://en.wikipedia.org/wiki/Cat", ("", "", "")),
        ("category", "adult.example", None, ("adult", "", "")),
        ("category", "www.roblox.com", None, ("roblox", "", "")),
        ("category", "tv.example", None, ("", "", "")),
        ("category", "scratch.mit.edu", None, ("", "", "")),
        ("category", "metager.de", None, ("", "", "")),
        ("domain", "tv.example", None, ("tv.example", "tv.example", "")),
    ],
)
def test_as_much_as_privacy_allows(catalogue: Catalogue, privacy: str, host: str, url: str | None, expected: tuple[str, str, str]) -> None:
    seen = _observed(catalogue, privacy, host, url)
    assert seen is not None
    assert (seen.what, seen.host, seen.url) == expected
    assert (seen.person, seen.profile, seen.when, seen.count) == ("mia", "child-8-12", NOON, 3)
    if privacy == "category":
        assert host not in repr(seen)


def test_nothing_at_all(catalogue: Catalogue) -> None:
    assert _observed(catalogue, "none", "adult.example") is None


@pytest.mark.parametrize("privacy", ["full", "domain", "category", "none"])
def test_a_lifeline_is_never_remembered(catalogue: Catalogue, privacy: str) -> None:
    assert _observed(catalogue, privacy, "www.childline.org.uk", "https://www.childline.org.uk/") is None
    assert Reason.LIFELINE not in {seen.reason for seen in [_observed(catalogue, privacy, "example.org")] if seen}
