"""Queries of the journal."""

import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hedgerow.journal.database import open_journal
from hedgerow.journal.reader import DecisionFilter, JournalReader
from hedgerow.journal.recorder import Recorder
from hedgerow.policies.model import DeviceId, Observation, Reason, RequestKind, Verdict

NOW = 1_780_000_000.0

# host, device, person, verdict, reason, minutes ago
SEEN = [
    ("example.com", "mia-tablet", "mia", Verdict.BLOCK, Reason.CATEGORY, 50),
    ("www.example.com", "mia-tablet", "mia", Verdict.ALLOW, Reason.DEFAULT, 40),
    ("notexample.com", "tom-laptop", "tom", Verdict.BLOCK, Reason.RULE, 30),
    ("a_b.example", "tom-laptop", "tom", Verdict.REWRITE, Reason.SAFE_SEARCH, 20),
    ("axb.example", "192.168.1.9", None, Verdict.BLOCK, Reason.CATEGORY, 10),
]


@pytest.fixture
def reader(journal):
    recorder = Recorder(journal)
    for host, device, person, verdict, reason, ago in SEEN:
        recorder.add(
            [
                Observation(
                    NOW - ago * 60,
                    DeviceId(device),
                    person,
                    "child-8-12",
                    RequestKind.DNS,
                    verdict,
                    reason,
                    "what",
                    host,
                    count=2,
                )
            ]
        )
    recorder.flush()
    return JournalReader(journal)


@pytest.mark.parametrize(
    ("wanted", "hosts"),
    [
        (DecisionFilter(), ["axb.example", "a_b.example", "notexample.com", "www.example.com", "example.com"]),
        (DecisionFilter(device="mia-tablet"), ["www.example.com", "example.com"]),
        (DecisionFilter(person="tom", verdict=Verdict.BLOCK), ["notexample.com"]),
        (DecisionFilter(verdict=Verdict.BLOCK, reason=Reason.CATEGORY), ["axb.example", "example.com"]),
        (DecisionFilter(kind=RequestKind.HTTP), []),
        (DecisionFilter(host="example.com"), ["www.example.com", "example.com"]),
        (DecisionFilter(host="b.example"), []),
        (DecisionFilter(host="_b.example"), []),
        (DecisionFilter(host="%"), []),
        (DecisionFilter(host="' OR 1=1 --"), []),
        (DecisionFilter(since=NOW - 30 * 60), ["axb.example", "a_b.example", "notexample.com"]),
        (DecisionFilter(before=NOW - 30 * 60), ["www.example.com", "example.com"]),
    ],
)
def test_filters(reader, wanted, hosts):
    assert [row.host for row in reader.decisions(wanted).rows] == hosts


def test_pages_by_cursor_show_each_row_once(reader):
    hosts, cursor = [], None
    for _ in range(3):
        page = reader.decisions(cursor=cursor, limit=2)
        hosts += [row.host for row in page.rows]
        cursor = page.older
    assert cursor is None
    assert hosts == [row[0] for row in reversed(SEEN)]


def test_a_page_is_bounded(reader):
    assert len(reader.decisions(limit=0).rows) == 1
    assert len(reader.decisions(limit=10**9).rows) == 5


def test_counts_by_reason_and_device(reader):
    most = reader.reasons(NOW - 3600)[0]
    assert (most.verdict, most.reason, most.count) == (Verdict.BLOCK, Reason.CATEGORY, 4)
    assert {row.reason for row in reader.reasons(0, device="tom-laptop")} == {Reason.RULE, Reason.SAFE_SEARCH}
    assert reader.reasons(NOW + 7200) == ()
    assert {(row.device, row.allowed, row.blocked) for row in reader.devices(0)} == {
        ("mia-tablet", 2, 2),
        ("tom-laptop", 2, 2),
        ("192.168.1.9", 0, 2),
    }
    assert [row.device for row in reader.devices(0)] == ["192.168.1.9", "tom-laptop", "mia-tablet"]


@given(
    st.lists(st.tuples(st.integers(0, 5 * 86400), st.sampled_from(["adult", "games"]), st.integers(1, 9)), max_size=30),
    st.integers(0, 5 * 86400),
)
@settings(max_examples=25)
def test_daily_and_hourly_sums_agree(reported, since):
    with tempfile.TemporaryDirectory() as folder:
        engine = open_journal(Path(folder) / "journal.sqlite")
        start = NOW // 86400 * 86400
        recorder = Recorder(engine)
        recorder.add(
            Observation(
                start + at,
                DeviceId("d"),
                None,
                "p",
                RequestKind.DNS,
                Verdict.BLOCK,
                Reason.CATEGORY,
                what,
                "",
                count=count,
            )
            for at, what, count in reported
        )
        recorder.flush()
        expected: Counter[str] = Counter()
        for at, what, count in reported:
            if (start + at) // 3600 >= (start + since) // 3600:
                expected[what] += count
        assert {row.what: row.count for row in JournalReader(engine).reasons(start + since)} == expected
        engine.dispose()
