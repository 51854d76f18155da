"""Vouchers in the journal, of which only a digest of the code is kept.

Every method of the store waits for the disk: call it from a thread.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace

from sqlalchemy import ColumnElement, func, select

from hedgerow.features.cafe.counter_store import CounterEntry
from hedgerow.journal.store import Store
from hedgerow.journal.tables import vouchers

_DAY_S = 86400.0


@dataclass(frozen=True, slots=True)
class Voucher:
    """Minutes at a seat for a guest of `band` (a kind of session), to be begun before `expires` (seconds since the
    epoch).

    `price` is in the currency's smallest unit. `is_paid` is false for a voucher that is sold later. `serial` is empty
    until it is written.
    """

    band: str
    minutes: int
    actor: str
    made_at: float
    expires: float
    price: int = 0
    is_paid: bool = True
    serial: str = ""


@dataclass(frozen=True, slots=True)
class VoucherCount:
    """The number of vouchers of one kind that can still be used."""

    band: str
    minutes: int
    expires: float
    count: int


class VoucherStore:
    """Vouchers, each of which opens a seat once."""

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.time) -> None:
        self._store, self._clock = store, clock

    def add(self, voucher: Voucher, codes: Iterable[str], entry: CounterEntry) -> tuple[str, ...]:
        """Write one voucher per code, and the counter's entry about them.

        Returns their serials: the entry's number, and that of each.
        """
        with self._store.begin() as connection:
            number = entry.write(self._store, connection)
            rows = [
                asdict(voucher)
                | {"is_paid": int(voucher.is_paid), "serial": f"{number}-{place:02}", "digest": _digest(code)}
                for place, code in enumerate(codes, 1)
            ]
            connection.execute(self._store.insert(vouchers), rows)
        return tuple(row["serial"] for row in rows)

    def find(self, code: str) -> Voucher | None:
        """Return the voucher with this code, or None if it cannot be used."""
        rows = self._store.rows(self._store.select(vouchers).where(self._is_open(), vouchers.c.digest == _digest(code)))
        fields = (
            (row, {name: value for name, value in row._mapping.items() if name not in ("digest", "used_at")})
            for row in rows
        )
        return next((Voucher(**known | {"is_paid": bool(row.is_paid)}) for row, known in fields), None)

    def use(self, code: str) -> bool:
        """Use a voucher up. Return False if that was done before, so that of two people who enter it one succeeds."""
        change = self._store.update(vouchers).where(self._is_open(), vouchers.c.digest == _digest(code))
        return bool(self._store.execute(change.values(used_at=self._clock())))

    def open(self) -> tuple[VoucherCount, ...]:
        """Count the vouchers that can still be used, by kind."""
        kind = (vouchers.c.band, vouchers.c.minutes, vouchers.c.expires)
        query = select(*kind, func.count().label("total")).where(self._store.own(vouchers), self._is_open())
        rows = self._store.rows(query.group_by(*kind).order_by(vouchers.c.expires))
        return tuple(VoucherCount(row.band, row.minutes, row.expires, row.total) for row in rows)

    def withdraw(self, entry: CounterEntry) -> int:
        """Invalidate all unused vouchers, such as those of a lost sheet, and write the counter's entry.

        Returns their number.
        """
        with self._store.begin() as connection:
            count = connection.execute(
                self._store.update(vouchers).where(self._is_open()).values(used_at=self._clock())
            ).rowcount
            replace(entry, count=count).write(self._store, connection)
            return count

    def prune(self) -> None:
        """Delete the vouchers that were used or expired more than a day ago."""
        limit = self._clock() - _DAY_S
        self._store.execute(
            self._store.delete(vouchers).where((vouchers.c.expires < limit) | (vouchers.c.used_at < limit))
        )

    def _is_open(self) -> ColumnElement[bool]:
        return vouchers.c.used_at.is_(None) & (vouchers.c.expires > self._clock())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
