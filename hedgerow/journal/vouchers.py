"""Vouchers of a café: printed codes, each of which opens a seat once. Their codes are nowhere written down."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Engine, func, select

from hedgerow.journal.tables import vouchers


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
        rows = [row | {"digest": _digest(code), "expires": voucher.expires} for code in codes]
        with self._engine.begin() as connection:
            connection.execute(vouchers.insert(), rows)

    def find(self, code: str) -> Voucher | None:
        """The voucher with this code, if it can still be used."""
        with self._engine.connect() as connection:
            row = connection.execute(select(vouchers).where(self._is_open(), vouchers.c.digest == _digest(code))).first()
        return None if row is None else Voucher(row.band, row.minutes, row.giver, row.made_at, row.expires)

    def use(self, code: str) -> bool:
        """Uses it up; False where that was done already: of two who type it, one has it."""
        with self._engine.begin() as connection:
            change = vouchers.update().where(self._is_open(), vouchers.c.digest == _digest(code))
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


def _digest(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()
