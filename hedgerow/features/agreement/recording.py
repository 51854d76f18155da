"""The level of what is recorded about each child. A higher one is told to the child a day before it is in force.

`next_level` and `held_back` are pure. `RecordingGuard` keeps the levels in the journal, so that neither a restart nor a
change of the file while Hedgerow is off makes a level higher at once.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from sqlalchemy.exc import DatabaseError

from hedgerow.dashboards.words.rules import privacy_of, rule_layers
from hedgerow.features.agreement.agreements import children_of
from hedgerow.features.contract import Core
from hedgerow.journal.store import Store, cause_of
from hedgerow.journal.tables import rules_told
from hedgerow.policies.model import Device, Person, Policy, Privacy
from hedgerow.seen_time import HOUR_S, Awaited, ClockWatch, Passing, is_worth_saving, merged, uptime_s

log = logging.getLogger("hedgerow.control")

NOTICE_S = 86_400.0
"""Seconds that have to be seen passing between the announcement of a higher level and its beginning."""
_LONGEST_OFF_S = HOUR_S
"""Seconds that count while Hedgerow is off, at most: the child can't read its page then."""
_LEVELS = (Privacy.NONE, Privacy.CATEGORY, Privacy.DOMAIN, Privacy.FULL)
_T = rules_told.c


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingLevel(Awaited):
    """The level in force for a child, and a higher one that is announced."""

    person: str
    privacy: Privacy
    raised: Privacy | None = None

    @property
    def begins_at(self) -> float:
        """When the higher level begins if the clock goes on as it should, to the minute."""
        return (self.seen_at + self.unseen) // 60 * 60


def next_level(level: RecordingLevel, wanted: Privacy, now: float, passing: Passing | None = None) -> RecordingLevel:
    """Return the level at `now`, given that of the policy. A lower one is in force at once.

    A higher one begins once a day was seen passing since it was announced, and the clock is steady. `passing` is what
    was seen since the last look, None between two looks: then nothing begins.
    """
    if not is_more(wanted, level.privacy):
        return RecordingLevel(person=level.person, privacy=wanted)
    if level.raised is None or is_more(wanted, level.raised):
        return replace(level, raised=wanted, unseen=NOTICE_S, seen_at=now)
    if passing is None:
        return replace(level, raised=wanted)
    unseen = level.unseen_after(passing, now)
    if not unseen and passing.is_steady:
        return RecordingLevel(person=level.person, privacy=wanted)
    return replace(level, raised=wanted, unseen=unseen, seen_at=now)


def is_more(one: Privacy, other: Privacy) -> bool:
    """Return whether more is recorded at one level than at another.

    >>> is_more(Privacy.DOMAIN, Privacy.CATEGORY), is_more(Privacy.NONE, Privacy.NONE)
    (True, False)
    """
    return _LEVELS.index(one) > _LEVELS.index(other)


def held_back(policy: Policy, levels: Mapping[str, Privacy]) -> Policy:
    """Return the policy with at most these levels for people and for their devices."""
    owned, people, devices = _devices_of(policy), dict(policy.people), dict(policy.devices)
    for name, level in levels.items():
        person = policy.people[name]
        if is_more(_level_at(policy, person, None), level):
            people[name] = replace(person, rules=replace(person.rules, privacy=level))
        for device in owned[name]:
            if device.rules.privacy is not None and is_more(device.rules.privacy, level):
                devices[device.id] = replace(device, rules=replace(device.rules, privacy=level))
    return replace(policy, people=people, devices=devices)


def levels_of(policy: Policy) -> dict[str, Privacy]:
    """Return the highest level for each child, on any of its devices."""
    owned = _devices_of(policy)
    return {
        person.name: max(
            (_level_at(policy, person, device) for device in (None, *owned[person.name])), key=_LEVELS.index
        )
        for person in children_of(policy)
    }


def _devices_of(policy: Policy) -> Mapping[str, list[Device]]:
    owned = defaultdict[str, list[Device]](list)
    for device in policy.devices.values():
        for name in {device.person, *device.sharers} - {None}:
            owned[str(name)].append(device)
    return owned


def _level_at(policy: Policy, person: Person, device: Device | None) -> Privacy:
    profile = device.profile if device is not None and device.has_profile else person.profile
    where = None if device is None else device.id
    return privacy_of(rule_layers(policy, profile, person.name, where))


