"""What an inspection is told, and how it is written down."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AuditRow:
    """How often something was blocked at the seats on one day (of UTC): why, and which topic, service or rule."""

    day: str
    reason: str
    what: str
    count: int


def audit_csv(rows: Iterable[AuditRow]) -> str:
    """These rows as CSV (RFC 4180).

    >>> audit_csv([AuditRow("2026-11-25", "category", "adult", 3)])
    'day,reason,what,count\\r\\n2026-11-25,category,adult,3\\r\\n'
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["day", "reason", "what", "count"])
    writer.writerows((row.day, row.reason, row.what, row.count) for row in rows)
    return text.getvalue()
