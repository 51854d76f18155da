"""Allows and blocks that end by themselves: whose they are, when they end, and what was said about them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hedgerow.policies.model import Policy, Rules, Target

SHOWN_BEFORE_S = 86_400.0
SHOWN_AFTER_S = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class Due:
    """`whose` is a person, a device or a profile; empty for everybody."""

    whose: str
    allows: bool
    target: Target
    until: float

    def is_due(self, now: float) -> bool:
        """Whether those in charge should hear of it now: it ends within a day, or ended within the last week."""
        return self.until - SHOWN_BEFORE_S <= now < self.until + SHOWN_AFTER_S


def dues(policy: Policy) -> tuple[Due, ...]:
    """All that a policy names an end for, the earliest first."""
    scopes: list[tuple[str, Rules]] = [("", policy.household)]
    scopes += [(person.name, person.rules) for person in policy.people.values()]
    scopes += [(device.id, device.rules) for device in policy.devices.values()]
    scopes += [(profile.name, profile.rules) for profile in policy.profiles.values()]
    return tuple(sorted((due for whose, rules in scopes for due in _dues_of(whose, rules)), key=lambda due: due.until))


def _dues_of(whose: str, rules: Rules) -> Iterator[Due]:
    timed = [(True, each.allow) for each in rules.schedules] + [(False, each.block) for each in rules.schedules]
    for allows, targets in ((True, rules.allow), (False, rules.block), *timed):
        yield from (Due(whose, allows, target, target.until) for target in targets if target.until is not None)


def in_force(targets: Iterable[Target], now: float) -> Iterator[Target]:
    """Those that have not ended."""
    return (target for target in targets if target.until is None or target.until > now)
