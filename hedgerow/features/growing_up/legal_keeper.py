"""Closings by law for the people of a policy that follows it, now and later."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from hedgerow.features.growing_up.law import MinimumAge, minimum_ages
from hedgerow.features.growing_up.legal_stages import NOTHING, LegalStage, TopicsOn, next_legal_stage
from hedgerow.features.growing_up.settings import follows_law
from hedgerow.features.growing_up.stage_store import StageStore
from hedgerow.journal.store import Store
from hedgerow.journal.tables import legal_stages
from hedgerow.policies.growing import age_on, birthday, day_at, first_instant, zone_of
from hedgerow.policies.growth_steps import LegalClosing, LegalStep
from hedgerow.policies.model import Person, Policy
from hedgerow.seen_time import Passing


@dataclass(frozen=True, slots=True, kw_only=True)
class LegalNews:
    """An announcement to a person: what the law closes from an instant on, and what it closes no longer."""

    person: str
    at: float
    closed: tuple[LegalClosing, ...]
    opened: tuple[LegalClosing, ...]


class LegalKeeper:
    """The stages of all whom the law concerns, now or later. Hold the lock while you call it."""

    def __init__(self, store: Store, lock: threading.RLock) -> None:
        self.kept = StageStore(store, legal_stages, LegalStage, lock)

    def recall(self, policy: Policy) -> None:
        """Go on with what an earlier policy closed to people for whom the store has nothing."""
        for name, person in policy.people.items():
            if person.legal_steps and name not in self.kept.stages:
                closed = " ".join(each.topic for each in person.legal_closings) or NOTHING
                self.kept.stages[name] = LegalStage(name, _basis(policy, person), closed)

    def decided(self, policy: Policy, now: float) -> dict[str, tuple[LegalStep, ...]]:
        """Return what the law closes to each person, from when on. For whom is new, it does so at once."""
        found = {}
        for person in policy.people.values() if follows_law(policy) else ():
            laws, zone = laws_for(policy, person), zone_of(person, policy)
            stage = self.kept.stages.get(person.name)
            if not _is_young(person, laws) and (stage is None or (stage.closed == NOTHING and not stage.announced)):
                continue
            topics_on = _topics_on(person, laws)
            if stage is None or stage.basis != _basis(policy, person):
                closed = topics_on(day_at(now, zone))
                stage = self.kept.stages[person.name] = LegalStage(person.name, _basis(policy, person), closed)
            steps = [LegalStep(0.0, closings_of(stage.closed, laws))]
            if stage.announced:
                at = stage.countdown.comes_at(now, zone)
                steps.append(LegalStep(at, closings_of(stage.announced, laws), stage.countdown.is_certain))
            for day in _changes(person, laws, day_at(max(now, steps[-1].at), zone)):
                closings = closings_of(topics_on(day), laws)
                if closings != steps[-1].closings:
                    steps.append(LegalStep(first_instant(day, zone), closings, is_certain=False))
            found[person.name] = tuple(steps)
        return found

    def announced(self, policy: Policy, name: str, now: float) -> LegalNews | None:
        """Return what is announced to a person, None for nothing."""
        stage = self.kept.stages.get(name) if name in self.decided(policy, now) else None
        if stage is None or not stage.announced:
            return None
        person = policy.people[name]
        laws = laws_for(policy, person)
        before, after = closings_of(stage.closed, laws), closings_of(stage.announced, laws)
        return LegalNews(
            person=name,
            at=stage.countdown.comes_at(now, zone_of(person, policy)),
            closed=tuple(each for each in after if each not in before),
            opened=tuple(each for each in before if each not in after),
        )

    def look(self, policy: Policy, now: float, passing: Passing) -> None:
        """Go on to the next stages, and forget those of a policy that does not follow the law."""
        concerned = self.decided(policy, now)
        for name in concerned:
            person = policy.people[name]
            topics_on = _topics_on(person, laws_for(policy, person))
            stage = self.kept.stages[name]
            self.kept.stages[name] = next_legal_stage(stage, topics_on, now, zone_of(person, policy), passing)
        for name in self.kept.stages.keys() - concerned.keys():
            del self.kept.stages[name]


def laws_for(policy: Policy, person: Person) -> tuple[MinimumAge, ...]:
    """Return the laws of the policy's country for a person of a known age, the topics in order."""
    found = (each for each in minimum_ages() if each.country == policy.network.country)
    return tuple(sorted(found, key=lambda each: each.kind)) if person.age is not None else ()


def _is_young(person: Person, laws: tuple[MinimumAge, ...]) -> bool:
    return any((person.age or 0) < each.age for each in laws)


def closings_of(topics: str, laws: tuple[MinimumAge, ...]) -> tuple[LegalClosing, ...]:
    """Return the closings of a stage's topics. A law that is in the table no more closes nothing."""
    names = topics.split()
    return tuple(LegalClosing(each.kind, each.citation) for each in laws if each.kind in names)


def _topics_on(person: Person, laws: tuple[MinimumAge, ...]) -> TopicsOn:
    def topics_on(day: date) -> str:
        age = person.age if person.born is None else age_on(person.born, day)
        closed = (each.kind for each in laws if (each.since is None or each.since <= day) and (age or 0) < each.age)
        return " ".join(closed) or NOTHING

    return topics_on


def _changes(person: Person, laws: tuple[MinimumAge, ...], today: date) -> Iterator[date]:
    """Yield the days after today on which a law begins, or on which the person is old enough."""
    days = {each.since for each in laws if each.since is not None}
    if person.born is not None:
        days |= {birthday(person.born, each.age) for each in laws}
    return iter(sorted(day for day in days if day > today))


def _basis(policy: Policy, person: Person) -> str:
    return f"{policy.network.country} {person.born or person.age}"
