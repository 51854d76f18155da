"""Requests for access, grants, pauses and codes: few rows, each written at once because somebody waits for the answer.

Every method of the stores waits for the disk: call it from a thread.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, select

from hedgerow.journal.reader import RequestRow, grant_of, is_running_pause
from hedgerow.journal.store import JournalEntry, Store, write_entries
from hedgerow.journal.tables import access_requests, codes, grants, pauses
from hedgerow.policies.access_subject import service_or_address
from hedgerow.policies.model import AccessRequest, DeviceId, Grant, Pause
from hedgerow.policies.time_model import LATER_BEDTIME, PauseKind

OPEN_REQUESTS_LIMIT = 50
"""Open requests per device. More of them would only bury those of others."""

_DAY_S = 86400.0
_REQUEST, _GRANT, _PAUSE = access_requests.c, grants.c, pauses.c


class NoSuchEntry(LookupError):
    """No entry has this id, or it was answered, used or revoked before. The caller's fault."""


def file_request(store: Store, connection: Connection, request: AccessRequest) -> int | None:
    """Write a request, or add to the count of the person's open request there for the same service, host or chore.

    Returns its id, or None if the device has too many open requests.
    """
    is_open = store.own(access_requests) & (_REQUEST.state == "open") & (_REQUEST.device == request.device)
    rows = connection.execute(
        select(_REQUEST.id, _REQUEST.host, _REQUEST.reason).where(
            is_open, _REQUEST.chore == request.chore, _REQUEST.person == request.person
        )
    )
    subject = service_or_address(request.host, request.reason)
    known: int | None = next((row.id for row in rows if service_or_address(row.host, row.reason) == subject), None)
    if known is not None:
        changes: dict[str, object] = {
            "asked": _REQUEST.asked + 1,
            "last_at": store.dialect.greatest(_REQUEST.last_at, request.when),
        }
        if request.note:
            changes["note"] = request.note
        connection.execute(access_requests.update().where(_REQUEST.id == known).values(changes))
        return known
    if (connection.scalar(select(func.count()).where(is_open)) or 0) >= OPEN_REQUESTS_LIMIT:
        return None
    row = {name: getattr(request, name) for name in ("device", "person", "host", "url", "reason", "note", "chore")}
    row |= {"at": request.when, "last_at": request.when, "asked": 1, "state": "open"}
    key = connection.execute(store.insert(access_requests).values(row)).inserted_primary_key
    return int(key[0]) if key else None


def answer_request(
    store: Store,
    connection: Connection,
    request_id: int,
    *,
    state: str,
    actor: str,
    now: float,
    grant_id: str | None = None,
    why: str = "",
) -> None:
    """Answer an open request. Raises `NoSuchEntry`."""
    answer = {"state": state, "answered_at": now, "answered_by": actor, "grant_id": grant_id, "why": why}
    change = store.update(access_requests).where(_REQUEST.id == request_id, _REQUEST.state == "open").values(answer)
    if not connection.execute(change).rowcount:
        raise NoSuchEntry(f"there is no open request {request_id}")


def write_grant(store: Store, connection: Connection, grant: Grant) -> None:
    """Write a grant. A later bedtime replaces the person's earlier ones, unless they end later.

    Everything that gives one does so here.
    """
    if grant.subject == LATER_BEDTIME:
        replaced = _is_later_bedtime(grant.person) & _GRANT.revoked_at.is_(None) & (_GRANT.ends <= grant.ends)
        ending = {"revoked_at": grant.starts, "revoked_by": grant.actor}
        connection.execute(store.update(grants).where(replaced).values(ending))
    connection.execute(store.insert(grants).values(asdict(grant)))


def end_grant(store: Store, connection: Connection, grant_id: str, actor: str, now: float) -> None:
    """End a grant. Raises `NoSuchEntry` if it was ended before."""
    ending = store.update(grants).where(_GRANT.id == grant_id, _GRANT.revoked_at.is_(None))
    if not connection.execute(ending.values(revoked_at=now, revoked_by=actor)).rowcount:
        raise NoSuchEntry(f"there is no grant {grant_id}")


def undo_later_bedtime(store: Store, connection: Connection, grant_id: str, actor: str, now: float) -> Grant | None:
    """End a later bedtime. Those that it replaced and that are not over are in force again; returns the last to end, or
    None.

    Raises `NoSuchEntry` if it was ended or replaced before.
    """
    this = (_GRANT.id == grant_id) & (_GRANT.subject == LATER_BEDTIME) & _GRANT.revoked_at.is_(None)
    row = connection.execute(store.select(grants).where(this)).first()
    if row is None:
        raise NoSuchEntry(f"there is no later bedtime {grant_id}")
    replaced = _is_later_bedtime(row.person) & (_GRANT.revoked_at == row.starts) & (_GRANT.ends > now)
    earlier = connection.execute(store.select(grants).where(replaced).order_by(_GRANT.ends.desc())).all()
    connection.execute(store.update(grants).where(replaced).values(revoked_at=None, revoked_by=None))
    connection.execute(store.update(grants).where(this).values(revoked_at=now, revoked_by=actor))
    return grant_of(earlier[0]) if earlier else None


