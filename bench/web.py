"""Measure the journal and the pages over it. Prints one line per case.

    .venv/bin/python bench/web.py [--decisions 20000000] [--keep FOLDER]

A journal of 30 days is made first (once, where `--keep` names a directory): 40 devices and 200,000 hosts of which few
are common. Then each query of the pages runs many times, the pages are fetched from the web server in a process of its
own, and a recorder writes 5,000 events per second meanwhile. Aims: any page in 300 ms, a scrape in 50 ms, a page of 100
kB, control in 150 MB.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx

from hedgerow.journal.database import open_journal
from hedgerow.journal.event_receiver import EventReceiver
from hedgerow.journal.event_sender import EventSender
from hedgerow.journal.reader import DecisionFilter, JournalReader
from hedgerow.journal.recorder import Recorder
from hedgerow.journal.tables import reversed_labels
from hedgerow.policies.model import DeviceId, Observation, Reason, RequestKind, Verdict

DAYS = 30
DEVICES = [f"device-{number}" for number in range(40)]
HOSTS = 200_000
TOKEN = "bench"
POLICY = "people: {person-3: {age: 9, devices: [device-7]}}\ndevices: {device-7: {mac: '02:00:00:00:00:07'}}\n"


def make_journal(path: Path, decisions: int) -> None:
    """Fill a new journal. SQLite makes the rows itself, from tables of hosts and devices, newest last."""
    open_journal(path).dispose()
    rng = random.Random(7)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode=OFF")
        db.execute("PRAGMA synchronous=OFF")
        db.execute("CREATE TEMP TABLE names(n INTEGER PRIMARY KEY, key TEXT, verdict TEXT, reason TEXT, what TEXT)")
        db.executemany("INSERT INTO names VALUES (?,?,?,?,?)", (_name(number, rng) for number in range(HOSTS)))
        indexes = db.execute(
            "SELECT name, sql FROM sqlite_master WHERE type='index' AND tbl_name='decisions' AND sql NOT NULL"
        ).fetchall()
        for name, _ in indexes:
            db.execute(f"DROP INDEX {name}")
        start = time.time() - DAYS * 86400
        step = DAYS * 86400 / decisions
        db.execute(
            """
            WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?),
                 -- Not random(): SQLite would ask it once for all rows.
                 r(i, x, d) AS (SELECT i, (i * 2654435761 % 4294967296) / 4294967296.0, i * 40503 / 11 % 40 FROM n)
            INSERT INTO decisions(id, at, device, person, profile, kind, verdict, reason, what, host_key, url, rule, count)
            SELECT i, ? + i * ?, 'device-' || d, 'person-' || (d / 4), 'child-8-12', 'dns', verdict, reason, what, key, '', '', 1
            FROM r JOIN names ON names.n = CAST(? * x * x * x * x AS INTEGER)
            """,  # noqa: E501
            (decisions, start, step, HOSTS),
        )
        for _, statement in indexes:
            db.execute(statement)
        hour = "CAST(at / 3600 AS INTEGER)"
        key = "device, verdict, reason, what"
        db.execute(
            f"INSERT INTO hourly (hour, {key}, count) SELECT {hour}, {key}, sum(count) FROM decisions GROUP BY 1, 2, 3,"
            " 4, 5"
        )
        db.execute(
            f"INSERT INTO daily (day, {key}, count) SELECT hour / 24, {key}, sum(count) FROM hourly GROUP BY 1, 2, 3,"
            " 4, 5"
        )
        db.create_function("reversed_labels", 1, reversed_labels)
        db.execute(
            "INSERT INTO hosts_seen (host_key, host) SELECT DISTINCT host_key, reversed_labels(host_key) FROM decisions"
        )
        seen = [(name, "192.168.1.9", "", "child-8-12", None, None, start, time.time()) for name in DEVICES]
        db.executemany(
            "INSERT INTO devices_seen(device, address, name, profile, mac, person, first_seen, last_seen) VALUES"
            " (?,?,?,?,?,?,?,?)",
            seen,
        )


def _name(number: int, rng: random.Random) -> tuple[object, ...]:
    key = f"{rng.choice(('com', 'org', 'net', 'example'))}.site-{number // 7}.{('www', 'cdn', 'api', 'img', 'a.b', 'm', 'x')[number % 7]}"  # noqa: E501
    if rng.random() < 0.2:
        return number, key, "block", "category", rng.choice(("ads-trackers", "adult", "gambling", "social"))
    return number, key, "allow", "default", ""


def timed(name: str, ask: Callable[[], object], times: int = 7) -> None:
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        ask()
        seconds.append(time.perf_counter() - started)
    print(
        f"{name:66} median {statistics.median(seconds) * 1000:8.1f} ms   worst {max(seconds) * 1000:8.1f} ms",
        flush=True,
    )


def measure_questions(reader: JournalReader) -> None:
    now = time.time()
    middle = reader.decisions(DecisionFilter(before=now - 15 * 86400), limit=1).rows[0].host
    cases = {
        "newest": DecisionFilter(),
        "blocked": DecisionFilter(verdict=Verdict.BLOCK),
        "a device": DecisionFilter(device="device-7"),
        "a device, blocked": DecisionFilter(device="device-7", verdict=Verdict.BLOCK),
        "a device nobody has": DecisionFilter(device="nobody"),
        "a person": DecisionFilter(person="person-3"),
        "a common host": DecisionFilter(host="www.site-0.com"),
        "a common domain": DecisionFilter(host="site-0.com"),
        "a rare host": DecisionFilter(host="x.site-28000.org"),
        "an unknown host": DecisionFilter(host="never-asked.example"),
        "a host of the middle": DecisionFilter(host=middle),
        "a whole top-level domain": DecisionFilter(host="com"),
        "a common host, a device, blocked": DecisionFilter(host=middle, device="device-3", verdict=Verdict.BLOCK),
        "a day 20 days ago": DecisionFilter(since=now - 21 * 86400, before=now - 20 * 86400),
        "a day 20 days ago, a device, blocked": DecisionFilter(
            "device-9", None, Verdict.BLOCK, since=now - 21 * 86400, before=now - 20 * 86400
        ),
    }
    for name, wanted in cases.items():
        timed(f"decisions: {name}", lambda wanted=wanted: reader.decisions(wanted, limit=40))
    timed("devices with counts of today", lambda: reader.devices(now - 86400))
    timed("reasons of 30 days", lambda: reader.reasons(now - DAYS * 86400))


def measure_recorder(engine: object, seconds: float) -> None:
    """Write 5,000 events per second, twice per second, as control does."""
    recorder = Recorder(engine)  # type: ignore[arg-type]
    rng = random.Random(3)
    slowest, rounds = 0.0, int(seconds * 2)
    for _ in range(rounds):
        now = time.time()
        recorder.add(
            Observation(
                now,
                DeviceId(rng.choice(DEVICES)),
                None,
                "child-8-12",
                RequestKind.DNS,
                Verdict.BLOCK,
                Reason.CATEGORY,
                "ads-trackers",
                f"www.site-{rng.randrange(HOSTS)}.com",
            )
            for _ in range(2500)
        )
        started = time.perf_counter()
        assert recorder.flush() >= 2500, recorder.problem
        slowest = max(slowest, time.perf_counter() - started)
        time.sleep(max(0.0, 0.5 - (time.perf_counter() - started)))
    print(
        f"recorder: {rounds * 2500} events at 5,000 per second, {recorder.dropped} lost; slowest write of 2,500:"
        f" {slowest * 1000:.0f} ms",
        flush=True,
    )


async def receive(folder: Path) -> None:
    """Run control's share: events that arrive go to the recorder."""
    server = EventReceiver(folder / "events.sock")
    recorder = Recorder(open_journal(folder / "journal.sqlite"))
    await server.start()
    print("ready", flush=True)
    writing = asyncio.create_task(recorder.run())
    reading = asyncio.create_task(_hand_over(server, recorder))
    await asyncio.to_thread(sys.stdin.read)
    await server.close()
    for task in (reading, writing):
        task.cancel()
    await asyncio.gather(reading, writing, return_exceptions=True)
    print(recorder.dropped, flush=True)


