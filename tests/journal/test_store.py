"""Several sites in one journal: each reads, changes and erases its own rows only."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from hedgerow.journal.access_store import AccessCode, CodeStore, GrantStore, NoSuchEntry, Voucher, VoucherStore
from hedgerow.journal.batch import Batch
from hedgerow.journal.counter import CounterAction, CounterEntry, CounterStore, StaffRow
from hedgerow.journal.messages import DeviceSeen, ProtectionSeen
from hedgerow.journal.outbox import Outbox
from hedgerow.journal.personal_data import DataSubject, PersonalDataStore
from hedgerow.journal.policy_history import PolicyHistory
from hedgerow.journal.reader import DecisionFilter, JournalReader
from hedgerow.journal.recorder import Recorder, SystemEvent
from hedgerow.journal.remembered_sites import RememberedSiteStore
from hedgerow.journal.retention import Retention, forget_decisions
from hedgerow.journal.rule_versions import RuleVersions
from hedgerow.journal.store import Store
from hedgerow.journal.tables import metadata
from hedgerow.journal.usage import UsageStore
from hedgerow.policies.evidence import Protection
from hedgerow.policies.model import AccessRequest, DeviceId, Grant, Observation, Reason, RequestKind, Session, Verdict
from hedgerow.policies.time_model import ActiveMinute, Bonus

NOW = 1_780_000_000.0
TABLET = DeviceId("tablet")
_SHEET = CounterEntry(NOW, "ana", CounterAction.PRINT)
MIA = DataSubject("mia", frozenset({"tablet"}))


def fill(store: Store) -> None:
    """At least one row in each table that has a site. Devices and people have the same names at every site, as they may in families."""
    site, clock = store.site, lambda: NOW
    recorder = Recorder(store, clock=clock)
    block = (RequestKind.DNS, Verdict.BLOCK, Reason.CATEGORY, "adult")
    recorder.add(Observation(NOW, TABLET, "mia", "child-8-12", *block, f"{number}.{site}.example") for number in range(3))
    recorder.add([AccessRequest(NOW, TABLET, "mia", "same.example"), SystemEvent(NOW, "restart", "mia", site)])
    recorder.add([DeviceSeen(NOW, TABLET, "192.168.1.9", None, "mia", "child-8-12", site)])
    recorder.add([ProtectionSeen(NOW, TABLET, Protection.DNS)])
    recorder.flush()
    grants, usage = GrantStore(store, clock=clock), UsageStore(store, clock=clock)
    grants.give(Grant(f"g-{site}", "same.example", "ana", NOW, NOW + 60, TABLET))
    grants.pause("ana", person="mia")
    usage.add([ActiveMinute(int(NOW // 60), "person:mia", "")])
    usage.give(Bonus(f"b-{site}", "person:mia", "", 5, "ana", NOW))
    usage.start_session(Session(f"s-{site}", TABLET, "ana", NOW))
    CodeStore(store, clock=clock).add(AccessCode(f"c-{site}", "ana", NOW, NOW + 60, person="mia", subject="same.example"), "123456")
    VoucherStore(store, clock=clock).add(Voucher("child", 60, "ana", NOW, NOW + 60), [f"VOUCHER-{site}"], _SHEET)
    CounterStore(store).put_staff(StaffRow("Ana", "staff", NOW, "hash"))
    Outbox(store, clock=clock).put("dad", "request", "tablet same.example", site)
    PolicyHistory(store).add(NOW, "ana", site, {}, {})
    RuleVersions(store).record(NOW, "p", "l", {}, ())
    RememberedSiteStore(store, clock=clock).remember("films.example", "adult")
    Batch([], writer="control", number=1, minutes=[ActiveMinute(int(NOW // 60), "person:mia", "")]).write(store)


def rows(store: Store) -> dict[str, list[dict[str, Any]]]:
    tables = {name: table for name, table in metadata.tables.items() if "site" in table.columns}
    with store.connect() as connection:
        return {name: [dict(row._mapping) for row in connection.execute(store.select(table))] for name, table in tables.items()}


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
        for wanted in (DecisionFilter(), DecisionFilter(host="example"), DecisionFilter(since=NOW - 1, before=NOW + 1, device="tablet")):
            assert [row.host for row in reader.decisions(wanted).rows] == [f"{number}.{store.site}.example" for number in (2, 1, 0)]
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
    grants, usage, vouchers = (
        GrantStore(north, clock=lambda: NOW),
        UsageStore(north, clock=lambda: NOW),
        VoucherStore(north, clock=lambda: NOW),
    )
    for change in (lambda: grants.revoke("g-south", "ana"), lambda: CodeStore(north, clock=lambda: NOW).use("c-south")):
        with pytest.raises(NoSuchEntry):
            change()
    assert grants.resume("ana", person="mia") == 1
    assert not vouchers.use("VOUCHER-south")
    assert vouchers.withdraw(_SHEET) == 1
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
