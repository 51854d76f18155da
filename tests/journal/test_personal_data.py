"""Export and erasure of personal data. Erased data is in no byte of the journal's files."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from postgres_server import PostgresServer

from hedgerow.journal import personal_data, sqlite
from hedgerow.journal.access_store import AccessCode, CodeStore, GrantStore
from hedgerow.journal.messages import DeviceSeen, ProtectionSeen
from hedgerow.journal.outbox import Outbox
from hedgerow.journal.personal_data import DataSubject, PersonalDataStore
from hedgerow.journal.recorder import Recorder, SystemEvent
from hedgerow.journal.store import Store
from hedgerow.journal.tables import metadata
from hedgerow.journal.usage import UsageStore
from hedgerow.policies.identity import Protection
from hedgerow.policies.model import AccessRequest, DeviceId, Grant, Observation, Reason, RequestKind, Session, Verdict
from hedgerow.policies.time_model import ActiveMinute, Bonus

NOW = 1_780_000_000.0
MIA = DataSubject("mia", frozenset({"mia-tablet"}))
TOM = DataSubject("tom", frozenset({"tom-phone"}))


def _decision(subject: DataSubject, host: str, when: float, url: str = "") -> Observation:
    (device,) = subject.devices
    what = random.Random(host).choice(("adult", "social", "games"))
    return Observation(
        when,
        DeviceId(device),
        subject.person,
        "child-8-12",
        RequestKind.HTTP,
        Verdict.BLOCK,
        Reason.CATEGORY,
        f"{what}-{subject.person}",
        host,
        url,
    )


def _fill(journal: Store, decisions: int) -> None:
    """Write rows of Mia and Tom in mixed order."""
    recorder = Recorder(journal, limit=decisions + 100, clock=lambda: NOW)
    chance = random.Random(6)
    # fewer names of a domain than are stored of a device in a day
    reported = [(chance.choice((MIA, TOM)), chance.randrange(900)) for _ in range(decisions)]
    recorder.add(
        _decision(
            subject,
            f"w{number:x}.secret-of-{subject.person}.example",
            NOW - 9000 + n,
            f"https://secret-of-{subject.person}.example/{n}",
        )
        for n, (subject, number) in enumerate(reported)
    )
    for subject in (MIA, TOM):
        (device,) = subject.devices
        name = f"secret-of-{subject.person}"
        recorder.add(
            [
                AccessRequest(NOW, DeviceId(device), subject.person, f"{name}.example", note=f"{name}, please"),
                AccessRequest(NOW, DeviceId(device), subject.person, f"{name}.example", note=f"{name}, please, please"),
                SystemEvent(NOW, "code", str(subject.person), f"{name} is open for an hour"),
                DeviceSeen(NOW, DeviceId(device), "192.168.1.9", None, subject.person, "child-8-12", name),
                ProtectionSeen(NOW, DeviceId(device), Protection.DNS),
            ]
        )
        ledger = GrantStore(journal, clock=lambda: NOW)
        for id, ends in (("old", NOW - 60), ("open", NOW + 60)):
            ledger.give(
                Grant(f"{id}-{subject.person}", f"{id}-{name}.example", "ana", NOW - 120, ends, person=subject.person)
            )
        usage = UsageStore(journal, clock=lambda: NOW)
        for days in (0, 10):
            usage.add([ActiveMinute(int(NOW // 60) - days * 1440, f"person:{subject.person}", "")])
            usage.give(Bonus(f"{days}-{subject.person}", f"person:{subject.person}", "", 5, "ana", NOW - days * 86400))
        usage.start_session(Session(f"s-{subject.person}", DeviceId(device), "ana", NOW - 900, NOW - 600, name=name))
        codes = CodeStore(journal, clock=lambda: NOW)
        codes.add(
            AccessCode(
                f"c-{subject.person}",
                "ana",
                NOW - 900,
                NOW - 1,
                None,
                subject.person,
                f"{name}.example",
                "hour",
                0,
                None,
            ),
            "123456",
        )
        outbox = Outbox(journal, clock=lambda: NOW)
        outbox.put("dad", "request", f"{device} {name}.example", f"{subject.person} asks for {name}.example")
        outbox.mark_sent([row.id for row in outbox.waiting("dad")])
    recorder.flush()


def exported(store: PersonalDataStore, subject: DataSubject) -> list[dict[str, Any]]:
    return list(chain.from_iterable(store.pieces(subject)))


def _octets(journal: Store) -> bytes:
    path = Path(str(journal.engine.url.database))
    return b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))


def _server_octets(journal: Store, server: PostgresServer) -> bytes:
    """Return all files of a database, and the write-ahead log of its server."""
    with journal.connect() as connection:
        number = connection.exec_driver_sql("SELECT oid FROM pg_database WHERE datname = current_database()").scalar()
    server.execute("CHECKPOINT")  # so that all pages are in the files
    folders = (server.folder / "data" / "base" / str(number), server.folder / "data" / "pg_wal")
    return b"".join(file.read_bytes() for folder in folders for file in folder.iterdir() if file.is_file())


@pytest.mark.parametrize("decisions", [0, 3, 60_000])
def test_erased_data_is_in_no_byte_of_the_files(sqlite_journal: Store, decisions: int) -> None:
    assert b"secret-of-mia" not in _octets(sqlite_journal)
    left = _erase(sqlite_journal, decisions, lambda: _octets(sqlite_journal))
    # The grant that is still open stays.
    assert left.count(b"secret-of-mia") == left.count(b"open-secret-of-mia.example") == 1


@pytest.mark.parametrize("decisions", [0, 3000])
def test_erased_data_is_in_no_byte_of_the_server(
    postgres_journal: Store, postgres: PostgresServer, decisions: int
) -> None:
    with postgres_journal.connect() as connection:
        database = str(connection.exec_driver_sql("SELECT current_database()").scalar())
    postgres.execute("GRANT pg_checkpoint TO hedgerow")
    postgres.execute("GRANT EXECUTE ON FUNCTION pg_switch_wal() TO hedgerow", database)
    left = _erase(postgres_journal, decisions, lambda: _server_octets(postgres_journal, postgres))
    # The planner's statistics may name the grant that is still open, too.
    assert left.count(b"secret-of-mia") == left.count(b"open-secret-of-mia.example") > 0


def test_traces_in_the_log_of_a_server_are_reported(postgres_journal: Store, postgres: PostgresServer) -> None:
    postgres.execute("REVOKE pg_checkpoint FROM hedgerow")
    _fill(postgres_journal, 3)
    problem = PersonalDataStore(postgres_journal, clock=lambda: NOW).erase(MIA, NOW, frozenset()).problem
    assert "Copies may remain in the server's write-ahead log" in problem


def _erase(journal: Store, decisions: int, octets: Callable[[], bytes]) -> bytes:
    """Fill a journal, erase Mia's data, and check what is left. Returns all bytes."""
    _fill(journal, decisions)
    store = PersonalDataStore(journal, clock=lambda: NOW)
    toms = exported(store, TOM)
    assert b"secret-of-mia" in octets()
    done = store.erase(MIA, NOW - 86400, frozenset())
    erased = done.rows
    assert not done.problem
    left = octets()
    assert b"example.secret-of-mia" not in left
    assert erased.get("decisions", 0) >= decisions // 3
    assert {
        name: number for name, number in erased.items() if name not in {"decisions", "sums by hour", "sums by day"}
    } == {
        "requests": 1,
        "grants": 1,
        "sessions": 1,
        "codes": 1,
        "minutes": 1,
        "minutes on top": 1,
        "events": 1,
        "notices": 1,
        "devices": 1,
        "protections": 1,
    }
    assert [row["kept"] for row in exported(store, MIA)] == ["grants", "minutes", "minutes on top"]
    assert sorted(map(str, exported(store, TOM))) == sorted(map(str, toms)), "nobody else's rows change"
    return left


