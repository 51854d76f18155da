"""What is about to end for somebody: when the internet closes next, and which minutes are nearly used up. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hedgerow.policies.model import Device, DeviceId, Person, Reason
from hedgerow.policies.ruleset import Rulesets
from hedgerow.policies.times.balances import Balance

WARN_MINUTES = (15, 5)
"""So many minutes before the end somebody is told."""


@dataclass(frozen=True, slots=True)
class Ending:
    """`minutes` are left for `whose` (a person or a device): of the clock, or of use where `reason` is BUDGET.

    `what` names the schedule, or what the budget is of (`category:NAME`, `service:NAME`; empty for all use). `at` is the instant
    (seconds since the epoch) of the end; None for minutes of use that are not running out yet.
    """

    whose: str
    reason: Reason
    what: str
    minutes: int
    at: float | None


def endings_of(rulesets: Rulesets, device: Device, balances: Iterable[Balance], now: float) -> tuple[Ending, ...]:
    """What ends at a device within the longest warning, the nearest first. Nothing while it is closed anyway."""
    parties = rulesets.parties_of(device, now)
    if rulesets.ruleset(device, now).closed is not None:
        return ()
    accounts = {party.budget[0] for party in parties}
    found = [*_closing(rulesets, device, now), *_budgets((each for each in balances if each.account in accounts), now)]
    return tuple(sorted(found, key=lambda ending: ending.minutes))


def device_of_person(person: Person) -> Device:
    """Any device of a person, where it does not matter which."""
    return Device(DeviceId(f"any device of {person.name}"), person.profile, person.name)


def _closing(rulesets: Rulesets, device: Device, now: float) -> Iterator[Ending]:
    found = rulesets.closing_after(device, now, WARN_MINUTES[0] * 60)
    if found is not None and found[0].reason is not Reason.BUDGET:
        closed, at = found
        what = "" if closed.reason is Reason.BEDTIME else closed.what
        yield Ending(device.person or device.id, closed.reason, what, math.ceil((at - now) / 60), at)


def _budgets(balances: Iterable[Balance], now: float) -> Iterator[Ending]:
    for each in balances:
        stands, whose = each.standing, each.account.partition(":")[2]
        if stands.since is not None and stands.since > now:
            yield Ending(whose, Reason.BUDGET, each.subject, math.ceil((stands.since - now) / 60), stands.since)
        elif stands.left is not None and 0 < stands.left <= WARN_MINUTES[0]:
            yield Ending(whose, Reason.BUDGET, each.subject, stands.left, None)


def told(ending: Ending) -> str:
    """One sentence for people.

    >>> told(Ending("mia", Reason.BUDGET, "category:games", 5, None))
    '5 minutes of games are left'
    """
    minutes = f"{ending.minutes} minute{'s' if ending.minutes != 1 else ''}"
    if ending.reason is Reason.BUDGET:
        of = ending.what.partition(":")[2]
        return f"{minutes}{f' of {of}' if of else ''} {'are' if ending.minutes != 1 else 'is'} left"
    what = {Reason.BEDTIME: "bedtime", Reason.PAUSE: "a pause"}.get(ending.reason, ending.what)
    return f"{minutes} until {what}"
