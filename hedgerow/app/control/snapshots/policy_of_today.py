"""The policy with the ages and profiles of today: it changes with birthdays, without the file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from hedgerow.policies.growing import knows_births, next_change, policy_at
from hedgerow.policies.growth_steps import LegalStep, ProfileStep
from hedgerow.policies.model import Person, Policy


@dataclass(frozen=True, slots=True)
class Growth:
    """The profile that a person has, and those that are to come. Profiles change by nothing else than these steps.

    Without a profile, it stays the one of the policy. `legal_steps` are what the law closes, now and later.
    """

    profile: str = ""
    steps: tuple[ProfileStep, ...] = ()
    legal_steps: tuple[LegalStep, ...] = ()

    def of(self, person: Person) -> Person:
        """Return a person with this growth."""
        grown = replace(person, legal_steps=self.legal_steps)
        if person.born is None or not self.profile:
            return grown
        return replace(grown, profile=self.profile, steps=self.steps)


type GrowthOf = Callable[[Policy], Mapping[str, Growth]]
"""Return what is decided about people of a policy: the same object while nothing changes, since it is asked often."""


class PolicyOfToday:
    """The policy of the file with the ages of today.

    `growth` returns what has been decided about people who grow up. The profile of anybody else is that of their age.
    `hold` returns the policy without what may not be in force yet.
    """

    def __init__(
        self, growth: GrowthOf, now: Callable[[], float], hold: Callable[[Policy], Policy] = lambda policy: policy
    ) -> None:
        self._growth, self._now, self._hold = growth, now, hold
        self._plain: Policy | None = None  # the last one without births, so that 20,000 people are not asked again
        self._last: tuple[Policy, Mapping[str, Growth], float, float, Policy] | None = None

    def of(self, policy: Policy) -> Policy:
        """Return the policy of today: the same object until somebody's age or profile changes, or something begins."""
        return self._hold(self._grown(policy))

    def _grown(self, policy: Policy) -> Policy:
        now, growth = self._now(), self._growth(policy)
        if not growth and (policy is self._plain or not knows_births(policy)):
            self._plain = policy
            return policy
        if self._last is not None:
            source, decided, begin, end, grown = self._last
            if source is policy and (decided is growth or decided == growth) and begin <= now < end:
                return grown
        people = {name: growth[name].of(person) if name in growth else person for name, person in policy.people.items()}
        with_steps = policy if people == policy.people else replace(policy, people=people)
        grown = policy_at(with_steps, now)
        if self._last is not None and self._last[4] == grown:
            grown = self._last[4]
        self._last = (policy, growth, now, next_change(grown, now), grown)
        return grown
