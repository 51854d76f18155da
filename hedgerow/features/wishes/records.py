"""Wishes in the journal. Everything here waits for the disk: call it from a thread.

A wish and what it gives are written in one transaction, so that no answer is half done.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, select

from hedgerow.dashboards.words.languages import message
from hedgerow.journal.access_store import NoSuchEntry
from hedgerow.journal.reader import RequestRow
from hedgerow.journal.store import Store
from hedgerow.journal.tables import access_requests, wishes
from hedgerow.policies.time_model import LATER_BEDTIME

KEPT_S = 30 * 86400.0
"""Seconds for which an answered wish is kept."""
LAPSES_S = 18 * 3600.0
"""Seconds after which nobody can say yes to minutes or a bedtime any more: they were for that day."""
_SHOWN = 50
_W = wishes.c


class WishKind(StrEnum):
    """Kind of a wish."""

    MINUTES = "minutes"
    BEDTIME = "bedtime"
    RULE = "rule"


class WishState(StrEnum):
    """State of a wish. `TALKING` is open for both sides until one of them closes it."""

    OPEN = "open"
    TALKING = "talking"
    GRANTED = "granted"
    DENIED = "denied"
    CLOSED = "closed"


_READY_NO = {
    WishKind.MINUTES: message("Homework first."),
    WishKind.BEDTIME: message("It is late: sleep comes first."),
    WishKind.RULE: message("Let’s look at it together at the weekend."),
}
"""The reason for a no that is offered first: one tap says both."""

UNANSWERED = (WishState.OPEN, WishState.TALKING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A wish of `person`, asked for on `device`. Instants are seconds since the epoch.

    `minutes` are those asked for, `given` those that a parent gave. `subject` is the category or service that they are
    for, empty for all use, or the rule to change, empty for none in particular. `base` is the bedtime from which later
    minutes count, or the end of what is open for a while. `result` is the id of the minutes or the permission that the
    answer gave.
    """

    id: int
    at: float
    last_at: float
    asked: int
    person: str
    device: str
    kind: WishKind
    subject: str
    minutes: int
    given: int
    note: str
    state: WishState
    why: str
    base: float | None
    answered_at: float | None
    answered_by: str | None
    result: str | None

    @property
    def until(self) -> float | None:
        """The bedtime asked for, or the one that was given, or the end of what is open for a while."""
        return None if self.base is None else self.base + 60 * (self.given or self.minutes)

    @property
    def fewer(self) -> list[int]:
        """Fewer minutes to offer in answer, the least first."""
        return fewer_minutes(self.minutes)

    @property
    def ready_no(self) -> str:
        """A message with the reason for a no that is offered first."""
        return _READY_NO[self.kind]

    def has_lapsed(self, now: float) -> bool:
        """Return True if it was for a day that is over, or if the clock was wrong then."""
        return self.kind is not WishKind.RULE and self.state in UNANSWERED and abs(now - self.last_at) > LAPSES_S


