"""The outbox: notices to be sent and the outcome of earlier ones.

It is on disk, so that neither a restart nor a dead service loses one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, func, select

from hedgerow.journal.store import Store
from hedgerow.journal.tables import notices

WAITING, SENT, GIVEN_UP = "waiting", "sent", "given up"

WAITING_LIMIT = 200
"""Waiting notices per receiver. The oldest give way to newer ones."""

KEPT_LIMIT = 2000
"""Notices per receiver in any state: made-up devices can be the reason for any number of them."""

MAX_AGE_S = 30 * 86400.0

_C = notices.c


@dataclass(frozen=True, slots=True)
class NoticeRow:
    """A notice to one receiver. `count` is how often it was put in; it is not tried again before `next_at`."""

    id: int
    at: float
    receiver: str
    topic: str
    key: str
    text: str
    count: int
    state: str
    tries: int
    next_at: float
    sent_at: float | None
    problem: str


class Outbox:
    """The store of notices to be sent. Every method waits for the disk: call it from a thread."""

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.time) -> None:
        self._store, self._clock = store, clock

    def put(self, receiver: str, topic: str, key: str, text: str, silence: float = 0.0) -> bool:
        """Queue a notice. Return False if the same one is waiting or was queued less than `silence` seconds ago.

        A waiting notice takes the newer text.
        """
        now = self._clock()
        same = (_C.receiver == receiver) & (_C.topic == topic) & (_C.key == key)
        with self._store.begin() as connection:
            repeated = (
                self._store.update(notices).where(same, _C.state == WAITING).values(count=_C.count + 1, text=text)
            )
            if connection.execute(repeated).rowcount:
                return False
            last = connection.scalar(select(func.max(_C.at)).where(self._store.own(notices), same))
            if last is not None and now - silence < last <= now:
                return False
            row = {"at": now, "receiver": receiver, "topic": topic, "key": key, "text": text}
            row |= {"count": 1, "state": WAITING, "tries": 0, "next_at": now, "problem": ""}
            connection.execute(self._store.insert(notices).values(row))
            is_waiting = (_C.receiver == receiver) & (_C.state == WAITING)
            newest = (
                select(_C.id).where(self._store.own(notices), is_waiting).order_by(_C.id.desc()).limit(WAITING_LIMIT)
            )
            too_many = self._store.update(notices).where(is_waiting, _C.id.not_in(newest))
            connection.execute(too_many.values(state=GIVEN_UP, problem="too many waited"))
            theirs = select(_C.id).where(self._store.own(notices), _C.receiver == receiver)
            old = theirs.order_by(_C.id.desc()).offset(KEPT_LIMIT).limit(1).scalar_subquery()
            connection.execute(self._store.delete(notices).where(_C.receiver == receiver, _C.id <= old))
        return True

    def waiting(self, receiver: str) -> tuple[NoticeRow, ...]:
        """Return a receiver's waiting notices, the oldest first."""
        return self._rows(
            self._store.select(notices).where(_C.receiver == receiver, _C.state == WAITING).order_by(_C.id)
        )

    def sent_at(self, receiver: str, since: float) -> tuple[float, ...]:
        """Return the instants of the messages sent to a receiver since then, the latest first."""
        is_sent = (_C.receiver == receiver) & (_C.state == SENT) & (_C.sent_at >= since)
        query = select(_C.sent_at).where(self._store.own(notices), is_sent).distinct().order_by(_C.sent_at.desc())
        return tuple(row.sent_at for row in self._store.rows(query))

    def count_waiting(self) -> int:
        """Count the waiting notices of all receivers."""
        return int(self._store.scalar(select(func.count()).where(self._store.own(notices), _C.state == WAITING)) or 0)

    def last_of(self, receiver: str, topic: str) -> float | None:
        """Return the instant of a receiver's last notice on a topic, sent or waiting."""
        query = select(func.max(_C.at)).where(self._store.own(notices), _C.receiver == receiver, _C.topic == topic)
        last: float | None = self._store.scalar(query)
        return last

    def mark_sent(self, ids: Collection[int]) -> None:
        """Record that these notices were sent now, in one message."""
        self._change(ids, {"state": SENT, "sent_at": self._clock(), "tries": _C.tries + 1, "problem": ""})

    def mark_failed(self, ids: Collection[int], problem: str, next_at: float | None) -> None:
        """Record that sending failed. The notices are tried again at `next_at`, or never if it is None."""
        state = {"next_at": next_at} if next_at is not None else {"state": GIVEN_UP}
        self._change(ids, {"tries": _C.tries + 1, "problem": problem} | state)

    def latest(self, limit: int = 50) -> tuple[NoticeRow, ...]:
        """Return the latest notices in any state, the newest first."""
        return self._rows(self._store.select(notices).order_by(_C.id.desc()).limit(limit))

    def prune(self) -> None:
        """Delete old notices, including those that wait for a receiver who no longer gets any."""
        self._store.execute(self._store.delete(notices).where(_C.at < self._clock() - MAX_AGE_S))

    def _change(self, ids: Collection[int], values: dict[str, Any]) -> None:
        self._store.execute(self._store.update(notices).where(_C.id.in_(ids)).values(values))

    def _rows(self, query: Select[Any]) -> tuple[NoticeRow, ...]:
        return tuple(NoticeRow(**row._mapping) for row in self._store.rows(query))
