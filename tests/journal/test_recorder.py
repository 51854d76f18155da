"""The recorder: writing, refusing lifelines, full disks and killed processes."""

import asyncio
import os
import signal
import subprocess
import sys
import threading

import pytest
from sqlalchemy import event, func, select

from hedgerow.journal.accounts import AccountRow, AccountStore
from hedgerow.journal.database import open_journal
from hedgerow.journal.messages import CounterDelta, DeviceSeen, ProtectionSeen
from hedgerow.journal.reader import JournalReader
from hedgerow.journal.recorder import Recorder, SystemEvent
from hedgerow.journal.retention import Retention
from hedgerow.journal.sightings import MAX_STRANGERS
from hedgerow.journal.tables import decisions
from hedgerow.policies.identity import Protection
from hedgerow.policies.model import AccessRequest, DeviceId, Observation, Reason, RequestKind, Verdict

NOW = 1_780_000_000.0
DAY = 86400.0


def seen(when=NOW, host="example.com", reason=Reason.CATEGORY, verdict=Verdict.BLOCK, count=1, device="mia-tablet"):
    return Observation(
        when, DeviceId(device), "mia", "child-8-12", RequestKind.DNS, verdict, reason, "adult", host, count=count
    )


def rows(engine):
    with engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(decisions))


def test_everything_is_written_in_one_transaction(journal):
    commits: list[object] = []
    event.listen(journal.engine, "commit", commits.append)
    recorder = Recorder(journal)
    recorder.add(
        [
            seen(),
            AccessRequest(NOW, DeviceId("mia-tablet"), "mia", "example.org"),
            SystemEvent(NOW, "restart", "dns-0", "exit 9"),
        ]
    )
    recorder.add(
        [
            DeviceSeen(NOW, DeviceId("mia-tablet"), "192.168.1.31", "aa:bb:cc:dd:ee:ff", "mia", "child-8-12"),
            CounterDelta("x"),
        ]
    )
    assert recorder.flush() == 4
    assert len(commits) == 1
    reader = JournalReader(journal)
    assert [row.host for row in reader.decisions().rows] == ["example.com"]
    assert [row.host for row in reader.requests()] == ["example.org"]
    assert [(row.kind, row.subject, row.detail) for row in reader.events()] == [("restart", "dns-0", "exit 9")]
    assert [(row.device, row.address, row.blocked) for row in reader.devices(NOW)] == [
        ("mia-tablet", "192.168.1.31", 1)
    ]
    assert recorder.flush() == 0


def test_lifelines_are_refused(journal):
    recorder = Recorder(journal)
    recorder.add([seen(host="help.example", reason=Reason.LIFELINE, verdict=Verdict.ALLOW)])
    recorder.flush()
    assert rows(journal) == 0
    assert JournalReader(journal).devices(0) == ()


def test_a_full_buffer_drops_the_oldest(journal):
    recorder = Recorder(journal, limit=10)
    recorder.add(seen(host=f"{number}.example") for number in range(25))
    assert recorder.dropped == 15
    recorder.flush()
    assert [row.host for row in reversed(JournalReader(journal).decisions().rows)] == [
        f"{number}.example" for number in range(15, 25)
    ]


def test_rows_keep_the_order_of_writing_when_the_clock_goes_back(journal):
    recorder = Recorder(journal)
    for when in (NOW, NOW - 7200, NOW - 3600):
        recorder.add([seen(when, host=f"at-{when:.0f}.example")])
        recorder.flush()
    reader = JournalReader(journal)
    assert [row.at for row in reader.decisions().rows] == [NOW - 3600, NOW - 7200, NOW]
    (device,) = reader.devices(0)
    assert (device.first_seen, device.last_seen, device.blocked) == (NOW, NOW, 3)


@pytest.mark.parametrize("flushes", [1, 2])
def test_a_decision_without_an_address_keeps_the_known_address(journal, flushes):
    recorder = Recorder(journal)
    recorder.add(
        [
            DeviceSeen(
                NOW, DeviceId("mia-tablet"), "192.168.1.31", "aa:bb:cc:dd:ee:ff", "mia", "child-8-12", "Mia's tablet"
            )
        ]
    )
    if flushes == 2:
        recorder.flush()
    recorder.add([seen(NOW + 60)])
    recorder.flush()
    (device,) = JournalReader(journal).devices(NOW)
    assert (device.address, device.mac, device.name) == ("192.168.1.31", "aa:bb:cc:dd:ee:ff", "Mia's tablet")
    assert (device.first_seen, device.last_seen) == (NOW, NOW + 60)


