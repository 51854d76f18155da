"""The key `people.NAME.chores`: tasks of each day, and the minutes that each of them earns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import WithJsonSchema

from hedgerow.policies.model import Person, Policy
from hedgerow.policies.reading.feature_keys import FeatureKey, KeyReader
from hedgerow.policies.reading.schema_types import AMOUNTS, managed

NAME = "chores"
"""Name of the key, of the condition `unless: chores`, and of the grant that lifts it for the rest of a day."""
MAX_CHORES, MAX_CHORE_NAME = 20, 40


@dataclass(frozen=True, slots=True)
class Chore:
    """A task of each day. Once it is confirmed, `minutes` are added to the day's budget for `subject`."""

    name: str
    minutes: int
    subject: str


@dataclass(frozen=True, slots=True)
class ChoreSettings:
    """The chores of each person who has some."""

    KEY: ClassVar[str] = f"people.*.{NAME}"

    people: Mapping[str, tuple[Chore, ...]]


def chores_of(policy: Policy, person: str | None) -> tuple[Chore, ...]:
    """Return a person's chores; none for nobody."""
    settings = policy.settings(ChoreSettings)
    return settings.people.get(person or "", ()) if settings is not None else ()


def _read(raw: Mapping[str, dict[str, Any]], reader: KeyReader) -> ChoreSettings | None:
    found = {name: tuple(_chores(entry, name, reader)) for name, entry in raw.items() if entry}
    for name, chores in found.items():
        _check_budgets(chores, reader.policy.people[name], reader)
    return ChoreSettings(found) if found else None


def _chores(raw: dict[str, Any], person: str, reader: KeyReader) -> Iterator[Chore]:
    for name, value in raw.items():
        place = (person, NAME, name)
        if not 0 < len(name.strip()) <= MAX_CHORE_NAME:
            reader.add_problem(*place, text=f"a chore's name has 1 to {MAX_CHORE_NAME} characters", key=True)
        if isinstance(value, dict) and len(value) != 1:
            reader.add_problem(*place, text="a chore earns minutes for one thing, such as {games: 20m}")
        elif (earned := reader.amounts.earned(value, (*reader.path, *place))) is not None:
            yield Chore(name, minutes=earned[1], subject=earned[0])
    if len(raw) > MAX_CHORES:
        reader.add_problem(person, NAME, text=f"{len(raw)} chores are too many: {MAX_CHORES} at most", key=True)


def _check_budgets(chores: tuple[Chore, ...], person: Person, reader: KeyReader) -> None:
    """Add a problem for a chore whose minutes would be added to no budget."""
    policy = reader.policy
    profile = policy.profiles.get(person.profile)
    scopes = (person.rules, policy.household, *([profile.rules] if profile is not None else []))
    budget = next((rules.budget for rules in scopes if rules.budget is not None), ())
    known = {allowance.subject for allowance in budget}
    for chore in chores:
        if chore.minutes and chore.subject not in known:
            of = chore.subject.partition(":")[2] or "all use"
            text = f"{person.name} has no time budget for {of}, to which '{chore.name}' could add"
            reader.add_problem(person.name, NAME, chore.name, text=text, key=True)


CHORES = FeatureKey(
    settings=ChoreSettings,
    kind=Annotated[dict[str, Any], WithJsonSchema(AMOUNTS)],
    declaration=managed(
        {},
        description="Tasks of each day, by name, with the minutes that one earns; "
        "for a category or service as `{games: 20m}`.",
    ),
    read=_read,
)
