"""Notices that wait to be sent, and what became of those before: kept on disk, so that neither a restart nor a dead service loses one."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, Row, func, select

from hedgerow.journal.tables import notices

WAITING, SENT, GIVEN_UP = "waiting", "sent", "given up"

WAITING_LIMIT = 200
"""Notices that wait for one receiver; the oldest are given up for newer ones."""

MAX_AGE_S = 30 * 86400.0

_C = notices.c


@dataclass(frozen=True, slots=True)
class NoticeRow:
    """A notice to one receiver. `count` is how often the same was to be told; it is not tried again before `next_at`."""

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
    """Every method waits for the disk: call it from a thread."""

    def __init__(self, engine: Engine, *, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._clock = clock

    def put(self, receiver: str, topic: str, key: str, text: str, silence: float = 0.0) -> bool:
        """Has a notice wait; False where the same one waits already, or was told less than `silence` seconds ago.

        The text of one that waits becomes the newer one.
        """
        now = self._clock()
        same = (_C.receiver == receiver) & (_C.topic == topic) & (_C.key == key)
        with self._engine.begin() as connection:
            more = notices.update().where(same, _C.state == WAITING).values(count=_C.count + 1, text=text)
            if connection.execute(more).rowcount:
                return False
            told = connection.scalar(select(func.max(_C.at)).where(same))
            if told is not None and now - silence < told <= now:
                return False
            row = {"at": now, "receiver": receiver, "topic": topic, "key": key, "text": text}
            connection.execute(notices.insert().values(row | {"count": 1, "state": WAITING, "tries": 0, "next_at": now, "problem": ""}))
            kept = select(_C.id).where(_C.receiver == receiver, _C.state == WAITING).order_by(_C.id.desc()).limit(WAITING_LIMIT)
            too_many = notices.update().where(_C.receiver == receiver, _C.state == WAITING, _C.id.not_in(kept))
            connection.execute(too_many.values(state=GIVEN_UP, problem="too many waited"))
        return True

    def waiting(self, receiver: str) -> tuple[NoticeRow, ...]:
        """The oldest first."""
        return self._rows(select(notices).where(_C.receiver == receiver, _C.state == WAITING).order_by(_C.id))

    def sent_at(self, receiver: str, since: float) -> tuple[float, ...]:
        """When this receiver was sent something since then, each message once, the latest first."""
        query = select(_C.sent_at).where(_C.receiver == receiver, _C.state == SENT, _C.sent_at >= since).distinct()
        with self._engine.connect() as connection:
            return tuple(connection.scalars(query.order_by(_C.sent_at.desc())))

    def count_waiting(self) -> int:
        """How many notices wait, for whomever."""
        with self._engine.connect() as connection:
            return int(connection.scalar(select(func.count()).where(_C.state == WAITING)) or 0)

    def last_of(self, receiver: str, topic: str) -> float | None:
        """When the receiver was last told, or is to be told, something of a topic."""
        with self._engine.connect() as connection:
            last: float | None = connection.scalar(select(func.max(_C.at)).where(_C.receiver == receiver, _C.topic == topic))
        return last

    def mark_sent(self, ids: Collection[int]) -> None:
        """They went out in one message, now."""
        self._change(ids, {"state": SENT, "sent_at": self._clock(), "tries": _C.tries + 1, "problem": ""})

    def mark_failed(self, ids: Collection[int], problem: str, next_at: float | None) -> None:
        """They did not go out: they are tried again at `next_at`, or with None never."""
        again = {"next_at": next_at} if next_at is not None else {"state": GIVEN_UP}
        self._change(ids, {"tries": _C.tries + 1, "problem": problem} | again)

    def latest(self, limit: int = 50) -> tuple[NoticeRow, ...]:
        """The latest first, whatever became of them."""
        return self._rows(select(notices).order_by(_C.id.desc()).limit(limit))

    def prune(self) -> None:
        """Forgets what is over; what waits for somebody who gets no notices any more goes with it."""
        with self._engine.begin() as connection:
            connection.execute(notices.delete().where(_C.at < self._clock() - MAX_AGE_S))

    def _change(self, ids: Collection[int], values: dict[str, Any]) -> None:
        with self._engine.begin() as connection:
            connection.execute(notices.update().where(_C.id.in_(ids)).values(values))

    def _rows(self, query: Any) -> tuple[NoticeRow, ...]:
        with self._engine.connect() as connection:
            return tuple(_row(row) for row in connection.execute(query))


def _row(row: Row[Any]) -> NoticeRow:
    return NoticeRow(**row._mapping)
