"""Requests for access, grants and pauses: few rows, each written at once, because somebody waits for the answer."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Engine, func, select

from hedgerow.journal.reader import RequestRow, pause_of
from hedgerow.journal.tables import access_requests, codes, grants, pauses, vouchers
from hedgerow.policies.model import AccessRequest, DeviceId, Grant, Pause

OPEN_REQUESTS_LIMIT = 50
"""Open requests of one device; more of them would only bury those of the others."""

_REQUEST, _GRANT, _PAUSE = access_requests.c, grants.c, pauses.c


class NoSuchEntry(LookupError):
    """No request or grant has this id, or it was answered or revoked already. The caller's fault."""


def file_request(connection: Connection, request: AccessRequest) -> int | None:
    """Writes a request, or counts one more asking if the same device has one open for the same host.

    Returns its id, or None if the device has too many open ones.
    """
    is_open = (_REQUEST.state == "open") & (_REQUEST.device == request.device)
    known: int | None = connection.scalar(select(_REQUEST.id).where(is_open, _REQUEST.host == request.host))
    if known is not None:
        again: dict[str, object] = {"asked": _REQUEST.asked + 1, "last_at": func.max(_REQUEST.last_at, request.when)}
        if request.note:
            again["note"] = request.note
        connection.execute(access_requests.update().where(_REQUEST.id == known).values(again))
        return known
    if (connection.scalar(select(func.count()).where(is_open)) or 0) >= OPEN_REQUESTS_LIMIT:
        return None
    row = {name: getattr(request, name) for name in ("device", "person", "host", "url", "reason", "note")}
    row |= {"at": request.when, "last_at": request.when, "asked": 1, "state": "open"}
    key = connection.execute(access_requests.insert().values(row)).inserted_primary_key
    return int(key[0]) if key else None