def _is_later_bedtime(person: str | None) -> ColumnElement[bool]:
    return (_GRANT.subject == LATER_BEDTIME) & (_GRANT.person == person)


def pauses_of(device: str | None, person: str | None) -> ColumnElement[bool]:
    """Return the condition for the pauses of exactly this device or person, or with neither those of everybody."""
    return _PAUSE.device.is_not_distinct_from(device) & _PAUSE.person.is_not_distinct_from(person)


def begin_pause(store: Store, connection: Connection, pause: Pause) -> None:
    """Write a pause. Everything that begins one does so here."""
    connection.execute(store.insert(pauses).values(asdict(pause)))


def move_pauses(store: Store, connection: Connection, which: ColumnElement[bool], *, seconds: float) -> None:
    """Let these pauses end so much later, or sooner. Everything that moves one does so here."""
    connection.execute(store.update(pauses).where(which).values(ends=_PAUSE.ends + seconds))


def end_pauses(store: Store, connection: Connection, which: ColumnElement[bool], *, actor: str, now: float) -> int:
    """End those of these pauses that run, and return their number. Everything that ends one does so here."""
    ending = store.update(pauses).where(which, is_running_pause(now)).values(ended_at=now, ended_by=actor)
    return connection.execute(ending).rowcount


class GrantStore:
    """Requests, grants and pauses. Each change is a transaction of its own."""

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.time) -> None:
        self._store, self._clock = store, clock

    def file(self, request: AccessRequest) -> int | None:
        """File a request at once; see `file_request`."""
        with self._store.begin() as connection:
            return file_request(self._store, connection, request)

    def request(self, request_id: int) -> RequestRow:
        """Return the request with this id. Raises `NoSuchEntry`."""
        rows = self._store.rows(self._store.select(access_requests).where(_REQUEST.id == request_id))
        if not rows:
            raise NoSuchEntry(f"there is no request {request_id}")
        return RequestRow(**rows[0]._mapping)

    def approve(self, request_id: int, grant: Grant, *entries: JournalEntry, also: Iterable[int] = ()) -> None:
        """Answer an open request with a grant; both are written, or neither. Raises `NoSuchEntry`.

        `also` are others that it answers too, if they are still open.
        """
        with self._store.begin() as connection:
            self._answer(connection, (request_id, *also), state="approved", actor=grant.actor, grant_id=grant.id)
            write_grant(self._store, connection, grant)
            write_entries(self._store, connection, entries)

    def deny(self, request_id: int, actor: str, why: str = "", also: Iterable[int] = ()) -> None:
        """Refuse an open request, and those `also` that are still open, with a reason. Raises `NoSuchEntry`."""
        with self._store.begin() as connection:
            self._answer(connection, (request_id, *also), state="denied", actor=actor, why=why)

    def _answer(
        self,
        connection: Connection,
        ids: Sequence[int],
        *,
        state: str,
        actor: str,
        grant_id: str | None = None,
        why: str = "",
    ) -> None:
        """Answer the first of some open requests, and the others if they are still open. Raises `NoSuchEntry`."""
        answer = partial(
            answer_request,
            self._store,
            connection,
            state=state,
            actor=actor,
            now=self._clock(),
            grant_id=grant_id,
            why=why,
        )
        answer(ids[0])
        for id in ids[1:]:
            with contextlib.suppress(NoSuchEntry):
                answer(id)

    def give(self, grant: Grant, *entries: JournalEntry) -> None:
        """Write a grant that answers no request."""
        with self._store.begin() as connection:
            write_grant(self._store, connection, grant)
            write_entries(self._store, connection, entries)

    def clear(self, device: DeviceId, actor: str) -> None:
        """End a device's grants and refuse its open requests, because its next user is another person."""
        now = self._clock()
        with self._store.begin() as connection:
            connection.execute(
                self._store.update(grants).where(_holds(device, now)).values(revoked_at=now, revoked_by=actor)
            )
            answer = {"state": "denied", "answered_at": now, "answered_by": actor}
            connection.execute(self._store.update(access_requests).where(_is_open(device)).values(answer))

    def move(self, device: DeviceId, to: DeviceId) -> None:
        """Give a device's grants, open requests and pauses to another one, because its user moves there."""
        now = self._clock()
        with self._store.begin() as connection:
            for table, is_theirs in (
                (grants, _holds(device, now)),
                (access_requests, _is_open(device)),
                (pauses, (_PAUSE.device == device) & is_running_pause(now)),
            ):
                connection.execute(self._store.update(table).where(is_theirs).values(device=to))

    def revoke(self, grant_id: str, actor: str) -> None:
        """End a grant now. Raises `NoSuchEntry`."""
        with self._store.begin() as connection:
            end_grant(self._store, connection, grant_id, actor, self._clock())

    def pause(
        self,
        actor: str,
        *entries: JournalEntry,
        device: DeviceId | None = None,
        person: str | None = None,
        ends: float | None = None,
        note: str = "",
        spared_person: str | None = None,
        spared_device: DeviceId | None = None,
        kind: PauseKind = PauseKind.ALL,
    ) -> Pause:
        """Pause a device, a person or (with neither) everybody, until `ends` or until resumed.

        It replaces an earlier pause.
        """
        pause = Pause(
            secrets.token_hex(6), actor, self._clock(), ends, device, person, note, spared_person, spared_device, kind
        )
        with self._store.begin() as connection:
            end_pauses(self._store, connection, pauses_of(device, person), actor=actor, now=pause.starts)
            begin_pause(self._store, connection, pause)
            write_entries(self._store, connection, entries)
        return pause

    def resume(
        self, actor: str, *entries: JournalEntry, device: DeviceId | None = None, person: str | None = None
    ) -> int:
        """End the pauses of exactly this device or person, or those of everybody.

        Returns their number. Entries need at least one.
        """
        with self._store.begin() as connection:
            ended = end_pauses(self._store, connection, pauses_of(device, person), actor=actor, now=self._clock())
            write_entries(self._store, connection, entries if ended else ())
            return ended