def test_an_export_is_complete_and_holds_nothing_of_others(journal: Store) -> None:
    _fill(journal, 50)
    rows = exported(PersonalDataStore(journal), MIA)
    assert {row["kept"] for row in rows} == {
        "decisions",
        "sums by hour",
        "sums by day",
        "requests",
        "grants",
        "sessions",
        "codes",
        "minutes",
        "minutes on top",
        "events",
        "notices",
        "protections",
        "devices",
    }
    assert "tom" not in str(rows)
    hosts = [row["host"] for row in rows if row["kept"] == "decisions"]
    assert hosts
    assert all(host.endswith(".secret-of-mia.example") for host in hosts)
    assert all("digest" not in row for row in rows)


def test_a_guest_sees_nothing_from_before_the_session(journal: Store) -> None:
    recorder = Recorder(journal)
    seat = DataSubject(None, frozenset({"seat-1"}))
    recorder.add([_decision(seat, "before.example", NOW - 7200), _decision(seat, "now.example", NOW)])
    recorder.flush()
    rows = exported(PersonalDataStore(journal), DataSubject(None, frozenset({"seat-1"}), since=NOW - 60))
    assert [row.get("host") for row in rows if row["kept"] == "decisions"] == ["now.example"]


def test_devices_of_the_policy_stay_in_the_list_of_devices(journal: Store) -> None:
    _fill(journal, 0)
    store = PersonalDataStore(journal, clock=lambda: NOW)
    assert not {"devices", "protections"} & store.erase(MIA, NOW, frozenset({"mia-tablet"})).rows.keys()
    assert "devices" in [row["kept"] for row in exported(store, MIA)]


