"""Audit of a café's seats: daily counts of what was blocked, without names."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the command line imports this module, and starts quickly
    from hedgerow.journal.reader import JournalReader
    from hedgerow.policies.model import Policy

AUDIT_DAYS = 31
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class AuditRow:
    """Number of blocked requests at all seats on one UTC day, by reason and by topic, service or rule."""

    day: str
    reason: str
    what: str
    count: int


def audit(reader: JournalReader, policy: Policy, first: date, last: date) -> tuple[AuditRow, ...]:
    """Return the counts from `first` to `last`, both included, for all seats together. Blocks on the disk."""
    seats = [device.id for device in policy.devices.values() if device.is_seat]
    rows = reader.blocked_by_day(seats, (first - _EPOCH).days, (last - _EPOCH).days)
    return tuple(AuditRow(f"{_EPOCH + timedelta(days=row.day)}", row.reason.value, row.what, row.count) for row in rows)


def audit_period(now: float, first: date | None = None, last: date | None = None) -> tuple[date, date]:
    """Return the first and last day of an audit: by default the `AUDIT_DAYS` days up to today."""
    last = last or datetime.fromtimestamp(now, UTC).date()
    return first or last - min(timedelta(days=AUDIT_DAYS - 1), last - date.min), last


def audit_csv(rows: Iterable[AuditRow]) -> str:
    """Return the rows as CSV (RFC 4180).

    >>> audit_csv([AuditRow("2026-11-25", "category", "adult", 3)])
    'day,reason,what,count\\r\\n2026-11-25,category,adult,3\\r\\n'
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["day", "reason", "what", "count"])
    writer.writerows((row.day, row.reason, row.what, row.count) for row in rows)
    return text.getvalue()
