"""Minutes of the current day in which devices used sites, for pages that show them again and again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Select, func, select

from hedgerow.journal.store import Store
from hedgerow.journal.tables import decisions, reversed_labels
from hedgerow.policies.model import Verdict

MAX_SUBJECTS = 300
"""Subjects kept per device and day. Further ones are left out."""

_CLOCK_SLACK_S = 3600.0
_C = decisions.c


@dataclass(slots=True)
class _DeviceDay:
    """The minutes of a device. Bit n of a subject's number: the n-th minute after midnight; `last` is the newest decision read."""

    last: int
    minutes: dict[str, int] = field(default_factory=dict)


class VisitReader:
    """Reads the minutes of use from the journal. Each reading goes on where the last one ended.

    `subject_of` returns the service or site of a host, or None for a host that does not count. Blocks on the disk; thread-safe.
    """

    def __init__(self, store: Store, subject_of: Callable[[str], str | None]) -> None:
        self._store, self._subject_of = store, subject_of
        self._lock = threading.Lock()
        self._midnight = 0.0
        self._first = 0
        self._days: dict[str, _DeviceDay] = {}

    def minutes(self, devices: Iterable[str], midnight: float) -> Mapping[str, Mapping[str, int]]:
        """Return the minutes since `midnight` by device and subject, each as a number with a bit per minute.

        Devices whose journal was erased meanwhile are read anew.
        """
        with self._lock:
            if midnight != self._midnight:
                self._midnight, self._days = midnight, {}
                is_earlier = _C.at < midnight - _CLOCK_SLACK_S
                last = select(_C.id).where(self._store.own(decisions), is_earlier).order_by(_C.at.desc()).limit(1)
                self._first = int(self._store.scalar(last) or 0)
            self._forget_erased()
            return {device: dict(self._read(device).minutes) for device in devices}

    def _forget_erased(self) -> None:
        wanted = {day.last: device for device, day in self._days.items() if day.minutes}
        query = select(_C.id, _C.device).where(_C.id.in_(wanted))
        present = {row.device for row in self._store.rows(query) if wanted[row.id] == row.device}
        self._days = {device: day for device, day in self._days.items() if device in present}

    def _read(self, device: str) -> _DeviceDay:
        day = self._days.setdefault(device, _DeviceDay(self._first))
        for row in self._store.rows(self._new_visits(device, day.last)):
            day.last = max(day.last, row.last)
            subject = self._subject_of(reversed_labels(row.host_key)) if row.host_key else None
            if subject is not None and (subject in day.minutes or len(day.minutes) < MAX_SUBJECTS):
                place = max(0, int(row.minute - self._midnight // 60))
                day.minutes[subject] = day.minutes.get(subject, 0) | 1 << place
        return day

    def _new_visits(self, device: str, last: int) -> Select[Any]:
        minute = self._store.dialect.floor(_C.at / 60).label("minute")
        is_new = (_C.device == device) & (_C.id > last) & (self._store.dialect.unindexed(_C.at) >= self._midnight)
        query = select(_C.host_key, minute, func.max(_C.id).label("last")).where(self._store.own(decisions), is_new)
        return query.where(self._store.dialect.unindexed(_C.verdict) != Verdict.BLOCK.value).group_by(_C.host_key, minute)
