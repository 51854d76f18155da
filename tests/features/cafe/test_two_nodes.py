"""Vouchers of a café with two machines, whose roles in PostgreSQL see their own site only."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from threading import Barrier

import pytest
from postgres_server import PostgresServer

from hedgerow.features.cafe.counter_store import CounterAction, CounterEntry, CounterStore, EntryChain
from hedgerow.features.cafe.entry_chain import link_problems
from hedgerow.features.cafe.voucher_store import Voucher, VoucherStore
from hedgerow.journal.database import open_journal
from hedgerow.journal.postgresql_rights import grant_site, make_role, role_for
from hedgerow.journal.store import Store

NOW = 1000.0
SHEET = CounterEntry(NOW, "ana", CounterAction.PRINT, kind="child", minutes=60, count=20)
CODES = [f"VOUCHER-{number}" for number in range(20)]


@pytest.fixture
def two_nodes(postgres: PostgresServer) -> Iterator[tuple[Store, Store]]:
    """The stores of two machines of the site `north`, each with a role of its own."""
    postgres.execute("ALTER ROLE hedgerow CREATEROLE")
    database = postgres.database()
    with ExitStack() as stack:
        owner = stack.enter_context(closing(open_journal(postgres.address(database))))
        names = []
        for number in range(2):
            with owner.begin() as connection:
                names.append(role_for(connection, "north", f"{database}-{number}"))
                make_role(connection, names[-1], "a password")
                grant_site(connection, names[-1], "north", may_manage=False)
        one, other = (stack.enter_context(closing(open_journal(postgres.address(database, name)))) for name in names)
        assert (one.site, other.site) == ("north", "north")
        yield one, other


def test_a_voucher_is_used_once_whichever_machine_takes_it(two_nodes: tuple[Store, Store]) -> None:
    VoucherStore(two_nodes[0], clock=lambda: NOW).add(Voucher("child", 60, "ana", NOW, NOW + 60), CODES, SHEET)
    both = Barrier(2)

    def use(store: Store) -> set[str]:
        vouchers, taken = VoucherStore(store, clock=lambda: NOW), set[str]()
        for code in CODES:
            both.wait(30)
            if vouchers.use(code):
                taken.add(code)
        return taken

    with ThreadPoolExecutor(2) as threads:
        one, other = threads.map(use, two_nodes)
    assert (one | other, one & other) == (set(CODES), set())


def test_the_entries_of_two_machines_are_one_chain(two_nodes: tuple[Store, Store]) -> None:
    both = Barrier(2)

    def work(store: Store) -> None:
        both.wait(30)
        for _ in range(20):
            CounterStore(store).add(SHEET)

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(work, two_nodes)) == [None, None]
    entries = EntryChain(two_nodes[0]).entries()
    assert [each.number for each in entries] == list(range(1, 41))
    assert list(link_problems(entries)) == []
