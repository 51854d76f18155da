"""Names that are judged: exceptions in lists correct it, lists know more, and each person's threshold holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.blocklists.compiler import compile_generation
from hedgerow.blocklists.sources import Source, starter_sources
from hedgerow.policies import unlisted
from hedgerow.policies.decide import decide
from hedgerow.policies.explain import explain, find_device
from hedgerow.policies.host_facts import Lifelines
from hedgerow.policies.model import Reason, Request, RequestKind
from hedgerow.policies.reading.load import parse_policy
from hedgerow.policies.reading.profiles import builtin_profiles
from hedgerow.policies.ruleset import Ruleset, Rulesets

NAME = "free-porn-sex-tube-videos.com"


def ruleset_of(settings: str, catalogue: Catalogue) -> tuple[Rulesets, Ruleset]:
    policy = parse_policy(f"people: {{mia: {{devices: [192.168.1.9], {settings}}}}}".encode(), None)
    rulesets = Rulesets(policy, (), (), catalogue)
    device = find_device(rulesets, "192.168.1.9")
    assert device is not None
    return rulesets, rulesets.ruleset(device, 0.0)


def words(settings: str, catalogue: Catalogue, host: str = NAME) -> str:
    decision = decide(ruleset_of(settings, catalogue)[1], catalogue, Request("192.168.1.9", RequestKind.DNS, host))  # type: ignore[arg-type]
    return f"{decision.verdict} {decision.reason} {decision.what}".rstrip()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("age: 9", "block recognised adult"),
        ("age: 14", "block recognised adult"),
        ("age: 17", "allow recognised adult"),
        ("age: 17, recognise_names: {block: 80}", "block recognised adult"),
        ("age: 9, recognise_names: {block: 0, mark: 50}", "allow recognised adult"),
        ("age: 9, recognise_names: off", "allow default"),
        ("age: 41", "allow default"),
    ],
)
def test_the_nearest_scope_sets_the_threshold(settings: str, expected: str, catalogue: Catalogue) -> None:
    assert words(settings, catalogue) == expected


@pytest.mark.parametrize(
    ("category", "text", "expected"),
    [
        ("adult", f"@@||{NAME}^\n", "allow default"),
        ("gambling", f"@@||{NAME}^\n", "block recognised adult"),
        ("adult", f"{NAME}\n", "block category adult"),
        ("education", f"{NAME}\n", "allow default"),
        ("dynamic-dns", f"{NAME}\n", "block recognised adult"),
    ],
    ids=["corrected", "corrected elsewhere", "listed", "listed as good", "a provider of dynamic DNS"],
)
def test_lists_know_more(category: str, text: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "list").write_text(text, encoding="utf-8")
    own = Source("own", category, tmp_path / "list", None, "adblock" if "||" in text else "plain")
    compile_generation([*starter_sources(), own], tmp_path / "generation")
    assert words("age: 9", Catalogue.open(tmp_path / "generation")) == expected


def test_no_site_of_health_help_or_news_is_recognised_unless_the_policy_blocks_it(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Models may change with any version, so the name is one that today's model takes for adult."""
    monkeypatch.setattr(unlisted, "is_canary_site", lambda host: host == NAME)
    assert words("age: 9", catalogue) == "allow default"
    assert words(f"age: 9, block: [{NAME}]", catalogue) == f"block rule {NAME}"
    monkeypatch.undo()
    assert words("age: 9", catalogue) == "block recognised adult"


def why(settings: str, catalogue: Catalogue) -> str:
    """Return what `explain` says of the name."""
    rulesets, _ruleset = ruleset_of(settings, catalogue)
    device = find_device(rulesets, "192.168.1.9")
    assert device is not None
    return next(
        step.why for step in explain(rulesets, catalogue, device, NAME, 0.0).points[0].steps if step.name == "name"
    )