@pytest.mark.parametrize("also", ["fe80::1", "2001:db8::1"])
@pytest.mark.parametrize("flushes", [1, 2])
def test_an_ipv6_sighting_replaces_neither_ipv4_address_nor_name(journal, flushes, also):
    """Workers report addresses and discovery reports names, in either order."""
    recorder, tablet = Recorder(journal), DeviceId("mia-tablet")
    for sighting in (
        DeviceSeen(NOW, tablet, "192.168.1.31", None, "mia", "child-8-12", "Mia's tablet"),
        DeviceSeen(NOW + 1, tablet, also, "aa:bb:cc:dd:ee:ff", "mia", "child-8-12"),
    ):
        recorder.add([sighting])
        if flushes == 2:
            recorder.flush()
    recorder.flush()
    (device,) = JournalReader(journal).devices(NOW)
    assert (device.address, device.mac, device.name) == ("192.168.1.31", "aa:bb:cc:dd:ee:ff", "Mia's tablet")
    assert device.last_seen == NOW + 1
    recorder.add([DeviceSeen(NOW + 2, tablet, "192.168.1.77")])
    recorder.flush()
    assert JournalReader(journal).devices(NOW)[0].address == "192.168.1.77"


@pytest.mark.parametrize(
    ("retention", "kept"),
    [
        (Retention(days=30), [0, 10, 29]),
        (Retention(days=5), [0]),
        (Retention(days=1000, rows=2), [10, 0]),
    ],
)
def test_retention(journal, retention, kept):
    if journal.dialect.is_partitioned and retention.rows < 10:
        pytest.skip("only a file has a limit of rows")
    recorder = Recorder(journal, retention=retention, clock=lambda: NOW)
    for days in (400, 31, 29, 10, 0):
        recorder.add([seen(NOW - days * DAY, host=f"{days}.example")])
    recorder.flush()
    recorder.prune()
    assert {row.host for row in JournalReader(journal).decisions().rows} == {f"{days}.example" for days in kept}


def appear(journal, times, clock=NOW):
    """Record sightings of devices at these times, and prune."""
    recorder = Recorder(journal, clock=lambda: clock)
    for device, instants in times.items():
        for at in instants:
            recorder.add([DeviceSeen(at, DeviceId(device), "192.168.1.9", device if ":" in device else None)])
            recorder.flush()
    recorder.prune()
    return {row.device for row in JournalReader(journal).devices(0)}


def test_strangers_that_were_seen_briefly_are_forgotten_after_a_day(journal):
    made_up, visitor, here, printer = (f"02:00:00:00:00:0{number}" for number in range(4))
    times = {
        made_up: [NOW - 2 * DAY, NOW - 2 * DAY + 60],
        visitor: [NOW - 2 * DAY, NOW - 2 * DAY + 3600],
        here: [NOW - 3600],
        "tablet": [NOW - 2 * DAY],
    }
    assert appear(journal, times) == {visitor, here, "tablet"}
    assert appear(journal, {printer: [NOW - 3 * DAY, NOW - DAY]}) == {visitor, here, "tablet", printer}


def test_strangers_are_limited_and_those_that_stay_outlast_made_up_ones(journal):
    guest = "02:00:00:00:ff:ff"
    appear(journal, {guest: [NOW - 7200, NOW - 60], "tablet": [NOW - 7200]})
    recorder = Recorder(journal, clock=lambda: NOW)
    for start in range(0, 2 * MAX_STRANGERS, 500):
        numbers = range(start, start + 500)
        recorder.add(
            DeviceSeen(NOW, DeviceId(f"06:00:00:00:{number >> 8:02x}:{number & 255:02x}"), "192.168.1.9")
            for number in numbers
        )
        recorder.flush()
    kept = {row.device for row in JournalReader(journal).devices(0)}
    assert len(kept) == MAX_STRANGERS + 1
    assert {guest, "tablet"} <= kept


def test_made_up_addresses_leave_no_protections_behind(journal):
    recorder = Recorder(journal, clock=lambda: NOW)
    for round in range(3):
        macs = [
            DeviceId(f"02:00:00:{round:02x}:{number >> 8:02x}:{number & 255:02x}") for number in range(MAX_STRANGERS)
        ]
        recorder.add([DeviceSeen(NOW + round, mac, "192.168.1.66", mac) for mac in macs])
        recorder.add([ProtectionSeen(NOW + round, mac, Protection.DNS) for mac in (*macs, DeviceId("mia-tablet"))])
        recorder.flush()
    recorder.add([DeviceSeen(NOW + 9, DeviceId("02:00:00:ff:00:00"), "192.168.1.66")])
    recorder.flush()
    protected = JournalReader(journal).protections(None)
    assert len(protected) <= MAX_STRANGERS + 1
    assert "mia-tablet" in {each.device for each in protected}