def fewer_minutes(minutes: int) -> list[int]:
    """Return fewer minutes to offer, the least first.

    >>> fewer_minutes(30), fewer_minutes(20), fewer_minutes(10), fewer_minutes(1)
    ([10, 15], [5, 10], [5], [])
    """
    return sorted({each for each in (5, 10, 15, 30, 60) if each <= max(minutes // 2, 5) and each < minutes})[-2:]


def is_openable(subject: str) -> bool:
    """Return True for a rule that a yes can change: one that closes a service, a topic or a site."""
    return subject not in {"", LATER_BEDTIME, "budget"}


def notice_key(device: str, wish_id: int) -> str:
    """Return the key of notices about a wish."""
    return f"{device} wish {wish_id}"


def question_key(wish_id: int) -> str:
    """Return the `grant_id` of requests that became a wish to talk about."""
    return f"wish {wish_id}"


_COLUMNS = tuple(each.name for each in fields(Wish))


def wish_of(row: Row[Any]) -> Wish:
    """Return a wish from its row."""
    values = {name: row._mapping[name] for name in _COLUMNS}
    return Wish(**values | {"kind": WishKind(values["kind"]), "state": WishState(values["state"])})


class WishStore:
    """The wishes of one site."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def wish(self, wish_id: int) -> Wish:
        """Return a wish. Raises `NoSuchEntry`."""
        rows = self._store.rows(self._store.select(wishes).where(_W.id == wish_id))
        if not rows:
            raise NoSuchEntry(f"there is no wish {wish_id}")
        return wish_of(rows[0])

    def of_person(self, person: str, now: float) -> tuple[Wish, ...]:
        """Return what a person wished for within 30 days or still does, the newest first."""
        return self._found(_W.person == person, _is_kept(now))

    def unanswered(self, now: float) -> tuple[Wish, ...]:
        """Return the wishes that somebody can answer, the newest first."""
        found = self._found(_W.state.in_(UNANSWERED))
        return tuple(each for each in found if not each.has_lapsed(now))

    def answered(self, now: float) -> tuple[Wish, ...]:
        """Return the wishes of 30 days that are answered or lapsed, the newest first."""
        found = self._found(_is_kept(now))
        return tuple(each for each in found if each.state not in UNANSWERED or each.has_lapsed(now))

    def file(self, values: Mapping[str, Any], now: float) -> int:
        """Write a wish, or bring the person's open one of the same kind and subject up to date. Returns its id.

        Those that are kept no longer are deleted.
        """
        same = (
            (_W.person == values["person"])
            & (_W.kind == values["kind"])
            & (_W.subject == values["subject"])
            & (_W.state == WishState.OPEN)
            & _W.last_at.between(now - LAPSES_S, now + LAPSES_S)
        )
        with self._store.begin() as connection:
            connection.execute(self._store.delete(wishes).where(_is_forgotten(now)))
            known = connection.scalar(select(_W.id).where(self._store.own(wishes), same).order_by(_W.id.desc()))
            if known is not None:
                changes = {**values, "last_at": now, "asked": _W.asked + 1}
                connection.execute(self._store.update(wishes).where(_W.id == known).values(changes))
                return int(known)
            row = {**values, "at": now, "last_at": now, "asked": 1, "given": 0, "state": WishState.OPEN, "why": ""}
            key = connection.execute(self._store.insert(wishes).values(row)).inserted_primary_key
        return int(key[0]) if key else 0

    def insert_talk(
        self, connection: Connection, asked: RequestRow, person: str, *, actor: str, why: str, now: float
    ) -> int:
        """Write a question about a site or an app that is to be talked about. Returns its id."""
        row: dict[str, object] = {"person": person, "device": asked.device, "kind": WishKind.RULE, "note": asked.note}
        row |= {"subject": asked.subject, "at": asked.at, "last_at": asked.last_at, "asked": asked.asked}
        row |= {"minutes": 0, "given": 0, "state": WishState.TALKING, "why": why}
        row |= {"answered_at": now, "answered_by": actor}
        key = connection.execute(self._store.insert(wishes).values(row)).inserted_primary_key
        return int(key[0]) if key else 0

    def delete(self, connection: Connection, wish_id: int) -> None:
        connection.execute(self._store.delete(wishes).where(_W.id == wish_id))

    def change(self, connection: Connection, wish_id: int, before: Iterable[WishState], **values: object) -> None:
        """Change a wish that is in one of these states. Raises `NoSuchEntry`."""
        is_so = (_W.id == wish_id) & _W.state.in_(tuple(before))
        if not connection.execute(self._store.update(wishes).where(is_so).values(values)).rowcount:
            raise NoSuchEntry(f"there is no open wish {wish_id}")

    def _found(self, *conditions: ColumnElement[bool]) -> tuple[Wish, ...]:
        query = self._store.select(wishes).where(*conditions).order_by(_W.id.desc()).limit(_SHOWN)
        return tuple(map(wish_of, self._store.rows(query)))


def reopen_requests(store: Store, connection: Connection, wish: Wish) -> int:
    """Open the requests again that became a wish to talk about, and return their number."""
    requests = access_requests.c
    opened = {"state": "open", "answered_at": None, "answered_by": None, "grant_id": None, "why": ""}
    change = store.update(access_requests).where(requests.grant_id == question_key(wish.id), requests.state == "denied")
    return connection.execute(change.values(opened)).rowcount


def _is_kept(now: float) -> ColumnElement[bool]:
    is_recent: ColumnElement[bool] = func.coalesce(_W.answered_at, _W.last_at) > now - KEPT_S
    return is_recent | _W.state.in_(UNANSWERED)


def _is_forgotten(now: float) -> ColumnElement[bool]:
    """Return the condition for what was answered or lapsed more than 30 days ago."""
    is_over = _W.state.not_in(UNANSWERED) | (_W.kind != WishKind.RULE)
    is_old: ColumnElement[bool] = func.coalesce(_W.answered_at, _W.last_at) < now - KEPT_S
    return is_old & is_over