def _holds(device: DeviceId, now: float) -> ColumnElement[bool]:
    return (_GRANT.device == device) & _GRANT.revoked_at.is_(None) & (_GRANT.ends.is_(None) | (_GRANT.ends > now))


def _is_open(device: DeviceId) -> ColumnElement[bool]:
    return (_REQUEST.device == device) & (_REQUEST.state == "open")


@dataclass(frozen=True, slots=True)
class AccessCode:
    """A code for the phone, to be entered at `device` or at any device of `person`.

    It opens `subject` for `how_long` and answers the request `request_id` with that, or it adds `minutes` (for
    `subject`, or for all use) to today's budget. Instants are seconds since the epoch.
    """

    id: str
    actor: str
    made_at: float
    expires: float
    device: str | None = None
    person: str | None = None
    subject: str = ""
    how_long: str = ""
    minutes: int = 0
    request_id: int | None = None


_CODE_COLUMNS = tuple(field.name for field in fields(AccessCode))


class CodeStore:
    """Codes for the phone, each of which can be used once."""

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.time) -> None:
        self._store, self._clock = store, clock

    def add(self, code: AccessCode, digits: str) -> None:
        self._store.execute(self._store.insert(codes).values(asdict(code) | {"digest": _code_digest(code.id, digits)}))

    def open(self) -> tuple[AccessCode, ...]:
        """Return the codes that can still be used, the oldest first."""
        return tuple(_code(row) for row in self._open())

    def match(self, digits: str) -> tuple[AccessCode, ...]:
        """Return the open codes with these digits. All codes are compared, each in constant time."""
        return tuple(
            [_code(row) for row in self._open() if hmac.compare_digest(row.digest, _code_digest(row.id, digits))]
        )

    def use(self, code_id: str) -> None:
        """Use a code up.

        Raises `NoSuchEntry` if it was used or has expired, so that of two people who enter it one succeeds.
        """
        now = self._clock()
        change = self._store.update(codes).where(
            codes.c.id == code_id, codes.c.used_at.is_(None), codes.c.expires > now
        )
        if not self._store.execute(change.values(used_at=now)):
            raise NoSuchEntry("there is no such code, or it was used already")

    def prune(self) -> None:
        """Delete the codes that expired more than a day ago."""
        self._store.execute(self._store.delete(codes).where(codes.c.expires < self._clock() - _DAY_S))

    def _open(self) -> Sequence[Row[Any]]:
        is_open = codes.c.used_at.is_(None) & (codes.c.expires > self._clock())
        return self._store.rows(self._store.select(codes).where(is_open).order_by(codes.c.made_at))


def _code(row: Row[Any]) -> AccessCode:
    return AccessCode(**{name: row._mapping[name] for name in _CODE_COLUMNS})


def _code_digest(code_id: str, digits: str) -> str:
    return hashlib.sha256(f"{code_id}:{digits}".encode()).hexdigest()
