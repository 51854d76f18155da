"""Changes of the policy file as sentences."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hedgerow.dashboards.words.changes import MAX_SENTENCES, change_sentences
from hedgerow.dashboards.words.languages import language

MIA = "people: {mia: {age: 9, devices: [tab]%s}}"


def sentences(before: str, after: str, code: str = "en") -> tuple[str, ...]:
    return change_sentences("Ana", {"hedgerow.yaml": before}, {"hedgerow.yaml": after}, language(code))


def of_mia(before: str, after: str, code: str = "en") -> tuple[str, ...]:
    return sentences(MIA % (before and f", {before}"), MIA % (after and f", {after}"), code)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("", "allow: [tiktok]", ["Ana allowed TikTok for mia."]),
        ("", "block: gambling", ["Ana blocked Gambling for mia."]),
        (
            "allow: [a.example]",
            'allow: [a.example, {what: tiktok, until: "2026-12-24 18:00", note: Christmas}]',
            ["Ana allowed TikTok for mia until 24 Dec 2026 18:00. (Christmas)"],
        ),
        ("block: [tiktok]", "allow: [tiktok]", ["Ana allowed TikTok for mia."]),
        ("block: [tiktok]", "", ["Ana removed the rule for TikTok of mia."]),
        ("", "always: [school.example]", ["Ana allowed school.example for mia at any time."]),
        ("", "profile: teen-13-15", ["Ana set profile of mia to Teenager aged 13 to 15."]),
        ("", 'bedtime: "20:30-07:00"', ["Ana set bedtime of mia to 20:30–07:00."]),
        (
            'bedtime: {school-nights: "20:30-07:00"}',
            'bedtime: {school-nights: "20:00-07:00", sat: "22:00-08:00"}',
            [
                "Ana changed bedtime of mia from school nights 20:30–07:00 to school nights 20:00–07:00; Saturday"
                " 22:00–08:00."
            ],
        ),
        ("budget: 1h", "", ["Ana removed time limit of mia (it was 1h)."]),
        (
            "",
            'schedules: {homework: {block: [games, social], when: {school-days: "15:00-17:00"}}}',
            ["Ana set homework for mia: closes Games, Social networks, school days 15:00–17:00."],
        ),
        ('schedules: {dinner: {block: internet, when: "19:00-19:45"}}', "", ["Ana removed dinner of mia."]),
        ("safe_search: off", "safe_search: strict", ["Ana changed safe search of mia from off to strict."]),
        ("youtube: no", "youtube: no", []),
    ],
)
def test_a_change_of_one_person_is_a_sentence(before: str, after: str, expected: list[str]) -> None:
    assert list(of_mia(before, after)) == expected


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("", "people: {zoe: {age: 3}}", ["Ana added zoe.", "Ana set age of zoe to 3."]),
        ("people: {zoe: {age: 3}}", "people: {}", ["Ana removed zoe."]),
        ("people: {zoe: {age: 3}}", "people: {zoé: {age: 3}}", ["Ana renamed zoe to zoé."]),
        (MIA % "", "people: {mia: {age: 9, devices: [tab, tv]}}", ["Ana gave the device tv to mia."]),
        (MIA % "", "people: {mia: {age: 9}}", ["Ana took the device tab from mia."]),
        ("devices: {tab: {ip: 10.0.0.2}}", "devices: {tablet: {ip: 10.0.0.2}}", ["Ana renamed tab to tablet."]),
        (
            "people: {mia: {devices: [tab]}}\ndevices: {tab: {ip: 10.0.0.2}}",
            "people: {mia: {devices: [tablet]}}\ndevices: {tablet: {ip: 10.0.0.2}}",
            ["Ana renamed tab to tablet."],
        ),
        ("network: {country: PT}", "network: {country: DE}", ["Ana changed country of the network from PT to DE."]),
        ("", "block: [tiktok]", ["Ana blocked TikTok for everybody."]),
        ("", "lists: [{category: adult, url: 'https://a.example/x'}]", ["Ana added the list https://a.example/x."]),
        ("# one", "# two", []),
        ("people: [", "people: {mia: {}}", ["Ana added mia."]),
        ("- 1", "people: 7", []),
    ],
)
def test_a_change_of_the_household_is_a_sentence(before: str, after: str, expected: list[str]) -> None:
    assert list(sentences(before, after)) == expected


def test_an_entry_that_moves_between_files_is_told_once_as_moved() -> None:
    rule = "people: {mia: {allow: [tiktok]}}"
    told = change_sentences("Ana", {"a": "", "b": ""}, {"a": rule, "b": rule}, language("en"))
    assert told == ("Ana added mia.", "Ana allowed TikTok for mia.")


def test_each_language_has_its_sentence() -> None:
    assert of_mia("", "allow: [tiktok]", "de") == ("Ana hat TikTok für mia erlaubt.",)
    assert of_mia("", 'block: [{what: tiktok, until: "2026-12-24"}]', "fr") == (
        "Ana a bloqué TikTok pour mia jusqu’au 24 déc. 2026.",
    )


_YAML = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from(["tiktok", "2026-12-24", "20:00-07:00"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["what", "until", "allow", "block", "devices", "schedules", "mia", "when"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)
_POLICY = st.dictionaries(
    st.sampled_from(["people", "devices", "network", "lists", "allow", "schedules", "notices"]), _YAML, max_size=4
)


def test_the_machine_itself_is_somebody() -> None:
    told = change_sentences("this machine", {"h": ""}, {"h": "people: {mia: {}}"}, language("en"))
    assert told == ("Somebody at this machine added mia.",)


@settings(max_examples=150, deadline=None)
@given(_POLICY, _POLICY)
def test_any_two_files_are_compared_without_an_error(before: dict[str, object], after: dict[str, object]) -> None:
    import json

    told = sentences(json.dumps(before), json.dumps(after), "es")
    assert len(told) <= MAX_SENTENCES
    assert sentences(json.dumps(before), json.dumps(before)) == ()