def test_pruning_in_chunks_leaves_open_requests(journal):
    recorder = Recorder(journal, clock=lambda: NOW)
    recorder.add(seen(NOW - 40 * DAY) for _ in range(12_000))
    recorder.add(
        [
            AccessRequest(NOW - 900 * DAY, DeviceId("mia-tablet"), "mia", "example.org"),
            SystemEvent(NOW - 900 * DAY, "restart", "dns-0"),
        ]
    )
    recorder.flush()
    assert recorder.prune() == 12_000
    assert JournalReader(journal).events() == ()
    assert len(JournalReader(journal).requests()) == 1


def limit_pages(store, more):
    """Limit the file's pages, so that SQLite reports a full disk. Returns a function that lifts the limit."""
    with store.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
    store.dispose()

    def listener(connection, _record):
        connection.execute(f"PRAGMA max_page_count={pages + more}").close()

    event.listen(store.engine, "connect", listener)

    def lift():
        event.remove(store.engine, "connect", listener)
        store.dispose()

    return lift


def test_on_a_full_disk_decisions_are_dropped_and_requests_wait(sqlite_journal):
    free = limit_pages(sqlite_journal, more=0)
    recorder = Recorder(sqlite_journal, clock=lambda: NOW)
    recorder.add(seen(host=f"{number}.{'x' * 200}.example") for number in range(500))
    recorder.add(AccessRequest(NOW, DeviceId(f"device-{number}"), None, "x" * 250) for number in range(500))
    recorder.flush()
    assert "full" in recorder.problem
    assert recorder.dropped == 500
    assert JournalReader(sqlite_journal).requests() == ()
    free()
    assert recorder.flush() == 500
    assert recorder.problem == ""
    recorder.add([seen(host="after.example")])
    recorder.flush()
    assert [row.host for row in JournalReader(sqlite_journal).decisions().rows] == ["after.example"]
    assert len(JournalReader(sqlite_journal).requests(limit=1000)) == 500
    assert "500 decisions were not kept" in JournalReader(sqlite_journal).events("journal")[0].detail


def test_the_last_room_is_for_requests(sqlite_journal):
    limit_pages(sqlite_journal, more=2)
    recorder = Recorder(sqlite_journal, clock=lambda: NOW)
    recorder.add(seen(host=f"{number}.{'x' * 200}.example") for number in range(500))
    recorder.add([AccessRequest(NOW, DeviceId("mia-tablet"), "mia", "example.org")])
    recorder.flush()
    assert "full" in recorder.problem
    assert [row.host for row in JournalReader(sqlite_journal).requests()] == ["example.org"]
    assert rows(sqlite_journal) == 0


def test_on_a_full_disk_the_oldest_decisions_go_first(sqlite_journal):
    recorder = Recorder(sqlite_journal, clock=lambda: NOW)
    for hundred in range(30):
        recorder.add(
            seen(NOW + hundred, host=f"{hundred}-{number}.{'x' * 99}{hundred}.example") for number in range(100)
        )
        recorder.flush()
    limit_pages(sqlite_journal, more=0)
    recorder.add(seen(NOW + 99, host=f"new-{number}.{'x' * 99}.example") for number in range(100))
    assert recorder.flush() == 100
    assert recorder.dropped == 0
    assert recorder.forgotten == 300
    assert "the oldest decisions are deleted" in recorder.problem
    hosts = [row.host for row in JournalReader(sqlite_journal).decisions(limit=1000).rows]
    assert hosts[0].startswith("new-99.")
    with sqlite_journal.connect() as connection:
        assert connection.scalar(select(func.min(decisions.c.at))) == NOW + 3


def test_a_nearly_full_disk_is_filled_no_further(sqlite_journal):
    left = [10_000_000]
    recorder = Recorder(sqlite_journal, clock=lambda: NOW, reserve=1_000_000, free=lambda: left[0])
    recorder.add(seen(host=f"{number}.example") for number in range(2000))
    recorder.flush()
    left[0] = 999_999
    for _ in range(20):
        recorder.add(seen(host=f"new-{number}.example") for number in range(100))
        assert recorder.flush() == 100
    assert rows(sqlite_journal) < 1000
    assert "the disk is full" in recorder.problem
    left[0] = 10_000_000
    recorder.add([seen()])
    recorder.flush()
    assert recorder.problem == ""
    recorder.flush()
    assert "of the oldest were deleted" in JournalReader(sqlite_journal).events("journal")[0].detail


