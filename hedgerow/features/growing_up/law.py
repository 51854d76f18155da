"""Minimum ages that the law of a country sets for kinds of services (`ages.yaml`), as advice for parents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path

from hedgerow.blocklists.yaml_files import read_yaml
from hedgerow.policies.model import Person, Policy

PLACE = Path(__file__).parent / "ages.yaml"


@dataclass(frozen=True, slots=True)
class MinimumAge:
    """A minimum age. `kind` is a topic, `since` the day of commencement if the source names it.

    `law` is its title, `source` the address of the page that says so, and `checked` the day on which it was read last.
    A source `is_secondary` if it is neither the law itself nor of an authority.
    """

    country: str
    kind: str
    age: int
    law: str
    source: str
    checked: date
    since: date | None = None
    is_secondary: bool = False

    @property
    def citation(self) -> str:
        """The title of the law with the age and the day of commencement, in no language but its own."""
        return f"{self.law} (<{self.age}{f', {self.since}' if self.since is not None else ''})"


@cache
def minimum_ages() -> tuple[MinimumAge, ...]:
    """Return the minimum ages of all countries."""
    return tuple(_read(entry) for entry in read_yaml(PLACE)["ages"])


def _read(entry: dict[str, object]) -> MinimumAge:
    days = {key: date.fromisoformat(str(entry[key])) for key in ("since", "checked") if key in entry}
    texts = {key: str(entry[key]) for key in ("country", "kind", "law", "source")}
    return MinimumAge(
        **texts,
        age=int(str(entry["age"])),
        checked=days["checked"],
        since=days.get("since"),
        is_secondary=entry.get("secondary") is True,
    )


def ages_that_concern(policy: Policy, person: Person, today: date) -> Iterator[MinimumAge]:
    """Yield the minimum ages of the policy's country that a person has not reached, for topics that are open."""
    age = person.age
    for each in minimum_ages():
        is_in_force = each.country == policy.network.country and (each.since is None or each.since <= today)
        if is_in_force and age is not None and age < each.age and _is_open(policy, person, each.kind):
            yield each


def _is_open(policy: Policy, person: Person, topic: str) -> bool:
    """Return whether the nearest rules that name a topic allow it."""
    for rules in (person.rules, policy.household, policy.profiles[person.profile].rules):
        if any(target.name == topic for target in rules.allow):
            return True
        if any(target.name == topic for target in rules.block):
            return False
    return True