class RecordingGuard:
    """The levels of all children. `hold` may be called from any thread and waits for nothing, the rest for the disk."""

    def __init__(self, store: Store, clock: Callable[[], float], uptime: Callable[[], float] = uptime_s) -> None:
        self._store, self._clock, self._uptime = store, clock, uptime
        self._watch: ClockWatch | None = None
        self._lock = threading.RLock()
        self._levels: dict[str, RecordingLevel] = {}
        self._saved: dict[str, RecordingLevel] = {}
        self._last: tuple[Policy, Policy] | None = None  # as it was read, and as it is in force
        self.refresh()

    def recall(self, policy: Policy) -> None:
        """Go on with the levels of an earlier policy for whom the store has none, such as after its damage."""
        with self._lock:
            for name, privacy in levels_of(policy).items():
                self._levels.setdefault(name, RecordingLevel(person=name, privacy=privacy))

    def hold(self, policy: Policy) -> Policy:
        """Return the policy that may be in force: the same object for the same one while nothing begins."""
        with self._lock:
            if self._last is None or self._last[0] is not policy:
                self._last = (policy, self._held(policy))
            return self._last[1]

    def announced(self, person: str) -> RecordingLevel | None:
        """Return the level of a child if a higher one is announced."""
        level = self._levels.get(person)
        return level if level is not None and level.raised is not None else None

    def look(self) -> bool:
        """Begin what is due, and save. Return True if another policy is in force now."""
        with self._lock:
            if self._watch is None:
                seen_at = max((level.seen_at for level in self._saved.values()), default=0.0)
                self._watch = ClockWatch(seen_at, _LONGEST_OFF_S)
            passing = self._watch.look(self._clock(), self._uptime())
            before = self._last
            if before is not None and any(level.raised is not None for level in self._levels.values()):
                self._last = (before[0], self._held(before[0], passing))
            is_other = before is not None and self._last is not None and before[1] != self._last[1]
            if before is not None and not is_other:
                self._last = before
            levels = dict(self._levels)
        self._save(level for name, level in levels.items() if is_worth_saving(self._saved.get(name), level))
        return is_other

    def refresh(self) -> None:
        """Read the levels, also those that another node of the site has changed."""
        try:
            rows = self._store.rows(self._store.select(rules_told))
        except DatabaseError as error:
            log.warning("Can't read what is recorded about whom: %s", cause_of(error))
            return
        known = {level.value for level in Privacy}
        found = {
            row.person: RecordingLevel(
                person=row.person,
                privacy=Privacy(row.privacy),
                raised=Privacy(row.raised) if row.raised in known else None,
                unseen=min(max(row.begins_at - row.raised_at, 0.0), NOTICE_S),
                seen_at=row.raised_at,
            )
            for row in rows
            if row.privacy in known
        }
        with self._lock:
            self._levels |= {name: merged(self._levels.get(name), level) for name, level in found.items()}
            self._saved = found

    def _held(self, policy: Policy, passing: Passing | None = None) -> Policy:
        now, held = self._clock(), {}
        wanted = levels_of(policy)
        for name, privacy in wanted.items():
            before = self._levels.get(name) or RecordingLevel(person=name, privacy=privacy)
            level = self._levels[name] = next_level(before, privacy, now, passing)
            if level.raised is not None:
                held[name] = level.privacy
        for name in self._levels.keys() - wanted.keys():
            del self._levels[name]
        return held_back(policy, held) if held else policy

    def _save(self, changed: Iterable[RecordingLevel]) -> None:
        for level in changed:
            values = {"privacy": level.privacy.value, "raised": level.raised.value if level.raised else ""}
            times = {"raised_at": level.seen_at, "begins_at": level.seen_at + level.unseen}
            new = self._store.insert_missing(rules_told).values(person=level.person, rules="", **values, **times)
            with self._store.begin() as connection:
                connection.execute(new)
                mine = self._store.update(rules_told).where(_T.person == level.person)
                connection.execute(mine.values(**values, **times))
            self._saved[level.person] = level


def guard_of(core: Core) -> RecordingGuard:
    """Make the part of control for what is recorded."""
    return RecordingGuard(core.store, core.clock)
