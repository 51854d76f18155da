"""Agreements in control: what both sides say yes to, and the reminder of the next look."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import date, timedelta

from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.notices import Notice, localized
from hedgerow.dashboards.words.languages import message
from hedgerow.dashboards.words.rule_facts import RuleFacts, rule_facts
from hedgerow.features.agreement import own_words
from hedgerow.features.agreement.records import AgreementStore
from hedgerow.features.agreement.terms import MONTHS, WAIT_DAYS, Promises, Side, Standing, Terms, Yes, look_after
from hedgerow.features.contract import Core
from hedgerow.journal.store import Store
from hedgerow.policies.growing import day_at, first_instant, zone_of
from hedgerow.policies.model import Person, Policy
from hedgerow.policies.notices import NoticeTopic

_DUE = message("It is time to look at the rules with %(name)s again.")
_WAITING = message("%(name)s has said yes to your rules. Now it is your turn.")
_LATER = message("%(name)s would rather look at your rules 30 days later.")


class Agreements:
    """The agreements of this home. Everything here waits for the disk: call it from a thread."""

    def __init__(
        self,
        store: Store,
        policy: Callable[[], Policy],
        notify: Callable[[Sequence[Notice]], None],
        clock: Callable[[], float],
    ) -> None:
        self.store = AgreementStore(store)
        self._policy, self._notify, self._clock = policy, notify, clock
        self._lock = threading.RLock()

    def standing(self, person: str) -> Standing:
        """Return the agreement with a child as it is now. Raises `InvalidInput` for anybody else."""
        policy, now = self._policy(), self._clock()
        if person not in policy.people or not is_child(policy, policy.people[person]):
            raise InvalidInput("%(name)s has no rules of a child, so there is nothing to agree on.", name=person)
        agreement = self.store.of_person(person)
        return Standing(agreement, Terms(rules=facts_of(policy, person, now), promises=agreement.promises), now)

    def say_yes(self, side: Side, person: str, *, seen: str, promises: Promises | None = None, name: str = "") -> bool:
        """Write a side's yes to the terms that it has `seen`, by their digest. Returns whether both have now agreed.

        A parent may give other promises with it. Raises `InvalidInput` if the terms have changed, and if somebody else
        has written meanwhile.
        """
        with self._lock:
            before = self.standing(person)
            if seen != before.terms.digest:
                raise own_words.changed_meanwhile()
            agreement, now = before.agreement, before.now
            if promises is not None:
                agreement = replace(agreement, promises=promises)
            after = Standing(agreement, replace(before.terms, promises=agreement.promises), now)
            if after.has_said_yes(side):
                return after.is_agreed
            yes = Yes(terms=after.terms, at=now, round=agreement.round + 1)
            agreement = replace(agreement, child=yes) if side is Side.CHILD else replace(agreement, parent=yes)
            if side is Side.PARENT:
                agreement = replace(agreement, parent_name=name)
            both = Standing(agreement, after.terms, now).has_said_yes(side.other)
            if both:
                policy = self._policy()
                zone = zone_of(policy.people[person], policy)
                look_at = look_after(now, agreement.promises.months, zone)
                agreement = replace(agreement, round=agreement.round + 1, agreed_at=now, look_at=look_at)
            self.store.save(agreement)
        if side is Side.CHILD and not both:
            self._notify([Notice(NoticeTopic.REQUEST, f"{person} agreement yes", localized(_WAITING, name=person))])
        return both

    def set_next_look(self, person: str, day: str) -> None:
        """Set the day on which both look at agreed rules again. Raises `InvalidInput`."""
        with self._lock:
            standing, policy = self.standing(person), self._policy()
            agreement, zone = standing.agreement, zone_of(policy.people[person], policy)
            if not agreement.round:
                raise InvalidInput("You have not both said yes yet. The next look is counted from then.")
            try:
                look_at = first_instant(date.fromisoformat(day.strip()), zone)
            except (ValueError, OverflowError):
                raise InvalidInput("Enter a date such as 2026-12-24.").at("day") from None
            if not standing.now < look_at <= look_after(standing.now, max(MONTHS), zone):
                raise InvalidInput("Choose a day within a year.").at("day")
            self.store.save(replace(agreement, look_at=look_at, reminded=min(agreement.reminded, agreement.round - 1)))

    def wait(self, side: Side, person: str) -> None:
        """Put a look that is due off by thirty days. One that is not due stays where it is."""
        with self._lock:
            standing, policy = self.standing(person), self._policy()
            if not standing.is_due:
                return
            day = day_at(standing.now, zone_of(policy.people[person], policy)) + timedelta(days=WAIT_DAYS)
            self.set_next_look(person, day.isoformat())
        if side is Side.CHILD:
            self._notify([Notice(NoticeTopic.REQUEST, f"{person} agreement wait", localized(_LATER, name=person))])

    def remind(self) -> None:
        """Tell the parents, once, of agreements whose next look is due."""
        policy, now = self._policy(), self._clock()
        for agreement in self.store.all():
            person = policy.people.get(agreement.person)
            if person is None or not is_child(policy, person) or agreement.reminded == agreement.round:
                continue
            if now >= agreement.look_at:
                try:
                    self.store.save(replace(agreement, reminded=agreement.round))
                except InvalidInput:  # somebody has said yes just now
                    continue
                text = localized(_DUE, name=person.name)
                self._notify([Notice(NoticeTopic.REQUEST, f"{person.name} agreement look", text)])


def children_of(policy: Policy) -> Iterator[Person]:
    """Yield the children of the family."""
    return (person for person in policy.people.values() if is_child(policy, person))


def is_child(policy: Policy, person: Person) -> bool:
    """Return whether a person has the rules of a child."""
    return policy.profiles[person.profile].is_for_children


def facts_of(policy: Policy, person: str, now: float) -> RuleFacts:
    """Return the rules of a child, with the names that it may read."""
    return rule_facts(policy, policy.people[person].profile, person, now, for_child=True)


def parse_promises(names: Sequence[str], words: str, months: str) -> Promises:
    """Return promises as a form sends them. Raises `InvalidInput`."""
    ready = {promise.name for promise in own_words.PROMISES}
    if any(name not in ready for name in names):
        raise InvalidInput("Choose one of the values that are offered.").at("promise")
    if months not in map(str, MONTHS):
        raise InvalidInput("Choose one of the values that are offered.").at("months")
    chosen = tuple(promise.name for promise in own_words.PROMISES if promise.name in names)
    return Promises(names=chosen, words=words, months=int(months))


def agreements_of(core: Core) -> Agreements:
    """Make the part of control for agreements."""
    return Agreements(core.store, lambda: core.policy, core.notify, core.clock)
