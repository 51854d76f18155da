"""Requests for access, grants and pauses: few rows, each written at once, because somebody waits for the answer."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

from sqlalchemy import Connection, Engine, func, select

from hedgerow.journal.read import RequestRow, pause_of
from hedgerow.journal.tables import access_requests, grants, pauses
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


class Ledger:
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