class GrantStore:
    """Writes each change in a transaction of its own. Every method waits for the disk: call it from a thread."""

    def __init__(self, engine: Engine, *, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._clock = clock

    def file(self, request: AccessRequest) -> int | None:
        """Files a request at once; see `file_request`."""
        with self._engine.begin() as connection:
            return file_request(connection, request)

    def request(self, request_id: int) -> RequestRow:
        """The request with this id. Raises `NoSuchEntry`."""
        with self._engine.connect() as connection:
            row = connection.execute(select(access_requests).where(_REQUEST.id == request_id)).first()
        if row is None:
            raise NoSuchEntry(f"there is no request {request_id}")
        return RequestRow(**row._mapping)

    def approve(self, request_id: int, grant: Grant) -> None:
        """Answers an open request with a grant: both are written, or neither. Raises `NoSuchEntry`."""
        with self._engine.begin() as connection:
            self._answer(connection, request_id, "approved", grant.giver, grant.id)
            connection.execute(grants.insert().values(_grant_row(grant)))

    def deny(self, request_id: int, giver: str) -> None:
        """Answers an open request with no. Raises `NoSuchEntry`."""
        with self._engine.begin() as connection:
            self._answer(connection, request_id, "denied", giver, None)

    def give(self, grant: Grant) -> None:
        """Writes a grant that nobody asked for."""
        with self._engine.begin() as connection:
            connection.execute(grants.insert().values(_grant_row(grant)))

    def clear(self, device: DeviceId, giver: str) -> None:
        """Ends what was granted to a device, and closes what was asked for there: the next who sits at it is somebody else."""
        now = self._clock()
        with self._engine.begin() as connection:
            mine = (_GRANT.device == device) & _GRANT.revoked_at.is_(None) & (_GRANT.ends.is_(None) | (_GRANT.ends > now))
            connection.execute(grants.update().where(mine).values(revoked_at=now, revoked_by=giver))
            asked = (_REQUEST.device == device) & (_REQUEST.state == "open")
            connection.execute(access_requests.update().where(asked).values(state="denied", answered_at=now, answered_by=giver))

    def revoke(self, grant_id: str, giver: str) -> None:
        """Ends a grant now. Raises `NoSuchEntry`."""
        with self._engine.begin() as connection:
            change = grants.update().where(_GRANT.id == grant_id, _GRANT.revoked_at.is_(None))
            if not connection.execute(change.values(revoked_at=self._clock(), revoked_by=giver)).rowcount:
                raise NoSuchEntry(f"there is no grant {grant_id}")

    def pause(self, giver: str, *, device: DeviceId | None = None, person: str | None = None, ends: float | None = None) -> Pause:
        """Holds a device, a person or (neither given) everybody from now on, until `ends` or until resumed. It replaces an earlier one."""
        with self._engine.begin() as connection:
            self._end_pauses(connection, giver, device, person)
            row = {
                "id": secrets.token_hex(6),
                "device": device,
                "person": person,
                "giver": giver,
                "starts": self._clock(),
                "ends": ends,
                "note": "",
            }
            made = connection.execute(pauses.insert().values(row).returning(pauses)).one()
        return pause_of(made)

    def resume(self, giver: str, *, device: DeviceId | None = None, person: str | None = None) -> int:
        """Ends the pauses of exactly this device or person (or those of everybody); returns how many there were."""
        with self._engine.begin() as connection:
            return self._end_pauses(connection, giver, device, person)

    def _answer(self, connection: Connection, request_id: int, state: str, giver: str, grant_id: str | None) -> None:
        answer = {"state": state, "answered_at": self._clock(), "answered_by": giver, "grant_id": grant_id}
        change = access_requests.update().where(_REQUEST.id == request_id, _REQUEST.state == "open").values(answer)
        if not connection.execute(change).rowcount:
            raise NoSuchEntry(f"there is no open request {request_id}")

    def _end_pauses(self, connection: Connection, giver: str, device: DeviceId | None, person: str | None) -> int:
        whose = _PAUSE.device.is_not_distinct_from(device) & _PAUSE.person.is_not_distinct_from(person)
        now = self._clock()
        holds = _PAUSE.ended_at.is_(None) & (_PAUSE.ends.is_(None) | (_PAUSE.ends > now))
        return connection.execute(pauses.update().where(whose, holds).values(ended_at=now, ended_by=giver)).rowcount


def _grant_row(grant: Grant) -> dict[str, object]:
    names = ("id", "subject", "giver", "starts", "ends", "device", "person", "note")
    return {name: getattr(grant, name) for name in names}


@dataclass(frozen=True, slots=True)
class AccessCode:
    """What a code gives, and where it may be typed: at `device`, or at any device of `person`.

    It opens `subject` for `how_long`, and answers the request `request_id` with that; or it gives `minutes` (of `subject`, or of all
    use) on top of today's budget. Instants are seconds since the epoch.
    """

    id: str
    giver: str
    made_at: float
    expires: float
    device: str | None = None
    person: str | None = None
    subject: str = ""
    how_long: str = ""
    minutes: int = 0
    request_id: int | None = None


_CODE_COLUMNS = ("id", "giver", "made_at", "expires", "device", "person", "subject", "how_long", "minutes", "request_id")


class CodeStore:
    """Every method waits for the disk: call it from a thread."""

    def __init__(self, engine: Engine, *, clock: Callable[[], float] = time.time) -> None:
        self._engine, self._clock = engine, clock

    def add(self, code: AccessCode, digits: str) -> None:
        row = {name: getattr(code, name) for name in _CODE_COLUMNS}
        with self._engine.begin() as connection:
            connection.execute(codes.insert().values(row | {"digest": _code_digest(code.id, digits)}))

    def open(self) -> tuple[AccessCode, ...]:
        """Those that can still be used, the oldest first."""
        return tuple(code for code, _ in self._open())

    def match(self, digits: str) -> tuple[AccessCode, ...]:
        """The open codes with these digits. All are compared, each in the same time, whatever is found."""
        return tuple([code for code, digest in self._open() if hmac.compare_digest(digest, _code_digest(code.id, digits))])

    def use(self, code_id: str) -> None:
        """Uses a code up. Raises `NoSuchEntry` where it is used or over already: of two who type it, one has it."""
        now = self._clock()
        with self._engine.begin() as connection:
            change = codes.update().where(codes.c.id == code_id, codes.c.used_at.is_(None), codes.c.expires > now)
            if not connection.execute(change.values(used_at=now)).rowcount:
                raise NoSuchEntry("there is no such code, or it was used already")

    def prune(self) -> None:
        """Forgets those that were over a day ago."""
        with self._engine.begin() as connection:
            connection.execute(codes.delete().where(codes.c.expires < self._clock() - 86400))

    def _open(self) -> list[tuple[AccessCode, str]]:
        query = select(codes).where(codes.c.used_at.is_(None), codes.c.expires > self._clock()).order_by(codes.c.made_at)
        with self._engine.connect() as connection:
            rows = connection.execute(query).all()
        return [(AccessCode(**{name: row._mapping[name] for name in _CODE_COLUMNS}), row.digest) for row in rows]


def _code_digest(code_id: str, digits: str) -> str:
    return hashlib.sha256(f"{code_id}:{digits}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Voucher:
    """So many minutes at a seat for a guest of `band` (child or adult), to be begun before `expires` (seconds since the epoch)."""

    band: str
    minutes: int
    giver: str
    made_at: float
    expires: float


@dataclass(frozen=True, slots=True)
class VoucherCount:
    """How many vouchers of one kind can still be used."""

    band: str
    minutes: int
    expires: float
    count: int


class VoucherStore:
    """Every method waits for the disk: call it from a thread."""

    def __init__(self, engine: Engine, *, clock: Callable[[], float] = time.time) -> None:
        self._engine, self._clock = engine, clock

    def add(self, voucher: Voucher, codes: Iterable[str]) -> None:
        """One voucher for each code."""
        row = {"band": voucher.band, "minutes": voucher.minutes, "giver": voucher.giver, "made_at": voucher.made_at}
        rows = [row | {"digest": _voucher_digest(code), "expires": voucher.expires} for code in codes]
        with self._engine.begin() as connection:
            connection.execute(vouchers.insert(), rows)

    def find(self, code: str) -> Voucher | None:
        """The voucher with this code, if it can still be used."""
        with self._engine.connect() as connection:
            row = connection.execute(select(vouchers).where(self._is_open(), vouchers.c.digest == _voucher_digest(code))).first()
        return None if row is None else Voucher(row.band, row.minutes, row.giver, row.made_at, row.expires)

    def use(self, code: str) -> bool:
        """Uses it up; False where that was done already: of two who type it, one has it."""
        with self._engine.begin() as connection:
            change = vouchers.update().where(self._is_open(), vouchers.c.digest == _voucher_digest(code))
            return bool(connection.execute(change.values(used_at=self._clock())).rowcount)

    def open(self) -> tuple[VoucherCount, ...]:
        """Those that can still be used, by kind."""
        kind = (vouchers.c.band, vouchers.c.minutes, vouchers.c.expires)
        query = select(*kind, func.count().label("total")).where(self._is_open()).group_by(*kind).order_by(vouchers.c.expires)
        with self._engine.connect() as connection:
            return tuple(VoucherCount(row.band, row.minutes, row.expires, row.total) for row in connection.execute(query))

    def withdraw(self) -> int:
        """Makes all vouchers useless that were not used yet, such as those of a lost sheet; returns how many."""
        with self._engine.begin() as connection:
            return int(connection.execute(vouchers.update().where(self._is_open()).values(used_at=self._clock())).rowcount)

    def prune(self) -> None:
        """Forgets those that were used or over a day ago."""
        limit = self._clock() - 86400
        with self._engine.begin() as connection:
            connection.execute(vouchers.delete().where((vouchers.c.expires < limit) | (vouchers.c.used_at < limit)))

    def _is_open(self) -> ColumnElement[bool]:
        return vouchers.c.used_at.is_(None) & (vouchers.c.expires > self._clock())


def _voucher_digest(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()
