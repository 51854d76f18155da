"""Two years of a household's data, with pruning: the journal stays bounded, and queries stay right."""

from __future__ import annotations

from itertools import pairwise

import pytest
from sqlalchemy import func, select

from hedgerow.journal.reader import DecisionFilter, JournalReader
from hedgerow.journal.recorder import Recorder, SystemEvent
from hedgerow.journal.store import Store
from hedgerow.journal.tables import daily, decisions, events, hourly
from hedgerow.policies.model import AccessRequest, DeviceId, Observation, Reason, RequestKind, Verdict

START = 1_717_200_000.0  # 2024-06-01
DAY, DAYS = 86400.0, 730
DEVICES, PER_DAY = 4, 24
REASONS = ((Verdict.BLOCK, Reason.CATEGORY, "social"), (Verdict.ALLOW, Reason.DEFAULT, ""))


def a_day(day: int) -> list[Observation | AccessRequest | SystemEvent]:
    """Return a day's messages: each device once an hour, a request and a restart.

    The clock goes back by an hour every 100 days.
    """
    morning = START + day * DAY - (3600.0 if day % 100 == 99 else 0.0)
    seen: list[Observation | AccessRequest | SystemEvent] = []
    for hour in range(PER_DAY):
        for number in range(DEVICES):
            verdict, reason, what = REASONS[(hour + number) % 2]
            device = DeviceId(f"device-{number}")
            seen.append(
                Observation(
                    morning + hour * 3600 + number,
                    device,
                    "mia",
                    "child-8-12",
                    RequestKind.DNS,
                    verdict,
                    reason,
                    what,
                    f"{day}.site.example",
                )
            )
    seen.append(AccessRequest(morning, DeviceId("device-0"), "mia", f"{day}.site.example"))
    seen.append(SystemEvent(morning, "restart", "dns-0"))
    return seen


@pytest.mark.timeout(300)
def test_two_years_of_data(sqlite_journal: Store) -> None:
    journal, now = sqlite_journal, START
    recorder = Recorder(journal, clock=lambda: now)
    sizes = []
    for day in range(DAYS):
        now = START + day * DAY
        recorder.add(a_day(day))
        assert recorder.flush() > 0
        if day % 30 == 29:
            recorder.prune()
            with journal.connect() as connection:
                sizes.append(connection.exec_driver_sql("PRAGMA page_count").scalar() or 0)
    now = START + DAYS * DAY
    recorder.prune()
    assert (recorder.dropped, recorder.problem) == (0, "")
    with journal.connect() as connection:
        assert connection.scalar(select(func.min(decisions.c.at))) >= now - 30 * DAY
        assert connection.scalar(select(func.min(hourly.c.hour))) >= (now - 400 * DAY) // 3600
        assert connection.scalar(select(func.min(daily.c.day))) >= (now - 400 * DAY) // DAY
        assert connection.scalar(select(func.min(events.c.at))) >= now - 400 * DAY
    # After the first 400 days the file stops growing, since SQLite reuses freed pages.
    assert sizes[-1] <= sizes[15] * 1.05, sizes
    reader = JournalReader(journal)
    a_year = {row.what: row.count for row in reader.reasons(now - 365 * DAY)}
    assert a_year == {"social": 365 * DEVICES * PER_DAY // 2, "": 365 * DEVICES * PER_DAY // 2}
    rows = reader.decisions(DecisionFilter(host="site.example"), limit=1000).rows
    assert len(rows) == 1000
    assert all(newer.id > older.id for newer, older in pairwise(rows))