async def _hand_over(server: EventReceiver, recorder: Recorder) -> None:
    async for delivery in server.batches():
        recorder.add(delivery.messages)


async def send(folder: Path, seconds: float) -> tuple[EventSender, int, list[float]]:
    """Run a worker's share: 5,000 observations per second, and the delay of its loop."""
    sender = EventSender(folder / "events.sock", "dns-0", "dns")
    talking = asyncio.create_task(sender.run())
    rng, sent, late = random.Random(3), 0, list[float]()
    start = time.monotonic()
    while (now := time.monotonic()) - start < seconds:
        for _ in range(int((now - start) * 5000) - sent):
            sender.send(
                Observation(
                    time.time(),
                    DeviceId("bench-worker"),
                    None,
                    "child-8-12",
                    RequestKind.DNS,
                    Verdict.BLOCK,
                    Reason.CATEGORY,
                    "ads-trackers",
                    f"www.site-{rng.randrange(HOSTS)}.com",
                )
            )
            sent += 1
        due = time.monotonic() + 0.01
        await asyncio.sleep(0.01)
        late.append(time.monotonic() - due)
    await asyncio.sleep(2)
    talking.cancel()
    await asyncio.gather(talking, return_exceptions=True)
    return sender, sent, sorted(late)


def measure_sender(journal: Path, seconds: float) -> None:
    """Measure the way from a worker's loop into a journal as large as it gets: nothing may be lost, nor the loop be
    held up.
    """
    command = [sys.executable, "-P", __file__, "--receive", str(journal.parent)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as control:
        assert control.stdout is not None
        control.stdout.readline()
        before = time.process_time()
        sender, sent, late = asyncio.run(send(journal.parent, seconds))
        worker_cpu = time.process_time() - before
        reported, _ = control.communicate("")
    with contextlib.closing(sqlite3.connect(journal)) as db:
        kept = db.execute("SELECT count(*) FROM decisions WHERE device = 'bench-worker'").fetchone()[0]
        db.execute("DELETE FROM decisions WHERE device = 'bench-worker'")
        db.commit()
    print(
        f"sender: {sent:,} events in {seconds:g} s, {kept:,} in the journal; dropped: {sender.dropped} by the worker, "
        f"{int(reported)} by control; worker: {worker_cpu / sent * 1e6:.1f} us CPU an event, "
        f"loop late by {late[len(late) // 2] * 1e3:.1f} ms (median), "
        f"{late[int(len(late) * 0.99)] * 1e3:.1f} ms (99 %), {late[-1] * 1e3:.0f} ms (worst)",
        flush=True,
    )


@contextlib.contextmanager
def served(journal: Path) -> Iterator[tuple[httpx.Client, int]]:
    """Run the web server over the journal in a process of its own."""
    command = [sys.executable, "-P", __file__, "--serve", str(journal)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        port = int(process.stdout.readline())
        try:
            with httpx.Client(
                base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60
            ) as client:
                yield client, process.pid
        finally:
            process.terminate()


def serve(journal: Path) -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))
    from web_server import running_web

    with running_web(journal.parent, token=TOKEN, clock=time.time, warm=True) as web:
        print(web.port, flush=True)
        time.sleep(3600)


