"""Changes of children's rules, as sentences on their pages. Everything here waits for the disk: call it from a thread.

A change is found by comparing a child's rules with those that its page has told it last, so it does not matter who has
changed which file, or how.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection

from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.words.languages import Language
from hedgerow.dashboards.words.rule_facts import Difference, RuleFacts, difference
from hedgerow.features.agreement.agreements import children_of, facts_of
from hedgerow.features.contract import Core
from hedgerow.journal.store import Store
from hedgerow.journal.tables import rule_changes, rules_told
from hedgerow.policies.expiry import expiring_rules
from hedgerow.policies.model import Policy

SHOWN_S = 7 * 86400.0
"""Seconds for which a child's page shows a change."""
KEPT_S = 30 * 86400.0
"""Seconds for which a change is kept."""
MOST_CHILDREN = 100
"""Children whose changes are told, at most: this is for families, and a school has thousands."""
_TOGETHER_S = 3600.0
"""Seconds after a change in which further ones are shown with it, as somebody tries several switches."""
_C, _T = rule_changes.c, rules_told.c


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleChange:
    """A change of a child's rules, with the reason if a parent gave one."""

    id: int
    person: str
    at: float
    before: RuleFacts
    after: RuleFacts
    reason: str = ""

    def difference(self, reader: Language) -> Difference:
        """Return what is different from now on."""
        return difference(self.before, self.after, reader)


class RuleChanges:
    """The changes of all children's rules."""

    def __init__(self, store: Store, policy: Callable[[], Policy], clock: Callable[[], float]) -> None:
        self._store, self._policy, self._clock = store, policy, clock
        self._last: tuple[Policy, float] | None = None  # the policy that was looked at, and when a rule of it ends

    def look(self) -> None:
        """Write what has changed since the last look."""
        policy, now = self._policy(), self._clock()
        if self._last is not None and self._last[0] is policy and now < self._last[1]:
            return
        names = [person.name for person in children_of(policy)]
        for name in names if len(names) <= MOST_CHILDREN else ():
            self._tell(name, facts_of(policy, name, now), now)
        ends = (each.until for each in expiring_rules(policy) if each.until > now)
        self._last = (policy, min(ends, default=float("inf")))

    def of_child(self, person: str) -> tuple[RuleChange, ...]:
        """Return the changes that a child's page shows, the newest first."""
        recent = (_C.person == person) & (_C.at > self._clock() - SHOWN_S)
        rows = self._store.rows(self._store.select(rule_changes).where(recent).order_by(_C.id.desc()))
        return tuple(
            RuleChange(id=row.id, person=person, at=row.at, before=before, after=after, reason=row.reason)
            for row in rows
            if (before := RuleFacts.from_json(row.before)) and (after := RuleFacts.from_json(row.after))
        )

    def give_reason(self, person: str, change_id: int, reason: str) -> None:
        """Write the reason of a change, which the child reads. Raises `InvalidInput` if there is no such change."""
        recent = (_C.person == person) & (_C.id == change_id) & (_C.at > self._clock() - SHOWN_S)
        if not self._store.execute(self._store.update(rule_changes).where(recent).values(reason=reason)):
            raise InvalidInput("This change is no longer on the child's page.")

    def prune(self, now: float) -> None:
        """Delete old changes, and what was told to people who are no longer in the policy."""
        self._store.execute(self._store.delete(rule_changes).where(_C.at < now - KEPT_S))
        known = self._policy().people.keys()
        for row in self._store.rows(self._store.select(rules_told)):
            if row.person not in known:
                self._store.execute(self._store.delete(rules_told).where(_T.person == row.person))

    def _tell(self, person: str, facts: RuleFacts, now: float) -> None:
        """Compare a child's rules with those told, and write the difference. Of two machines, one writes it."""
        text = facts.to_json()
        told = self._store.rows(self._store.select(rules_told).where(_T.person == person))
        if not told:
            row = {"person": person, "rules": text, "privacy": facts.privacy, "raised": ""}
            self._store.execute(self._store.insert_missing(rules_told).values(**row, raised_at=0.0, begins_at=0.0))
            return
        before = told[0].rules
        if before == text:
            return
        mine = (_T.person == person) & (_T.rules == before)
        with self._store.begin() as connection:
            changed = connection.execute(self._store.update(rules_told).where(mine).values(rules=text))
            if changed.rowcount and RuleFacts.from_json(before) is not None:
                self._write(connection, person, before=before, after=text, now=now)

    def _write(self, connection: Connection, person: str, *, before: str, after: str, now: float) -> None:
        """Write a change, or extend the latest one."""
        theirs = self._store.select(rule_changes).where(_C.person == person).order_by(_C.id.desc()).limit(1)
        last = connection.execute(theirs).first()
        if last is None or last.reason or not now - _TOGETHER_S < last.at <= now or last.after != before:
            row = {"person": person, "at": now, "before": before, "after": after, "reason": ""}
            connection.execute(self._store.insert(rule_changes).values(row))
        elif last.before == after:
            connection.execute(self._store.delete(rule_changes).where(_C.id == last.id))
        else:
            connection.execute(self._store.update(rule_changes).where(_C.id == last.id).values(after=after, at=now))


def without_empty(changes: tuple[RuleChange, ...], reader: Language) -> tuple[tuple[RuleChange, Difference], ...]:
    """Return changes with their differences, without those that a reader would find empty."""
    found = ((change, change.difference(reader)) for change in changes)
    return tuple((change, new) for change, new in found if new)


def changes_of(core: Core) -> RuleChanges:
    """Make the part of control for changes of rules."""
    return RuleChanges(core.store, lambda: core.policy, core.clock)
