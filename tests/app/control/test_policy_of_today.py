"""The policy of today: it changes at birthdays without the file, and by steps only where a feature has decided."""

from __future__ import annotations

from hedgerow.app.control.snapshots.policy_of_today import Growth, PolicyOfToday
from hedgerow.policies.growth_steps import ProfileStep
from hedgerow.policies.reading.load import parse_policy

DAY = 86_400.0
BIRTHDAY = 1_796_083_200.0  # 2026-12-01 in UTC


def test_the_policy_is_the_same_object_until_a_birthday() -> None:
    policy, now = parse_policy(b"network: {timezone: UTC}\npeople: {mia: {born: 2013-12}}", None), BIRTHDAY - DAY
    today = PolicyOfToday(lambda _policy: {}, lambda: now)
    before = today.of(policy)
    assert (before.people["mia"].age, before.people["mia"].profile) == (12, "child-8-12")
    now = BIRTHDAY - 1
    assert today.of(policy) is before
    now = BIRTHDAY
    after = today.of(policy)
    assert (after.people["mia"].age, after.people["mia"].profile) == (13, "teen-13-15")
    assert today.of(policy) is after


def test_what_is_decided_outranks_the_age_until_its_step() -> None:
    policy, now = parse_policy(b"network: {timezone: UTC}\npeople: {mia: {born: 2013-12}}", None), BIRTHDAY + DAY
    decided = {"mia": Growth("child-8-12", (ProfileStep(BIRTHDAY + 30 * DAY, "teen-13-15"),))}
    today = PolicyOfToday(lambda _policy: decided, lambda: now)
    assert (today.of(policy).people["mia"].age, today.of(policy).people["mia"].profile) == (13, "child-8-12")
    now = BIRTHDAY + 30 * DAY
    assert today.of(policy).people["mia"].profile == "teen-13-15"


def test_a_policy_without_births_is_the_files() -> None:
    policy = parse_policy(b"people: {mia: {age: 9}}", None)
    assert PolicyOfToday(lambda _policy: {}, lambda: 0.0).of(policy) is policy
