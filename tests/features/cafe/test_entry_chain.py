"""Links of the counter's entries, those from before the chain among them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from sqlalchemy import MetaData, create_engine

from hedgerow.features.cafe.counter_store import CounterAction, CounterEntry, CounterStore, EntryChain
from hedgerow.features.cafe.entry_chain import ChainedEntry, link_problems
from hedgerow.journal import database
from hedgerow.journal.database import migrate_journal, open_journal
from hedgerow.journal.store import Store

TEXTS = dict.fromkeys(("seat", "session", "kind", "currency", "note"), "")
NUMBERS = {"minutes": 0, "count": 1, "due": 0, "taken": 0}


def test_entries_of_an_earlier_version_are_linked(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        database._upgrade(connection, "0030")
        old = MetaData()
        old.reflect(connection)
        for number, site in enumerate(("home", "north", "home")):
            row = {"site": site, "at": 1000.5 + number, "actor": "Zoé", "action": "pay", **TEXTS, **NUMBERS}
            row |= {"taken": 250, "currency": "EUR", "key": f"till-{number}"} if number == 2 else {}
            connection.execute(old.tables["counter_entries"].insert().values(row))
    engine.dispose()
    assert migrate_journal(path)
    with closing(open_journal(path)) as store:
        counter = CounterStore(store)
        counter.add(CounterEntry(2000, "Zoé", CounterAction.DUTY))
        entries = EntryChain(store).entries()
    assert [each.number for each in entries] == [1, 2, 3]
    assert entries[1].entry["key"] == "till-2"
    assert list(link_problems(entries)) == []


def test_entries_that_are_written_at_once_are_one_chain(tmp_path: Path) -> None:
    with closing(open_journal(tmp_path / "journal.sqlite")) as store, ThreadPoolExecutor(4) as threads:
        counter = CounterStore(store)
        list(threads.map(counter.add, (CounterEntry(number, "Ana", CounterAction.PAY) for number in range(40))))
        entries = EntryChain(store).entries()
    assert [each.number for each in entries] == list(range(1, 41))
    assert list(link_problems(entries)) == []


def test_a_line_is_read_as_it_was_written() -> None:
    entry = ChainedEntry.after((3, "abc"), {"at": 5.0, "actor": "Zoé", "action": "pay", "taken": -3})
    assert ChainedEntry.parse(f"{entry.line}\r\n") == entry
    assert entry.name == "entry 4 of the counter (1970-01-01 00:00 UTC)"


def test_text_is_digested_as_it_is_stored(journal: Store) -> None:
    """PostgreSQL refuses the character NUL, and no store keeps half of a surrogate pair."""
    odd = "a\0b\x1b\ud800\nZoé"
    entry = CounterEntry(5.0, odd, CounterAction.ALLOW, odd, odd, odd, currency=odd, note=odd, key=odd)
    with closing(journal):
        CounterStore(journal).add(entry)
        CounterStore(journal).add(replace(entry, key=None))
        entries = EntryChain(journal).entries()
    assert list(link_problems(entries)) == []
    assert {each.entry["note"] for each in entries} == {"a�b���Zoé"}
    assert ChainedEntry.parse(entries[0].line) == entries[0]
