"""Rules that expire, and the ends of time or budgets that somebody is warned about. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hedgerow.policies.model import Device, DeviceId, Person, Policy, Reason, Rules, Target
from hedgerow.policies.ruleset import Rulesets
from hedgerow.policies.time_model import LATER_BEDTIME
from hedgerow.policies.times.budget import BudgetBalance
from hedgerow.policies.times.closing import Closure, applies_to, bedtime_of
from hedgerow.policies.times.schedule import state_at

SHOWN_BEFORE_S = 86_400.0
SHOWN_AFTER_S = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class ExpiringRule:
    """An allow or block with an end. `whose` is a person, a device or a profile; empty for everybody."""

    whose: str
    allows: bool
    target: Target
    until: float

    def is_notable(self, now: float) -> bool:
        """Return whether to show the rule now: it ends within a day, or ended within the last week."""
        return self.until - SHOWN_BEFORE_S <= now < self.until + SHOWN_AFTER_S


def expiring_rules(policy: Policy) -> tuple[ExpiringRule, ...]:
    """Return all rules of a policy that expire, the earliest first."""
    scopes: list[tuple[str, Rules]] = [("", policy.household)]
    scopes += [(person.name, person.rules) for person in policy.people.values()]
    scopes += [(device.id, device.rules) for device in policy.devices.values()]
    scopes += [(profile.name, profile.rules) for profile in policy.profiles.values()]
    found = (expiring for owner, rules in scopes for expiring in _expiring_rules_of(owner, rules))
    return tuple(sorted(found, key=lambda expiring: expiring.until))


def _expiring_rules_of(owner: str, rules: Rules) -> Iterator[ExpiringRule]:
    timed = [(True, each.allow) for each in rules.schedules] + [(False, each.block) for each in rules.schedules]
    for allows, targets in ((True, rules.allow), (False, rules.block), *timed):
        yield from (ExpiringRule(owner, allows, target, target.until) for target in targets if target.until is not None)


def in_force(targets: Iterable[Target], now: float) -> Iterator[Target]:
    """Yield the targets that have not expired."""
    return (target for target in targets if target.until is None or target.until > now)


WARN_MINUTES = (15, 5)
"""Minutes before an end at which a warning is sent."""


@dataclass(frozen=True, slots=True)
class UpcomingEnd:
    """The end of time for `whose` (a person or a device) in `minutes`: of wall-clock time, or of use if `reason` is
    BUDGET.

    `what` names the schedule, or the budget's subject (`category:NAME`, `service:NAME`; empty for all use). `at` is the
    instant (seconds since the epoch) of the end; None for minutes of use that nobody spends now.
    """

    whose: str
    reason: Reason
    what: str
    minutes: int
    at: float | None


def upcoming_ends(
    rulesets: Rulesets, device: Device, balances: Iterable[BudgetBalance], now: float
) -> tuple[UpcomingEnd, ...]:
    """Return what ends a device's time within the longest warning, the nearest first; nothing while it is closed."""
    users = rulesets.effective_users_of(device, now)
    if rulesets.ruleset(device, now).closed is not None:
        return ()
    accounts = {user.budget[0] for user in users}
    found = [*_closing(rulesets, device, now), *_budgets((each for each in balances if each.account in accounts), now)]
    return tuple(sorted(found, key=lambda ending: ending.minutes))


TONIGHT_S = 18 * 3600.0
"""Seconds ahead of now in which a bedtime is tonight's."""


@dataclass(frozen=True, slots=True)
class PersonTimes:
    """The times of a person now: a closure of the internet, and tonight's bedtime (seconds since the epoch).

    `bedtime` is in the past while it is bedtime, and includes the time by which somebody put it off. None: no bedtime
    tonight.
    """

    closed: Closure | None
    bedtime: float | None


def person_times(rulesets: Rulesets, person: Person, now: float) -> PersonTimes:
    """Return the closure and tonight's bedtime of a person's devices at `now`."""
    device = device_of_person(person)
    (user,) = rulesets.effective_users_of(device, now)
    _, bedtime = bedtime_of(user.layers)
    begins = None
    if bedtime is not None:
        state = state_at(bedtime, user.zone, now, user.free)
        begins = now if state.active else state.until
    if begins is not None and begins <= now + TONIGHT_S:
        put_off = [
            grant.ends for grant in rulesets.grants if grant.subject == LATER_BEDTIME and applies_to(grant, user)
        ]
        begins = max([begins, *(ends for ends in put_off if ends is not None)])
    else:
        begins = None
    return PersonTimes(rulesets.ruleset(device, now).closed, begins)


def device_of_person(person: Person) -> Device:
    """Return a stand-in for any device of a person."""
    return Device(DeviceId(f"any device of {person.name}"), person.profile, person.name)


def _closing(rulesets: Rulesets, device: Device, now: float) -> Iterator[UpcomingEnd]:
    found = rulesets.closing_after(device, now, WARN_MINUTES[0] * 60)
    if found is not None and found[0].reason is not Reason.BUDGET:
        closed, at = found
        what = "" if closed.reason is Reason.BEDTIME else closed.what
        yield UpcomingEnd(device.person or device.id, closed.reason, what, math.ceil((at - now) / 60), at)


def _budgets(balances: Iterable[BudgetBalance], now: float) -> Iterator[UpcomingEnd]:
    for each in balances:
        status, whose = each.budget_status, each.account.partition(":")[2]
        if status.since is not None and status.since > now:
            yield UpcomingEnd(whose, Reason.BUDGET, each.subject, math.ceil((status.since - now) / 60), status.since)
        elif status.left is not None and 0 < status.left <= WARN_MINUTES[0]:
            yield UpcomingEnd(whose, Reason.BUDGET, each.subject, status.left, None)


def ending_sentence(ending: UpcomingEnd) -> str:
    """Return a sentence for people.

    >>> ending_sentence(UpcomingEnd("mia", Reason.BUDGET, "category:games", 5, None))
    '5 minutes of games are left'
    """
    minutes = f"{ending.minutes} minute{'s' if ending.minutes != 1 else ''}"
    if ending.reason is Reason.BUDGET:
        of = ending.what.partition(":")[2]
        return f"{minutes}{f' of {of}' if of else ''} {'are' if ending.minutes != 1 else 'is'} left"
    what = "bedtime" if ending.reason is Reason.BEDTIME else ending.what
    return f"{minutes} until {what}"