def test_writing_goes_on_during_pruning(journal):
    recorder = Recorder(journal, clock=lambda: NOW)
    recorder.add(seen(NOW - 40 * DAY) for _ in range(10_000))
    recorder.flush()
    pruning = threading.Thread(target=recorder.prune)
    pruning.start()
    written = 0
    while pruning.is_alive():
        recorder.add([seen()])
        written += recorder.flush()
    pruning.join()
    assert written >= 2, "nothing was written between the chunks"
    assert rows(journal) == written


@pytest.mark.root
def test_on_a_really_full_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], capture_output=True).returncode
    ):
        pytest.skip("needs the right to mount a small disk")
    try:
        engine = open_journal(disk / "journal.sqlite")
        recorder = Recorder(engine, clock=lambda: NOW)
        filler = disk / "filler"
        with filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"\0" * 4096)
            except OSError:
                pass
        recorder.add(seen(host=f"{number % 1000}.{'x' * 200}{number // 1000}.example") for number in range(3000))
        recorder.flush()
        assert recorder.problem
        assert recorder.dropped == 3000
        filler.unlink()
        recorder.add([seen()])
        recorder.flush()
        assert recorder.problem == ""
        assert rows(engine) == 1
        engine.dispose()
    finally:
        subprocess.run(["umount", disk], check=True)


WRITER = """
import sys, time
from pathlib import Path
from hedgerow.journal.recorder import Recorder
from hedgerow.journal.accounts import AccountRow, AccountStore
from hedgerow.journal.database import open_journal
from hedgerow.policies.model import DeviceId, RequestKind, Observation, Reason, Verdict
recorder = Recorder(open_journal(Path(sys.argv[1])))
number = 0
while True:
    for _ in range(200):
        recorder.add([Observation(1.0, DeviceId("d"), None, "p", RequestKind.DNS, Verdict.BLOCK, Reason.RULE, "", f"{number}.example")])
        number += 1
    recorder.flush()
    print(number, flush=True)
"""  # noqa: E501


def test_kill_9_loses_nothing_that_was_flushed(tmp_path):
    path = tmp_path / "journal.sqlite"
    with subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for _ in range(20):
            flushed = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        flushed = max([flushed, *(int(line) for line in writer.stdout if line.endswith("\n"))])
    engine = open_journal(path)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    # The open transaction is there as a whole or not at all.
    assert rows(engine) in {flushed, flushed + 200}
    recorder = Recorder(engine)
    recorder.add([seen()])
    assert recorder.flush() == 1
    engine.dispose()


def test_what_was_confirmed_waits_for_the_disk(sqlite_journal):
    """A password, an answer and money are there after a power cut. Only what was seen may be lost."""
    levels: list[object] = []
    event.listen(
        sqlite_journal.engine, "commit", lambda each: levels.append(each.exec_driver_sql("PRAGMA synchronous").scalar())
    )
    recorder = Recorder(sqlite_journal)
    for told in (seen(), AccessRequest(NOW, DeviceId("mia-tablet"), "mia", "example.org"), seen()):
        recorder.add([told])
        recorder.flush()
    AccountStore(sqlite_journal).add_account(AccountRow("ana", "admin", "x", NOW))
    soon, on_disk = 1, 2
    assert levels == [soon, on_disk, soon, on_disk]


def test_run_flushes_in_the_background_and_at_the_end(journal):
    async def main():
        recorder = Recorder(journal)
        task = asyncio.create_task(recorder.run(interval=0.02))
        recorder.add([seen()])
        async with asyncio.timeout(30):
            while rows(journal) != 1:  # noqa: ASYNC110 - the database has no event to wait for
                await asyncio.sleep(0.01)
        recorder.add([seen()])
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert rows(journal) == 2

    asyncio.run(main())


def test_readers_do_not_wait_for_the_writer(journal):
    recorder = Recorder(journal)
    recorder.add(seen(host=f"{number}.example") for number in range(2000))
    recorder.flush()
    with journal.begin() as connection:
        connection.execute(decisions.delete())
        assert len(JournalReader(journal).decisions(limit=1000).rows) == 1000
        connection.rollback()