def test_wildcards_in_names_are_taken_literally(journal: Store) -> None:
    outbox = Outbox(journal, clock=lambda: NOW)
    outbox.put("dad", "request", "tom-phone roblox.com", "tom asks")
    assert exported(PersonalDataStore(journal), DataSubject("%", frozenset({"_"}))) == []


def test_late_reports_are_erased_too(journal: Store) -> None:
    recorder = Recorder(journal, clock=lambda: NOW)
    recorder.add([_decision(MIA, "waits.example", NOW - 2), _decision(TOM, "waits.example", NOW - 2)])
    store = PersonalDataStore(journal, clock=lambda: NOW)
    with recorder.paused_for_erasure(MIA.names):
        assert store.erase(MIA, NOW, frozenset()).rows["decisions"] == 1
        recorder.add(
            [
                _decision(MIA, "late.example", NOW - 1),
                _decision(MIA, "new.example", NOW),
                _decision(TOM, "late.example", NOW - 1),
            ]
        )
    recorder.flush()
    hosts = {
        subject.person: [row["host"] for row in exported(store, subject) if row["kept"] == "decisions"]
        for subject in (MIA, TOM)
    }
    assert hosts == {"mia": ["new.example"], "tom": ["waits.example", "late.example"]}


def test_a_reader_that_blocks_the_checkpoint_is_reported(
    sqlite_journal: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "CHECKPOINT_TRIES", 1)
    journal = sqlite_journal
    _fill(journal, 3)
    with journal.connect() as reader:
        reader.exec_driver_sql("BEGIN")
        reader.exec_driver_sql("SELECT count(*) FROM decisions")
        assert (
            "Another process keeps reading"
            in PersonalDataStore(journal, clock=lambda: NOW).erase(MIA, NOW, frozenset()).problem
        )


def test_every_table_with_personal_data_is_covered() -> None:
    about = {name for name, table in metadata.tables.items() if {"device", "person"} & set(table.columns.keys())}
    about |= {"usage", "bonuses", "events", "notices", "hourly", "daily"}
    assert about == {kind.table.name for kind in personal_data.PERSONAL_DATA}
