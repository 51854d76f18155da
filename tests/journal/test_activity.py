"""Activity: counts by host, search by a part of a name, the causes of a decision."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.dialects import sqlite as sqlite_dialect

from hedgerow.journal import activity as module
from hedgerow.journal.access_store import GrantStore
from hedgerow.journal.activity import SCAN_LIMIT, ActivityFilter, ActivityReader
from hedgerow.journal.database import open_journal
from hedgerow.journal.recorder import Recorder
from hedgerow.journal.retention import forget_decisions, forget_hosts
from hedgerow.journal.store import Store
from hedgerow.journal.tables import hosts_seen
from hedgerow.policies.model import DeviceId, Grant, Observation, Reason, RequestKind, Verdict
from hedgerow.policies.time_model import PauseKind

NOW = 1_780_000_000.0
DAY = 86400.0
ROWS, DEVICES, HOSTS = 500_000, 60, 5000


def seen(
    host: str, ago: float, device: str = "tab", person: str | None = "mia", verdict: Verdict = Verdict.ALLOW
) -> Observation:
    return Observation(
        NOW - ago, DeviceId(device), person, "child-8-12", RequestKind.DNS, verdict, Reason.DEFAULT, "", host, count=2
    )


@pytest.fixture
def reader(journal: Store) -> ActivityReader:
    recorder = Recorder(journal)
    recorder.add(
        [
            seen("yesterday.example", DAY + 7200),
            seen("www.youtube.com", 3000),
            seen("m.youtube.com", 2000),
            seen("www.youtube.com", 1000),
            seen("100%_sure.example", 900, "phone", "tom", Verdict.BLOCK),
            seen("www.youtube.com", 800, "phone", "tom"),
            seen("", 700, "phone", "tom"),
        ]
    )
    recorder.flush()
    return ActivityReader(journal)


def test_decisions_are_counted_by_host(reader: ActivityReader) -> None:
    found = reader.activity(ActivityFilter(NOW - DAY, NOW))
    assert found.is_complete
    mine = {(each.host, each.person): (each.count, NOW - each.last) for each in found.hosts}
    assert mine == {
        ("www.youtube.com", "mia"): (4, 1000),
        ("m.youtube.com", "mia"): (2, 2000),
        ("100%_sure.example", "tom"): (2, 900),
        ("www.youtube.com", "tom"): (2, 800),
        ("", "tom"): (2, 700),
    }


@pytest.mark.parametrize(
    ("devices", "limit", "expected"),
    [
        (["tab", "nobody"], 9, {"tab": ["www.youtube.com", "m.youtube.com", "yesterday.example"]}),
        (["tab"], 2, {"tab": ["www.youtube.com", "m.youtube.com"]}),
        (["tab", "phone"], 1, {"tab": ["www.youtube.com"], "phone": ["www.youtube.com"]}),
        ([], 9, {}),
    ],
)
def test_the_latest_hosts_of_devices_without_what_is_private(
    reader: ActivityReader, devices: list[str], limit: int, expected: dict[str, list[str]]
) -> None:
    found = reader.latest_hosts(devices, limit)
    assert {device: list(hosts) for device, hosts in found.items()} == expected
    assert reader.latest_hosts(["phone"], 9) == {
        "phone": {"www.youtube.com": Verdict.ALLOW, "100%_sure.example": Verdict.BLOCK}
    }


@pytest.mark.parametrize(
    ("wanted", "hosts"),
    [
        ({"devices": ("tab",)}, {"www.youtube.com", "m.youtube.com"}),
        ({"devices": ("tab", "phone"), "person": "tom"}, {"100%_sure.example", "www.youtube.com", ""}),
        ({"devices": ()}, set()),
        ({"hosts": ()}, set()),
        ({"hosts": ("m.youtube.com", "nowhere.example")}, {"m.youtube.com"}),
        ({"hosts": ("m.youtube.com", "www.youtube.com"), "devices": ("phone",)}, {"www.youtube.com"}),
        ({"verdict": Verdict.BLOCK}, {"100%_sure.example"}),
        ({"before": NOW - 2500}, {"www.youtube.com"}),
    ],
)
def test_filters(reader: ActivityReader, wanted: dict[str, object], hosts: set[str]) -> None:
    found = reader.activity(ActivityFilter(**{"since": NOW - DAY, "before": NOW, **wanted}))  # type: ignore[arg-type]
    assert {each.host for each in found.hosts} == hosts


def test_only_the_newest_are_counted_beyond_the_limit(reader: ActivityReader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SCAN_LIMIT", 3)
    found = reader.activity(ActivityFilter(NOW - DAY, NOW))
    assert not found.is_complete
    assert {(each.host, each.person) for each in found.hosts} == {
        ("", "tom"),
        ("www.youtube.com", "tom"),
        ("100%_sure.example", "tom"),
    }


@pytest.mark.parametrize(
    ("text", "domains", "hosts"),
    [
        ("tube", (), {"www.youtube.com", "m.youtube.com"}),
        ("TUBE.com", (), {"www.youtube.com", "m.youtube.com"}),
        ("%", (), {"100%_sure.example"}),
        ("_", (), {"100%_sure.example"}),
        ("", ("youtube.com",), {"www.youtube.com", "m.youtube.com"}),
        ("nothing", ("m.youtube.com",), {"m.youtube.com"}),
        ("' OR 1=1 --", (), set()),
        ("\0", (), set()),
        ("", (), set()),
    ],
)
def test_hosts_are_found_by_a_part_of_their_name(
    reader: ActivityReader, text: str, domains: tuple[str, ...], hosts: set[str]
) -> None:
    assert set(reader.find_hosts(text, domains)) == hosts


def test_a_host_is_forgotten_with_its_last_decision(reader: ActivityReader, journal: Store) -> None:
    assert forget_decisions(journal, {"tom": 0}, {}, NOW + 1) == 3
    assert set(reader.find_hosts("e")) == {"www.youtube.com", "m.youtube.com", "yesterday.example"}
    assert forget_hosts(journal) == 0


def test_what_held_at_an_instant(journal: Store, reader: ActivityReader) -> None:
    ledger = GrantStore(journal, clock=lambda: NOW - 100)
    ledger.give(Grant("g1", "chess.example", "Ana", NOW - 500, NOW - 50, DeviceId("tab")))
    ledger.give(Grant("g2", "chess.example", "Ana", NOW - 500, None, None, "tom"))
    assert [
        each.id if each else None
        for each in (
            reader.grant_at("chess.example", NOW - 60, "tab", "mia"),
            reader.grant_at("chess.example", NOW - 40, "tab", "mia"),
            reader.grant_at("chess.example", NOW, "phone", "tom"),
            reader.grant_at("other.example", NOW, "phone", "tom"),
        )
    ] == ["g1", None, "g2", None]
    ledger.pause("Ana", person="mia", ends=NOW)
    pause = reader.pause_at(NOW - 50, "tab", "mia")
    assert pause is not None
    assert (pause.actor, reader.pause_at(NOW + 1, "tab", "mia"), reader.pause_at(NOW - 50, "phone", "tom")) == (
        "Ana",
        None,
        None,
    )
    GrantStore(journal, clock=lambda: NOW - 90).pause("Ben", ends=NOW, spared_person="mia", kind=PauseKind.HOMEWORK)
    assert (pause := reader.pause_at(NOW - 50, "tab", "mia")) is not None
    assert pause.actor == "Ana", "a later pause that spared the person did not stop them"
    assert (pause := reader.pause_at(NOW - 50, "phone", "tom")) is not None
    assert (pause.actor, pause.kind, pause.spared_person) == ("Ben", PauseKind.HOMEWORK, "mia")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, float]]:
    """A journal of 30 days with 200,000 decisions of 60 devices."""
    path = Path(tmp_path_factory.mktemp("large")) / "journal.sqlite"
    store = open_journal(path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute(
            """
            WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
            INSERT INTO decisions (id, at, device, person, profile, kind, verdict, reason, what, host_key, url, rule, count)
            SELECT i, ? + i * ?, 'device-' || (i * 40503 / 11 % ?), 'person-' || (i * 40503 / 11 % ? / 6), 'child-8-12', 'dns',
                   CASE WHEN i % 9 THEN 'allow' ELSE 'block' END, 'default', '', 'example.site-' || (i * 7919 % ?), '', '', 1 FROM n
            """,  # noqa: E501
            (ROWS, NOW - 30 * DAY, 30 * DAY / ROWS, DEVICES, DEVICES, HOSTS),
        )
        hosts = "SELECT DISTINCT host_key, 'site-' || substr(host_key, 14) || '.example' FROM decisions"
        database.execute(f"INSERT INTO hosts_seen (host_key, host) {hosts}")
        database.execute("ANALYZE")
    yield store, NOW
    store.dispose()


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"since": NOW - 30 * DAY},
        {"before": NOW - 10 * DAY, "since": NOW - 11 * DAY},
        {"devices": ("device-1",), "since": NOW - 7 * DAY},
        {"devices": tuple(f"device-{number}" for number in range(6)), "person": "person-0", "since": NOW - 7 * DAY},
        {"hosts": tuple(f"site-{number}.example" for number in range(1000)), "since": NOW - 7 * DAY},
        {"hosts": tuple(f"site-{number}.example" for number in range(1000)), "devices": ("device-1",)},
    ],
)
def test_no_query_reads_the_whole_journal(large: tuple[Store, float], wanted: dict[str, object]) -> None:
    store, _ = large
    reader = ActivityReader(store)
    filters = ActivityFilter(**{"since": NOW - DAY, "before": NOW, **wanted})  # type: ignore[arg-type]
    with store.connect() as connection:
        query = reader.activity_query(connection, filters)
        text = str(query.compile(dialect=sqlite_dialect.dialect(), compile_kwargs={"literal_binds": True}))
        plan = [str(row[3]) for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}")]
        scans = [line for line in plan if line.startswith("SCAN ") and "decisions" in line]
        # The newest of all are read backwards, up to the limit.
        assert scans in ([], ["SCAN decisions"]), plan
        assert not any("TEMP B-TREE" in line for line in plan), plan
        assert len(connection.execute(query).all()) <= SCAN_LIMIT
    assert reader.activity(filters).hosts


def test_a_search_reads_the_names_only(large: tuple[Store, float]) -> None:
    store, _ = large
    with store.connect() as connection:
        query = select(hosts_seen.c.host).where(store.own(hosts_seen), hosts_seen.c.host.contains("x")).limit(5)
        text = str(query.compile(dialect=sqlite_dialect.dialect(), compile_kwargs={"literal_binds": True}))
        plan = [str(row[3]) for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}")]
    assert len(plan) == 1
    assert "hosts_seen" in plan[0]
    assert len(ActivityReader(store).find_hosts("e-4", ())) == module.HOSTS_FOUND