def measure_pages(journal: Path) -> None:
    with served(journal) as (client, pid):
        for path in (
            "/",
            "/log",
            "/log?day=week",
            "/log?day=week&host=site-0.com",
            "/log?day=week&host=never-asked.example",
            "/log?day=week&device=device-7",
            "/log?day=week&device=device-7&verdict=block",
            "/log/raw",
            "/log/raw?device=device-7&verdict=block",
            "/why?who=device:device-7&target=www.site-0.com",
            "/why?who=person:person-3&target=roblox",
            "/why?row=1000",
            "/devices",
            "/people",
            "/metrics",
        ):
            started = time.perf_counter()
            answer = client.get(path)
            answer.raise_for_status()
            first = (time.perf_counter() - started) * 1000
            name = f"GET {path} ({len(answer.content) / 1000:.0f} kB, first look {first:.0f} ms)"
            timed(name, lambda path=path: client.get(path).raise_for_status())
        peak = next(
            line.split()[1] for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")
        )
        print(f"web process: {int(peak) / 1024:.0f} MB at the peak", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--decisions", type=int, default=20_000_000)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long events are recorded")
    parser.add_argument("--only", choices=["questions", "recorder", "sender", "pages"])
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--receive", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.receive:
        asyncio.run(receive(chosen.receive))
        return
    if chosen.serve:
        serve(chosen.serve)
        return
    with tempfile.TemporaryDirectory() as scratch:
        journal = (chosen.keep or Path(scratch)) / "journal.sqlite"
        (journal.parent / "hedgerow.yaml").write_text(POLICY)
        if not journal.exists():
            started = time.perf_counter()
            make_journal(journal, chosen.decisions)
            print(
                f"made {chosen.decisions:,} decisions in {time.perf_counter() - started:.0f} s,"
                f" {journal.stat().st_size / 1e9:.1f} GB",
                flush=True,
            )
        engine = open_journal(journal)
        if chosen.only in (None, "questions"):
            measure_questions(JournalReader(engine))
        if chosen.only in (None, "recorder"):
            measure_recorder(engine, chosen.seconds)
        if chosen.only in (None, "sender"):
            measure_sender(journal, chosen.seconds)
        if chosen.only in (None, "pages"):
            measure_pages(journal)
        engine.dispose()


if __name__ == "__main__":
    main()
