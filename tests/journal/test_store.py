"""Several sites in one journal: each reads, changes and erases its own rows only."""

from __future__ import annotations

from typing import Any

import pytest
from journal_rows import NOW, TABLET, fill
from sqlalchemy import event, select

from hedgerow.journal.access_store import CodeStore, GrantStore, NoSuchEntry
from hedgerow.journal.outbox import Outbox
from hedgerow.journal.personal_data import DataSubject, PersonalDataStore
from hedgerow.journal.policy_history import PolicyHistory
from hedgerow.journal.reader import DecisionFilter, JournalReader
from hedgerow.journal.recorder import Recorder
from hedgerow.journal.retention import Retention, forget_decisions
from hedgerow.journal.store import Store
from hedgerow.journal.tables import metadata
from hedgerow.journal.usage import UsageStore

MIA = DataSubject("mia", frozenset({"tablet"}))


def rows(store: Store) -> dict[str, list[dict[str, Any]]]:
    tables = {name: table for name, table in metadata.tables.items() if "site" in table.columns}
    with store.connect() as connection:
        return {
            name: [dict(row._mapping) for row in connection.execute(store.select(table))]
            for name, table in tables.items()
        }


@pytest.fixture
def sites(journal: Store) -> tuple[Store, Store]:
    both = (Store(journal.engine, journal.dialect, "north"), Store(journal.engine, journal.dialect, "south"))
    for store in both:
        fill(store)
    return both


def test_every_row_carries_its_site(sites: tuple[Store, Store], journal: Store) -> None:
    north, south = rows(sites[0]), rows(sites[1])
    assert all(north.values()), [name for name, each in north.items() if not each]
    assert {name: len(each) for name, each in north.items()} == {name: len(each) for name, each in south.items()}
    assert not any(rows(journal).values()), "the default site has no rows"
    with journal.connect() as connection:
        for table in (table for table in metadata.tables.values() if "site" in table.columns):
            assert set(connection.scalars(select(table.c.site))) == {"north", "south"}, table.name


def test_a_site_reads_its_own_rows(sites: tuple[Store, Store]) -> None:
    for store in sites:
        reader = JournalReader(store)
        for wanted in (
            DecisionFilter(),
            DecisionFilter(host="example"),
            DecisionFilter(since=NOW - 1, before=NOW + 1, device="tablet"),
        ):
            assert [row.host for row in reader.decisions(wanted).rows] == [
                f"{number}.{store.site}.example" for number in (2, 1, 0)
            ]
        assert [(row.name, row.blocked) for row in reader.devices(NOW)] == [(store.site, 3)]
        assert [row.count for row in reader.reasons(NOW - 10 * 86400)] == [3]
        assert [row.count for row in reader.blocked_by_day(["tablet"], 0, 99999)] == [3]
        assert [row.blocked for row in reader.hours(NOW, ())] == [3]
        assert [row.detail for row in reader.events()] == [store.site]
        assert (len(reader.requests()), reader.count_open_requests(), len(reader.requests_of("tablet"))) == (1, 1, 1)
        assert [grant.id for grant in reader.grants(NOW)] == [f"g-{store.site}"]
        assert len(reader.pauses(NOW)) == 1
        assert [session.id for session in UsageStore(store).sessions(NOW)] == [f"s-{store.site}"]
        assert [code.id for code in CodeStore(store, clock=lambda: NOW).match("123456")] == [f"c-{store.site}"]
        assert [row.text for row in Outbox(store).latest()] == [store.site]
        assert [change.summary for change in PolicyHistory(store).latest()] == [store.site]


def test_a_site_changes_no_row_of_another(sites: tuple[Store, Store]) -> None:
    north, south = sites
    before = rows(south)
    grants, usage = GrantStore(north, clock=lambda: NOW), UsageStore(north, clock=lambda: NOW)
    for change in (lambda: grants.revoke("g-south", "ana"), lambda: CodeStore(north, clock=lambda: NOW).use("c-south")):
        with pytest.raises(NoSuchEntry):
            change()
    assert grants.resume("ana", person="mia") == 1
    assert not usage.accept("s-south")
    grants.clear(TABLET, "ana")
    usage.end_session(TABLET)
    assert rows(south) == before


def test_a_site_erases_and_forgets_no_row_of_another(sites: tuple[Store, Store]) -> None:
    north, south = sites
    before = rows(south)
    assert PersonalDataStore(north, clock=lambda: NOW).erase(MIA, NOW, frozenset()).rows["decisions"] == 3
    fill_again = Recorder(north, clock=lambda: NOW + 1e9, retention=Retention())
    assert forget_decisions(north, {"mia": 0}, {"child-8-12": 0}, NOW + 1e9) == 0
    fill_again.prune()
    for store in (UsageStore(north, clock=lambda: NOW + 1e9), Outbox(north, clock=lambda: NOW + 1e9)):
        store.prune()
    assert rows(south) == before


def test_a_connection_in_use_while_the_journal_is_closed_is_closed_when_it_is_given_back(journal: Store) -> None:
    """A thread that reads may outlive the closing."""
    closed: list[object] = []
    with journal.connect() as connection:
        event.listen(journal.engine, "close", lambda closing, _record: closed.append(closing))
        in_use = connection.connection.dbapi_connection
        journal.dispose()
        assert in_use not in closed
        connection.execute(select(1))
    assert in_use in closed
    with journal.connect() as connection:
        late = connection.connection.dbapi_connection
    assert late in closed
