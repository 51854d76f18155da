"""Ages by the month of birth: the right one on each day, in each time zone, and its profile from local midnight on."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.policies.explain import explain
from hedgerow.policies.growing import (
    age_on,
    birthday,
    first_instant,
    foreseen,
    next_change,
    parse_born,
    policy_at,
    profile_for_age,
)
from hedgerow.policies.growth_steps import Born, LegalClosing, LegalStep, ProfileStep
from hedgerow.policies.model import DeviceId, Policy
from hedgerow.policies.reading.load import PolicyError, parse_policy
from hedgerow.policies.ruleset import Rulesets

ZONES = (
    "Africa/Cairo", "Africa/Casablanca", "Africa/Johannesburg", "Africa/Lagos", "America/Argentina/Buenos_Aires",
    "America/Asuncion", "America/Bogota", "America/Chicago", "America/Denver", "America/Halifax", "America/Havana",
    "America/Los_Angeles", "America/Mexico_City", "America/New_York", "America/Nuuk", "America/Phoenix",
    "America/Santiago", "America/Sao_Paulo", "America/St_Johns", "Asia/Beirut", "Asia/Dhaka", "Asia/Dubai",
    "Asia/Gaza", "Asia/Jerusalem", "Asia/Kathmandu", "Asia/Kolkata", "Asia/Shanghai", "Asia/Tehran", "Asia/Tokyo",
    "Atlantic/Azores", "Australia/Adelaide", "Australia/Lord_Howe", "Australia/Sydney", "Europe/Berlin",
    "Europe/Lisbon", "Europe/London", "Pacific/Apia", "Pacific/Auckland", "Pacific/Chatham", "Pacific/Kiritimati",
)  # fmt: skip


def _policy(person: str, zone: str = "Europe/Berlin") -> Policy:
    return parse_policy(
        f"network: {{timezone: {zone}}}\n"
        f"people: {{mia: {{{person}, devices: [tablet]}}, dad: {{age: 40}}}}\n"
        'devices: {tablet: {mac: "aa:bb:cc:dd:ee:01"}}\n'.encode(),
        None,
    )


def _at(zone: str, year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> float:
    return datetime(year, month, day, hour, minute, tzinfo=ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize(
    ("person", "complaint"),
    [
        ("born: 2090-01", "'2090-01' is in the future"),
        ("born: 1890-01", "more than 120 years ago"),
        ("born: May", "not a month of birth: write the year and the month, such as 2016-05"),
        ("born: 2016", "'2016' is not a month of birth"),
        ("born: 2016-13", "not in the calendar"),
        ("born: 2015-02-29", "not in the calendar"),
        ("born: 2016-05, age: 9", "mia has both `born` and `age`"),
        ("born: 2016-05, profile: guest", "mia has both `born` and `profile`"),
    ],
)
def test_a_birth_that_cannot_be_right_is_a_mistake_with_a_place(person: str, complaint: str) -> None:
    with pytest.raises(PolicyError) as caught:
        _policy(person)
    (problem,) = caught.value.problems
    assert complaint in problem.message
    assert problem.line == 2


def test_a_birth_of_120_years_ago_and_one_of_today_can_be_right() -> None:
    today = date(2026, 12, 3)
    assert parse_born("1906-12-03", today) == Born(1906, 12, 3)
    assert parse_born("2026-12", today) == Born(2026, 12)
    with pytest.raises(ValueError, match="120 years"):
        parse_born("1906-12-02", today)


def test_a_childs_rules_change_at_local_midnight_of_the_birthday_without_another_policy(catalogue: Catalogue) -> None:
    policy, zone = policy_at(_policy("born: 2017-12", "America/New_York"), 0), "America/New_York"
    rulesets = Rulesets(policy, (), (), catalogue)
    tablet = policy.devices[DeviceId("tablet")]
    before = rulesets.ruleset(tablet, _at(zone, 2025, 11, 30, 23, 59))
    assert before.profile == "child-under-8"
    assert before.until == _at(zone, 2025, 12, 1)
    assert rulesets.ruleset(tablet, _at(zone, 2025, 12, 1)).profile == "child-8-12"
    assert rulesets.ruleset(tablet, _at(zone, 2025, 11, 30)).profile == "child-under-8"
    assert rulesets.ruleset(tablet, _at(zone, 2036, 1, 1)).profile == "adult"


def test_a_clock_that_is_behind_makes_nobody_younger(catalogue: Catalogue) -> None:
    published = _at("Europe/Berlin", 2026, 12, 3)
    policy = policy_at(_policy("born: 2013-05"), published)
    rulesets = Rulesets(policy, (), (), catalogue, trusted_from=published)
    assert rulesets.ruleset(policy.devices[DeviceId("tablet")], 0.0).profile == "teen-13-15"


def test_with_steps_nothing_but_a_step_changes_a_profile(catalogue: Catalogue) -> None:
    zone, policy = "Europe/Berlin", _policy("born: 2013-12")
    step = ProfileStep(_at(zone, 2027, 1, 1), "teen-13-15")
    held = replace(
        policy, people=policy.people | {"mia": replace(policy.people["mia"], profile="child-8-12", steps=(step,))}
    )
    rulesets = Rulesets(held, (), (), catalogue)
    tablet = held.devices[DeviceId("tablet")]
    assert rulesets.ruleset(tablet, _at(zone, 2026, 12, 2)).profile == "child-8-12"
    assert rulesets.ruleset(tablet, _at(zone, 2027, 1, 1)).profile == "teen-13-15"
    assert rulesets.ruleset(tablet, _at(zone, 2040, 1, 1)).profile == "teen-13-15"
    asked = Rulesets(foreseen(held, _at(zone, 2026, 12, 2)), (), (), catalogue)
    assert asked.ruleset(tablet, _at(zone, 2029, 12, 2)).profile == "teen-16-17"
    assert asked.ruleset(tablet, _at(zone, 2040, 1, 1)).profile == "adult"


def test_what_the_law_closes_changes_at_its_instant_without_another_policy(catalogue: Catalogue) -> None:
    zone, policy = "Europe/Berlin", _policy("age: 15, allow: [social, games]")
    closed = LegalClosing("social", "Act on Social Networks (<16, 2027-01-01)")
    steps = (
        LegalStep(0.0, ()),
        LegalStep(_at(zone, 2027, 1, 1), (closed,)),
        LegalStep(_at(zone, 2028, 1, 1), ()),
        LegalStep(_at(zone, 2029, 1, 1), (closed,), is_certain=False),
    )
    mia = replace(policy.people["mia"], legal_steps=steps)
    told = policy_at(replace(policy, people=policy.people | {"mia": mia}), _at(zone, 2026, 12, 2))
    rulesets, tablet = Rulesets(told, (), (), catalogue), told.devices[DeviceId("tablet")]

    def note(year: int, site: str = "social.example") -> str:
        return explain(rulesets, catalogue, tablet, site, _at(zone, year, 1, 1)).decision.note

    assert [note(2026), note(2027), note(2028), note(2030)] == ["", closed.law, "", ""]
    assert note(2027, "games.example") == ""


def test_an_announced_step_changes_nothing_before_it_is_certain(catalogue: Catalogue) -> None:
    zone, policy = "Europe/Berlin", _policy("born: 2013-12")
    step = ProfileStep(_at(zone, 2027, 1, 1), "teen-13-15", is_certain=False)
    mia = replace(policy.people["mia"], profile="child-8-12", steps=(step,))
    told = replace(policy, people=policy.people | {"mia": mia})
    tablet = told.devices[DeviceId("tablet")]
    assert Rulesets(told, (), (), catalogue).ruleset(tablet, _at(zone, 2040, 1, 1)).profile == "child-8-12"
    asked = Rulesets(foreseen(told, _at(zone, 2026, 12, 2)), (), (), catalogue)
    assert asked.ruleset(tablet, _at(zone, 2027, 1, 2)).profile == "teen-13-15"


def test_a_device_of_two_children_has_the_profile_of_the_younger_one_on_each_day() -> None:
    policy = parse_policy(
        b"people: {mia: {born: 2013-12, devices: [tv]}, tom: {born: 2010-06, devices: [tv]}}\n"
        b'devices: {tv: {mac: "aa:bb:cc:dd:ee:01"}}\n',
        None,
    )
    found = [policy_at(policy, _at("UTC", year, 1, 5)).devices[DeviceId("tv")].profile for year in (2026, 2027, 2030)]
    assert found == ["child-8-12", "teen-13-15", "teen-16-17"]


@settings(max_examples=60)
@given(
    zone=st.sampled_from(ZONES),
    born=st.dates(date(2000, 1, 1), date(2030, 12, 31)),
    by_month=st.booleans(),
    start=st.dates(date(2024, 1, 1), date(2045, 1, 1)),
)
def test_no_day_has_a_wrong_age(zone: str, born: date, by_month: bool, start: date) -> None:
    """The age of the calendar, at the first and the last second of each of 40 days, and at each change of the clock."""
    place = ZoneInfo(zone)
    birth = Born(born.year, born.month, None if by_month else born.day)
    first = born.replace(day=1) if by_month else born
    for offset in range(40):
        day = start + timedelta(days=offset)
        expected = max(day.year - first.year - ((day.month, day.day) < (first.month, first.day)), 0)
        begin, end = first_instant(day, place), first_instant(day + timedelta(days=1), place)
        for instant in (begin, (begin + end) / 2, end - 1):
            local = datetime.fromtimestamp(instant, place).date()
            assert local == day
            assert age_on(birth, local) == expected
    age = age_on(birth, start)
    assert age_on(birth, birthday(birth, age + 1)) == age + 1
    assert age_on(birth, birthday(birth, age + 1) - timedelta(days=1)) == age


@settings(max_examples=40, deadline=None)
@given(zone=st.sampled_from(ZONES), month=st.integers(1, 12), year=st.integers(2008, 2020), start=st.integers(0, 6000))
def test_every_change_is_named_before_it_happens(zone: str, month: int, year: int, start: int) -> None:
    """From change to change, `next_change` skips none: between two, age and profile stay the same."""
    policy, place = _policy(f"born: {year}-{month:02}", zone), ZoneInfo(zone)
    instant = _at(zone, 2022, 1, 1) + start * 86_400
    for _ in range(3):
        change = next_change(policy, instant)
        before, at = (policy_at(policy, each).people["mia"] for each in (change - 1, change))
        assert before.age == policy_at(policy, instant).people["mia"].age
        assert at.age == (before.age or 0) + 1
        assert at.profile == profile_for_age(at.age)
        local = datetime.fromtimestamp(change, place)
        assert (local.month, local.day) == (month, 1)
        instant = change


def test_explain_knows_the_age_of_the_day(catalogue: Catalogue) -> None:
    policy = _policy("born: 2013-12")
    rulesets = Rulesets(policy, (), (), catalogue)
    tablet = policy.devices[DeviceId("tablet")]
    found = [
        explain(rulesets, catalogue, tablet, "example.org", _at("Europe/Berlin", *day))
        for day in ((2026, 11, 30, 23, 59), (2026, 12, 1))
    ]
    assert [(each.age, each.profile) for each in found] == [(12, "child-8-12"), (13, "teen-13-15")]
