"""Codes that somebody reads out over the phone: short, for one use, and soon over. Their digits are nowhere written down."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Engine, select

from hedgerow.journal.ledger import NoSuchEntry
from hedgerow.journal.tables import codes


@dataclass(frozen=True, slots=True)
class Code:
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


_NAMES = ("id", "giver", "made_at", "expires", "device", "person", "subject", "how_long", "minutes", "request_id")


class CodeStore:
    """Every method waits for the disk: call it from a thread."""

    def __init__(self, engine: Engine, *, clock: Callable[[], float] = time.time) -> None:
        self._engine, self._clock = engine, clock

    def add(self, code: Code, digits: str) -> None:
        row = {name: getattr(code, name) for name in _NAMES}
        with self._engine.begin() as connection:
            connection.execute(codes.insert().values(row | {"digest": _digest(code.id, digits)}))

    def open(self) -> tuple[Code, ...]:
        """Those that can still be used, the oldest first."""
        return tuple(code for code, _ in self._open())

    def match(self, digits: str) -> tuple[Code, ...]:
        """The open codes with these digits. All are compared, each in the same time, whatever is found."""
        return tuple([code for code, digest in self._open() if hmac.compare_digest(digest, _digest(code.id, digits))])

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

    def _open(self) -> list[tuple[Code, str]]:
        query = select(codes).where(codes.c.used_at.is_(None), codes.c.expires > self._clock()).order_by(codes.c.made_at)
        with self._engine.connect() as connection:
            rows = connection.execute(query).all()
        return [(Code(**{name: row._mapping[name] for name in _NAMES}), row.digest) for row in rows]


def _digest(code_id: str, digits: str) -> str:
    return hashlib.sha256(f"{code_id}:{digits}".encode()).hexdigest()
