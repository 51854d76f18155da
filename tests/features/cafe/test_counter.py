"""Entries of the counter are written with the change that they are about, or not at all; reports are made of nothing
else.
"""

from __future__ import annotations

import csv
import io
import threading
from dataclasses import replace
from zoneinfo import ZoneInfo

import pytest

from hedgerow.features.cafe.counter_store import CounterAction, CounterEntry, CounterStore, StaffRow, balance
from hedgerow.features.cafe.shifts import entries_csv, session_histories, shift_report
from hedgerow.journal.access_store import NoSuchEntry
from hedgerow.journal.retention import Retention, prune
from hedgerow.journal.store import Store
from hedgerow.journal.usage import UsageStore
from hedgerow.policies.model import DeviceId, Session

NOW = 1_780_000_000.0
OPEN = CounterEntry(NOW, "Ana", CounterAction.OPEN, "seat-1", "s1", "child", 60, 1, 200, 200, "EUR", "before")


def test_an_entry_is_written_with_its_change_or_not_at_all(journal: Store) -> None:
    usage, counter = UsageStore(journal, clock=lambda: NOW), CounterStore(journal)
    session = Session("s1", DeviceId("seat-1"), "Ana", NOW - 600, NOW + 3000, None, "seat-child")
    usage.start_session(session, OPEN)
    with pytest.raises(NoSuchEntry):
        usage.end_session(DeviceId("seat-2"), replace(OPEN, action=CounterAction.END))
    with pytest.raises(NoSuchEntry):
        usage.move_session(DeviceId("seat-3"), DeviceId("seat-2"), replace(OPEN, action=CounterAction.MOVE))
    assert [each.action for each in counter.entries(0.0, NOW + 1)] == [CounterAction.OPEN]
    usage.end_session(DeviceId("seat-1"), replace(OPEN, action=CounterAction.END, minutes=50, due=0, taken=0))
    usage.reopen_session("s1", NOW + 3000, replace(OPEN, action=CounterAction.REOPEN, minutes=50, due=0, taken=0))
    assert [each.action for each in counter.of_session("s1")] == [
        CounterAction.OPEN,
        CounterAction.END,
        CounterAction.REOPEN,
    ]
    assert balance(counter.of_session("s1")) == 0
    assert counter.entries(NOW, NOW) == ()
    assert counter.entries(0.0, NOW + 1, "Ben") == ()


def test_counts_for_limits(journal: Store) -> None:
    counter = CounterStore(journal)
    for number, (actor, kind, minutes) in enumerate(
        (("Ana", "adult", 30), ("Ana", "adult", 0), ("Ana", "child", 30), ("Ben", "adult", 30))
    ):
        counter.add(CounterEntry(NOW + number, actor, CounterAction.END, kind=kind, minutes=minutes))
        counter.add(CounterEntry(NOW + number, actor, CounterAction.PRINT, kind=kind, count=20))
    assert counter.count("Ana", CounterAction.END, ["adult"], NOW) == 1, "one was not early"
    assert counter.count("Ana", CounterAction.PRINT, ["adult"], NOW) == 40
    assert counter.count("Ana", CounterAction.PRINT, ["adult"], NOW + 1) == 20
    assert counter.count("Eve", CounterAction.PRINT, ["adult"], NOW) == 0


def test_staff(journal: Store) -> None:
    counter = CounterStore(journal)
    counter.put_staff(StaffRow("Ben", "staff", NOW, "one"))
    counter.put_staff(StaffRow("Ana", "lead", NOW, "two"))
    counter.put_staff(StaffRow("Ben", "lead", NOW + 1, "three"))
    assert [(row.name, row.role, row.pin) for row in counter.staff()] == [
        ("Ana", "lead", "two"),
        ("Ben", "lead", "three"),
    ]
    assert [counter.remove_staff("Ben"), counter.remove_staff("Ben")] == [True, False]


def test_old_entries_are_deleted_with_the_sums(journal: Store) -> None:
    counter = CounterStore(journal)
    for age in (500, 300):
        counter.add(replace(OPEN, at=NOW - age * 86400))
    prune(journal, Retention(), NOW, threading.Lock())
    assert len(counter.entries(0.0, NOW)) == 1


def test_a_report_of_entries() -> None:
    entries = [
        replace(each, id=number)
        for number, each in enumerate(
            (
                OPEN,
                replace(OPEN, action=CounterAction.EXTEND, minutes=15, due=50, taken=50),
                replace(OPEN, action=CounterAction.END, at=NOW + 600, actor="Ben", minutes=40, due=0, taken=0),
                CounterEntry(NOW, "Ana", CounterAction.OPEN, "seat-2", "s2", "adult", 60, 1, 300, 0, "EUR", "after"),
                CounterEntry(NOW, "Ben", CounterAction.END, "seat-2", "s2", "adult", 30, 1, -150, 0, "EUR", "1"),
                CounterEntry(NOW, "Ben", CounterAction.PAY, "seat-2", "s2", "adult", 0, 1, 0, 150, "EUR"),
                CounterEntry(
                    NOW, "Ana", CounterAction.PRINT, kind="child", minutes=60, count=20, due=4000, currency="EUR"
                ),
                CounterEntry(
                    NOW, "a voucher", CounterAction.REDEEM, "seat-3", "s3", "child", 60, 1, 200, 200, "EUR", "7-01"
                ),
                CounterEntry(NOW, "a voucher", CounterAction.REDEEM, "seat-3", "s3", "child", 60, 1, 0, 0, "", "7-02"),
                CounterEntry(NOW, "café", CounterAction.WRONG_PIN, note="Ana"),
            ),
            1,
        )
    ]
    report = shift_report(entries, lambda kind: kind == "adult")
    assert [(each.kind, each.count, each.minutes, each.value) for each in report.sessions] == [
        ("adult", 1, 30, 150),
        ("child", 2, 155, 450),
    ]
    assert [(each.kind, each.count, each.minutes, each.value) for each in report.vouchers] == [
        ("child", 20, 1200, 4000)
    ]
    assert (report.vouchers_used, report.adult_sessions, report.early_ends, report.wrong_pins) == (2, 1, 2, 1)
    assert report.takings == {"EUR": 200 + 50 + 150 + 200}
    third, second, first = session_histories(entries)
    assert (first.seat, first.minutes, first.ended_by, first.owed, first.paid, first.unused) == (
        "seat-1",
        35,
        "Ben",
        0,
        250,
        40,
    )
    assert (second.owed, second.paid, second.unused) == (0, 150, 0), "who pays afterwards has paid no unused minutes"
    assert third.ended is None
    table = list(
        csv.DictReader(io.StringIO(entries_csv([replace(OPEN, actor="=cmd()", id=9)], ZoneInfo("Africa/Nairobi"))))
    )
    assert table[0]["actor"] == "'=cmd()"
    assert table[0]["at"] == "2026-05-28T23:26:40+03:00"
    assert sum(int(row["taken"]) for row in table) == 200
