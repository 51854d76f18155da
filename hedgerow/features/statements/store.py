"""The statements in the journal, and what they are made of."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from sqlalchemy import func, select

from hedgerow.app.signing_keys import canonical
from hedgerow.codec import decode
from hedgerow.features.statements.chain import FILTERING, CounterDay, Receipt, SignedStatement, Statement, digest_of
from hedgerow.journal.store import Store
from hedgerow.journal.tables import rule_versions, statements, usage

_DAY_S = 86400
_RECEIPTS_AT_ONCE = 500
_S = statements.c


class StatementStore:
    """The statements of a site. Every method waits for the disk: call it from a thread."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def chain(self) -> tuple[SignedStatement, ...]:
        """Return all statements, in order."""
        return tuple(_signed(row) for row in self._store.rows(self._store.select(statements).order_by(_S.number)))

    def last(self) -> Statement | None:
        """Return the newest statement."""
        rows = self._store.rows(self._store.select(statements).order_by(_S.number.desc()).limit(1))
        return _signed(rows[0]).statement if rows else None

    def last_counter(self) -> CounterDay | None:
        """Return the newest of the counter's days, which is not in the last statement if an older version made that."""
        query = self._store.select(statements).order_by(_S.number.desc())
        counters = (_signed(row).statement.counter for row in self._store.rows(query))
        return next((each for each in counters if each is not None), None)

    def add(self, statement: Statement, signature: str) -> None:
        """Add the next statement. Raises IntegrityError if another node was faster, and DatabaseError."""
        text = statement.text
        row = {"number": statement.number, "digest": digest_of(text), "previous": statement.previous, "body": text}
        self._store.execute(self._store.insert(statements).values(signature=signature, received_at=time.time(), **row))

    def sign_receipts(self, sign: Callable[[str, int, str, int], Receipt]) -> int:
        """Have the owner of the store sign receipts for statements of other sites that have none. Returns their number.

        `sign` gets the site, the number, the digest and the instant.
        """
        query = (
            select(statements)
            .where(_S.receipt.is_(None), _S.site != self._store.site)
            .order_by(_S.id)
            .limit(_RECEIPTS_AT_ONCE)
        )
        rows = self._store.rows(query)
        for row in rows:
            receipt = sign(row.site, row.number, row.digest, int(row.received_at))
            self._store.execute(statements.update().where(_S.id == row.id).values(receipt=canonical(asdict(receipt))))
        return len(rows)

    def minutes_on(self, day: int) -> int:
        """Return the minutes of a day in which the filter was on, as a bit set."""
        bits = 0
        is_meant = (usage.c.account == FILTERING) & usage.c.hour.between(day * 24, day * 24 + 23)
        for row in self._store.rows(self._store.select(usage).where(is_meant)):
            bits |= row.minutes << (row.hour - day * 24) * 60
        return bits

    def today(self) -> int | None:
        """Return the day on the clock of the store's server; None for a file, which has no clock of its own."""
        if not self._store.dialect.is_partitioned:
            return None
        return int(self._store.scalar(select(func.extract("epoch", func.clock_timestamp())))) // _DAY_S

    def policies(self, day: int) -> list[str]:
        """Return the hashes of the policies that were in force on a day, in order."""
        at, own = rule_versions.c.at, self._store.own(rule_versions)
        first = self._store.scalar(select(func.max(at)).where(own, at <= day * _DAY_S))
        is_meant = (at >= (first if first is not None else day * _DAY_S)) & (at < (day + 1) * _DAY_S)
        rows = self._store.rows(self._store.select(rule_versions).where(is_meant).order_by(rule_versions.c.id))
        return list(dict.fromkeys(row.policy for row in rows))


def _signed(row: Any) -> SignedStatement:
    receipt = decode(Receipt, row.receipt.encode()) if row.receipt else None
    return SignedStatement(decode(Statement, row.body.encode()), row.signature, receipt)