def test_explain_says_why_a_name_that_looks_adult_is_open(catalogue: Catalogue, tmp_path: Path) -> None:
    assert why("age: 9, recognise_names: {block: 100}", catalogue).endswith("which is too little for this device")
    assert why("age: 9, allow: [adult]", catalogue).endswith("but adult is not blocked for this device")
    (tmp_path / "list").write_text(f"@@||{NAME}^\n", encoding="utf-8")
    compile_generation(
        [*starter_sources(), Source("own", "adult", tmp_path / "list", None, "adblock")], tmp_path / "generation"
    )
    sentence = why("age: 9", Catalogue.open(tmp_path / "generation"))
    assert sentence.endswith("but a list of corrections says that it is not adult")


def test_explain_names_the_strongest_parts_and_the_confidence(catalogue: Catalogue) -> None:
    rulesets, _ruleset = ruleset_of("age: 9", catalogue)
    device = find_device(rulesets, "192.168.1.9")
    assert device is not None
    sentence = explain(rulesets, catalogue, device, NAME, 0.0).points[0].steps[-1].why
    assert "looks like those of adult sites" in sentence
    assert "porn" in sentence
    assert "nobody has checked it" in sentence
    imitation = explain(rulesets, catalogue, device, "rob1ox.com", 0.0).points[0].steps[-1].why
    assert imitation.startswith("its name imitates roblox (confidence")


def test_explain_says_in_a_sentence_what_a_topic_is(catalogue: Catalogue) -> None:
    def last(settings: str, host: str) -> str:
        rulesets, _ruleset = ruleset_of(settings, catalogue)
        device = find_device(rulesets, "192.168.1.9")
        assert device is not None
        steps = explain(rulesets, catalogue, device, host, 0.0).points[0].steps
        return next(step.why for step in steps if step.name == "name")

    dating, starving = "serious-dating-for-singles.net", "proana-thinspo-tips.com"
    assert "looks like those of sites for meeting partners: " in last("age: 9", dating)
    assert "looks like those of sites that encourage self-harm: " in last("age: 9", starving)
    assert last("age: 9, allow: [adult, dating]", dating).endswith("but dating is not blocked for this device")
    assert last("age: 17", starving).endswith("which is too little for this device")


def test_of_two_things_that_a_name_looks_like_the_one_that_is_closed_counts(catalogue: Catalogue) -> None:
    host = "sexdating-singles-hookup.com"
    assert words("age: 9", catalogue, host) in {"block recognised adult", "block recognised dating"}
    assert words("age: 9, allow: [adult]", catalogue, host) == "block recognised dating"
    assert words("age: 9, allow: [dating]", catalogue, host) == "block recognised adult"
    assert words("age: 9, allow: [adult, dating]", catalogue, host) == "allow default"


def test_no_helpline_and_no_site_of_a_shipped_good_list_is_recognised(catalogue: Catalogue) -> None:
    """Under the lowest possible threshold."""
    _rulesets, ruleset = ruleset_of("age: 9, recognise_names: {block: 1}", catalogue)
    good = [
        source
        for source in starter_sources()
        if source.category in {"education", "health", "kids", "news", "sexual-education"}
    ]
    hosts = [
        line.split()[0]
        for source in good
        if source.path
        for line in source.path.read_text().splitlines()
        if line[:1].isalnum()
    ]
    assert len(hosts) > 200
    for host in (*hosts, *Lifelines.load().hosts):
        decision = decide(ruleset, catalogue, Request("x", RequestKind.DNS, host))  # type: ignore[arg-type]
        assert decision.reason is not Reason.RECOGNISED, host


def test_profiles_block_for_children_and_seats_and_mark_for_the_eldest() -> None:
    levels = {
        name: (bool(each.rules.content.name_block), bool(each.rules.content.name_mark))
        for name, each in builtin_profiles().items()
    }
    blocking = {name for name, (blocks, _marks) in levels.items() if blocks}
    assert blocking == {"child-under-8", "child-8-12", "teen-13-15", "seat-child", "seat-adult"}
    assert {name for name, (blocks, marks) in levels.items() if marks and not blocks} == {"teen-16-17"}
