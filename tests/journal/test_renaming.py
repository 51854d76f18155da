"""Devices under a new name: no row of any table stays behind, and none of another device moves."""

from __future__ import annotations

from hedgerow.journal.access_store import AccessCode, CodeStore, GrantStore
from hedgerow.journal.messages import DeviceSeen, ProtectionSeen
from hedgerow.journal.reader import DecisionFilter, JournalReader
from hedgerow.journal.recorder import Recorder, SystemEvent
from hedgerow.journal.store import Store
from hedgerow.journal.tables import metadata
from hedgerow.journal.usage import UsageStore
from hedgerow.policies.identity import Protection, renamed_devices
from hedgerow.policies.model import AccessRequest, DeviceId, Grant, Observation, Reason, RequestKind, Session, Verdict
from hedgerow.policies.reading.load import parse_policy
from hedgerow.policies.time_model import ActiveMinute, Bonus

NOW = 1_780_000_000.0
TABLET, PHONE, NEW = DeviceId("tablet"), DeviceId("phone"), DeviceId("big tablet")


def seen(device: DeviceId, when: float = NOW) -> Observation:
    return Observation(
        when, device, "mia", "child-8-12", RequestKind.DNS, Verdict.BLOCK, Reason.CATEGORY, "adult", "adult.example", ""
    )


def fill(journal: Store, device: DeviceId) -> None:
    recorder = Recorder(journal, clock=lambda: NOW)
    recorder.add(
        [
            seen(device),
            AccessRequest(NOW, device, "mia", "chat.example"),
            SystemEvent(NOW, "code", device, "a code was used"),
        ]
    )
    recorder.add(
        [DeviceSeen(NOW - 50, device, "192.168.1.9", "aa:bb:cc:00:00:01"), ProtectionSeen(NOW, device, Protection.DNS)]
    )
    recorder.flush()
    ledger = GrantStore(journal, clock=lambda: NOW)
    ledger.give(Grant(f"grant-{device}", "chat.example", "Ana", NOW, NOW + 60, device))
    ledger.pause("Ana", device=device)
    ledger.pause("Ana", spared_device=device)
    usage = UsageStore(journal, clock=lambda: NOW)
    usage.add([ActiveMinute(int(NOW // 60), f"device:{device}", "")])
    usage.give(Bonus(f"bonus-{device}", f"device:{device}", "", 5, "Ana", NOW))
    usage.start_session(Session(f"session-{device}", device, "Ana", NOW, None, "mia"))
    CodeStore(journal, clock=lambda: NOW).add(
        AccessCode(f"code-{device}", "Ana", NOW, NOW + 60, device, None, "chat.example", "hour"), "12"
    )


def mentions(journal: Store, name: str) -> list[tuple[str, str]]:
    """Return the tables and columns with the name of a device."""
    with journal.connect() as connection:
        return sorted(
            {
                (table.name, column.name)
                for table in metadata.tables.values()
                for column in table.c
                for (value,) in connection.execute(column.table.select().with_only_columns(column))
                if value in (name, f"device:{name}")
            }
        )


def test_everything_moves_and_nothing_of_another_device(journal: Store) -> None:
    for device in (TABLET, PHONE):
        fill(journal, device)
    before, others = mentions(journal, TABLET), mentions(journal, PHONE)
    assert before == others
    assert len({table for table, _ in before}) == 13
    Recorder(journal, clock=lambda: NOW).rename({TABLET: NEW})
    assert mentions(journal, TABLET) == []
    assert mentions(journal, NEW) == before
    assert mentions(journal, PHONE) == others


def test_rows_are_added_where_the_new_name_has_some_already(journal: Store) -> None:
    fill(journal, TABLET)
    recorder, usage = Recorder(journal, clock=lambda: NOW), UsageStore(journal, clock=lambda: NOW)
    recorder.add([seen(NEW, NOW - 200), seen(NEW)])
    recorder.flush()
    usage.add([ActiveMinute(int(NOW // 60) + 1, f"device:{NEW}", "")])
    recorder.rename({TABLET: NEW})
    reader = JournalReader(journal)
    assert sum(row.count for row in reader.reasons(NOW - 9000, NEW)) == 3
    assert len(reader.decisions(DecisionFilter(device=NEW)).rows) == 3
    (row,) = reader.devices(NOW - 9000)
    assert (row.device, row.mac, row.last_seen) == (NEW, "aa:bb:cc:00:00:01", NOW)
    assert sum(bits.bit_count() for hours in usage.marks(NOW - 9000).values() for bits in hours.values()) == 2


def test_late_reports_follow_too_until_the_old_name_is_used_again(journal: Store) -> None:
    now = [NOW]
    recorder = Recorder(journal, clock=lambda: now[0])
    recorder.rename({TABLET: NEW})
    recorder.add([seen(TABLET, NOW - 1), seen(TABLET, NOW + 60)])
    recorder.flush()
    devices = [row.device for row in JournalReader(journal).decisions(DecisionFilter()).rows]
    assert devices == [TABLET, NEW], "a report of a minute later is of another device with the old name"
    recorder.rename({PHONE: TABLET})
    recorder.add([seen(TABLET, NOW - 1)])
    recorder.flush()
    assert next(row.device for row in JournalReader(journal).decisions(DecisionFilter()).rows) == TABLET


def test_names_are_compared_by_the_addresses_of_devices() -> None:
    def renamed(before: str, after: str) -> dict[DeviceId, DeviceId]:
        return renamed_devices(
            parse_policy(f"devices: {before}".encode(), None), parse_policy(f"devices: {after}".encode(), None)
        )

    tablet = '{mac: "aa:bb:cc:00:00:01", ip: 192.168.1.9}'
    assert renamed(f"{{tablet: {tablet}}}", f"{{big tablet: {tablet}}}") == {"tablet": "big tablet"}
    assert renamed("{}", f"{{tablet: {tablet}}}") == {"aa:bb:cc:00:00:01": "tablet", "192.168.1.9": "tablet"}, (
        "named for the first time"
    )
    assert renamed(f"{{tablet: {tablet}}}", f"{{tablet: {tablet}, phone: {{ip: 192.168.1.10}}}}") == {
        "192.168.1.10": "phone"
    }
    assert renamed(f"{{tablet: {tablet}}}", "{}") == {}
    assert renamed("{a: {ip: 192.168.1.9}}", "{a: {ip: 192.168.1.10}, b: {ip: 192.168.1.9}}") == {}, (
        "the address changed hands"
    )
