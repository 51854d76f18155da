from __future__ import annotations

from pathlib import Path

import pytest

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.blocklists.compiler import compile_generation
from hedgerow.blocklists.formats.sealed import hash_expression
from hedgerow.blocklists.sources import Source
from hedgerow.policies.decide import decide
from hedgerow.policies.model import DeviceId, Observation, Reason, Request, RequestKind, Verdict
from hedgerow.policies.privacy import observe
from hedgerow.policies.reading.load import parse_policy
from hedgerow.policies.ruleset import Rulesets

NOON = 1_795_521_600.0


def _observed(catalogue: Catalogue, privacy: str, host: str, url: str | None = None) -> Observation | None:
    policy = (
        f"people: {{mia: {{age: 9, devices: [192.168.1.9], privacy: {privacy}, allow: [scratch.mit.edu], block:"
        " [roblox, tv.example]}}"
    )
    rulesets = Rulesets(parse_policy(policy.encode(), None), (), (), catalogue)
    device = rulesets.devices.find("192.168.1.9")
    assert device is not None
    ruleset = rulesets.ruleset(device, NOON)
    request = Request(DeviceId("x"), RequestKind.HTTP if url else RequestKind.DNS, host, url=url)
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
def test_privacy_limits_what_is_stored(
    catalogue: Catalogue, privacy: str, host: str, url: str | None, expected: tuple[str, str, str]
) -> None:
    seen = _observed(catalogue, privacy, host, url)
    assert seen is not None
    assert (seen.what, seen.host, seen.url) == expected
    assert (seen.person, seen.profile, seen.when, seen.count) == ("mia", "child-8-12", NOON, 3)
    if privacy == "category":
        assert host not in repr(seen)


def test_privacy_none_stores_nothing(catalogue: Catalogue) -> None:
    assert _observed(catalogue, "none", "adult.example") is None


@pytest.mark.parametrize("privacy", ["full", "domain", "category", "none"])
def test_lifelines_are_never_stored(catalogue: Catalogue, privacy: str) -> None:
    assert _observed(catalogue, privacy, "www.childline.org.uk", "https://www.childline.org.uk/") is None
    assert Reason.LIFELINE not in {seen.reason for seen in [_observed(catalogue, privacy, "example.org")] if seen}


@pytest.mark.parametrize("privacy", ["full", "domain", "category"])
def test_searches_about_self_harm_are_never_stored(catalogue: Catalogue, privacy: str) -> None:
    assert _observed(catalogue, privacy, "www.google.com", "http://www.google.com/search?q=how+to+kill+myself") is None
    assert _observed(catalogue, privacy, "www.google.com", "http://www.google.com/search?q=how+to+knit") is not None


@pytest.mark.parametrize("topic", ["self-harm", "hate"])
def test_of_a_site_for_which_help_comes_first_only_the_topic_is_stored(tmp_path: Path, topic: str) -> None:
    (tmp_path / "list.txt").write_text("grim.example\n")
    compile_generation([Source("ours", topic, tmp_path / "list.txt")], tmp_path / "generation")
    seen = _observed(Catalogue.open(tmp_path / "generation"), "full", "grim.example", "http://grim.example/how")
    assert seen is not None
    assert (seen.what, seen.host, seen.url, seen.rule) == (topic, "", "", "")


def test_observations_of_illegal_material_name_no_host(tmp_path: Path) -> None:
    """Check this for an adult with full logging: the category is stored, the host is not."""
    (tmp_path / "sealed.txt").write_text(
        hash_expression("some.example/album/") + "\n" + hash_expression("whole.example/") + "\n"
    )
    compile_generation([Source("hotline", "illegal", tmp_path / "sealed.txt")], tmp_path / "generation")
    catalogue = Catalogue.open(tmp_path / "generation")
    policy = parse_policy(b"people: {ann: {profile: adult, devices: [192.168.1.9], privacy: full}}", None)
    rulesets = Rulesets(policy, (), (), catalogue)
    device = rulesets.devices.find("192.168.1.9")
    assert device is not None
    ruleset = rulesets.ruleset(device, NOON)
    for host, url in (("some.example", "http://some.example/album/1.jpg"), ("whole.example", None)):
        request = Request(DeviceId("x"), RequestKind.HTTP if url else RequestKind.DNS, host, url=url)
        decision = decide(ruleset, catalogue, request)
        assert (decision.verdict, decision.what) == (Verdict.BLOCK, "illegal")
        seen = observe(ruleset, request, decision, NOON)
        assert seen is not None
        assert (seen.what, seen.host, seen.url) == ("illegal", "", "")
        assert host not in repr(decision)
        assert host not in repr(seen)
    allowed = Request(DeviceId("x"), RequestKind.HTTP, "some.example", url="http://some.example/")
    assert decide(ruleset, catalogue, allowed).verdict is Verdict.ALLOW


def test_a_list_may_except_pages_of_a_host_that_it_blocks(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("||mixed.example^\n@@||mixed.example/good/\n")
    compile_generation([Source("list", "adult", tmp_path / "list.txt")], tmp_path / "generation")
    catalogue = Catalogue.open(tmp_path / "generation")
    rulesets = Rulesets(parse_policy(b"people: {mia: {age: 9, devices: [192.168.1.9]}}", None), (), (), catalogue)
    device = rulesets.devices.find("192.168.1.9")
    assert device is not None
    ruleset = rulesets.ruleset(device, NOON)

    def verdict(path: str) -> Verdict:
        request = Request(DeviceId("x"), RequestKind.HTTP, "mixed.example", url=f"http://mixed.example{path}")
        return decide(ruleset, catalogue, request).verdict

    assert (verdict("/good/1"), verdict("/bad/1")) == (Verdict.ALLOW, Verdict.BLOCK)
