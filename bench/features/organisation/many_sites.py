"""Measure many sites that share one PostgreSQL store, through the product's own client of the store.

    python bench/features/organisation/many_sites.py events [--sites 1000] [--rate 20000] [--seconds 300]
    python bench/features/organisation/many_sites.py killed [--sites 1000] [--rate 2000] [--seconds 60] [--away 60]
    python bench/features/organisation/many_sites.py policy [--sites 1000]

`events`: decisions come at a steady rate, at each site in turn. Each site has a recorder of its own, which flushes as
that of a node; the sites are tasks of two processes. Afterwards every event is looked for, once. The bytes per event
are without those of the empty database. `killed`: the same, while the server is killed and away. `policy`: each site
waits for changes over a connection of its own and looks every 1.5 seconds besides, in four processes; from the
publication of a version until each has read it.

The server syncs each commit to the disk (`fsync` and `synchronous_commit` on). Servers and sites share the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import platform
import queue
import random
import resource
import select
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "tests" / "support"))

import needs
from postgres_server import PostgresServer, binaries, running_server

from hedgerow.features.organisation.levels import ORGANISATION, OrganisationStore
from hedgerow.journal.batch import Spool
from hedgerow.journal.database import open_journal
from hedgerow.journal.policy_history import MAIN_FILE, PolicyVersion
from hedgerow.journal.postgresql_connection import ChangeListener
from hedgerow.journal.recorder import Recorder, flush_regularly
from hedgerow.journal.store import StoreAddress
from hedgerow.policies.model import DeviceId, Observation, Reason, RequestKind, Verdict

DURABLE = {
    "fsync": "on",
    "full_page_writes": "on",
    "autovacuum": "on",
    "shared_buffers": "512MB",
    "max_connections": "1200",
    "max_wal_size": "4GB",
    "wal_recycle": "on",
}
WRITERS, FOLLOWERS = 2, 4
HOSTS = 500
"""Different hosts of a site: most of a day's decisions are about few."""
LOOK_S = 1.5  # as a node does


@dataclass(frozen=True, slots=True)
class Written:
    """The events of a process, the seconds until all were written, and those that a recorder dropped."""

    sent: int
    seconds: float
    dropped: int


def write(
    address: StoreAddress, sites: range, rate: float, seconds: float, spools: str, done: multiprocessing.Queue[Written]
) -> None:
    """Record decisions of the sites at a rate for all of them, and say what became of them once all are written."""
    with closing(open_journal(address)) as store:
        recorders = [
            Recorder(replace(store, site=f"site-{site}"), spool=Spool(Path(spools) / str(site))) for site in sites
        ]
        done.put(asyncio.run(_serve(recorders, rate, seconds)))


async def _serve(recorders: Sequence[Recorder], rate: float, seconds: float) -> Written:
    flushing = [asyncio.create_task(flush_regularly(recorder, 0.5)) for recorder in recorders]
    began, sent = time.monotonic(), 0
    while (elapsed := time.monotonic() - began) < seconds:
        while sent < min(elapsed * rate, seconds * rate):
            recorders[sent % len(recorders)].add([_observation(sent)])
            sent += 1
            if sent % 100 == 0:
                await asyncio.sleep(0)
        await asyncio.sleep(0.01)
    for task in flushing:
        task.cancel()
    await asyncio.gather(*flushing, return_exceptions=True)  # each flushes once more
    while waiting := [recorder for recorder in recorders if recorder.problem]:
        await asyncio.sleep(1)
        for recorder in waiting:
            recorder.flush()
    return Written(sent, time.monotonic() - began, sum(recorder.dropped for recorder in recorders))


def _observation(number: int) -> Observation:
    verdict, reason = (Verdict.BLOCK, Reason.CATEGORY) if number % 5 == 0 else (Verdict.ALLOW, Reason.DEFAULT)
    return Observation(
        time.time(),
        DeviceId(f"device-{number % 20}"),
        f"person-{number % 8}",
        "child-8-12",
        RequestKind.DNS,
        verdict,
        reason,
        "adult" if verdict is Verdict.BLOCK else "",
        f"host-{number % HOSTS}.example",
        rule=str(number),
    )


def measure(
    sites: int, rate: float, seconds: float, during: Callable[[PostgresServer], None] | None = None
) -> dict[str, object]:
    """Write events of all sites from `WRITERS` processes, and count what has arrived."""
    with running_server(DURABLE) as server, tempfile.TemporaryDirectory() as spools:
        database = server.database()
        open_journal(server.address(database)).dispose()
        ((empty,),) = server.execute("SELECT pg_database_size(current_database())", database)
        done: multiprocessing.Queue[Written] = multiprocessing.Queue()
        shares = [range(first, sites, WRITERS) for first in range(WRITERS)]
        arguments = [(server.address(database), share, rate / WRITERS, seconds, spools, done) for share in shares]
        writers = [multiprocessing.Process(target=write, args=each) for each in arguments]
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        for writer in writers:
            writer.start()
        if during is not None:
            during(server)
        written = [done.get() for _ in writers]
        for writer in writers:
            writer.join()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        ((arrived, different, size),) = server.execute(
            "SELECT count(*), count(DISTINCT (site, rule)), pg_database_size(current_database()) FROM decisions",
            database,
        )
        ((transactions,),) = server.execute("SELECT sum(batch) FROM writers", database)
    sent, took = sum(each.sent for each in written), max(each.seconds for each in written)
    client = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    return {
        "sites": sites,
        "seconds": round(took, 1),
        "sent": sent,
        "per_second": round(sent / took),
        "events_per_transaction": round(sent / int(transactions)),
        "lost": sent - different,
        "twice": arrived - different,
        "dropped": sum(each.dropped for each in written),
        "bytes_per_event": round((size - int(empty)) / max(arrived, 1)),
        "empty_database_mb": round(int(empty) / 1e6, 1),
        "client_cpu_us_per_event": round(client / max(sent, 1) * 1e6),
        "load": round(os.getloadavg()[0], 1),
    }


def kill_for(seconds: float) -> Callable[[PostgresServer], None]:
    def kill(server: PostgresServer) -> None:
        time.sleep(10)
        server.stop()
        time.sleep(seconds)
        server.start()

    return kill


def follow(
    address: StoreAddress, sites: range, ready: Synchronized[int], over: Event, read_at: multiprocessing.Queue[float]
) -> None:
    """Wait for changes of the sites as their nodes do, and say when each has read the organisation's policy."""
    with closing(open_journal(address)) as store, contextlib.ExitStack() as stack:
        poller, following = select.poll(), {}
        for number in sites:
            own = replace(store, site=f"site-{number}")
            changes = own.dialect.changes(own.site)
            assert isinstance(changes, ChangeListener)
            stack.enter_context(closing(changes)).wait(0)
            poller.register(changes.fileno(), select.POLLIN)
            following[changes.fileno()] = own, changes
            with ready.get_lock():
                ready.value += 1
        look_at = {place: time.monotonic() + random.uniform(0, LOOK_S) for place in following}
        while following and not over.is_set():
            told = {place for place, _ in poller.poll(20)}
            for place in told | {place for place, at in look_at.items() if at < time.monotonic()}:
                own, changes = following[place]
                look_at[place] = time.monotonic() + LOOK_S
                if changes.wait(0) and "organisation" in OrganisationStore(own).levels():
                    read_at.put(time.monotonic())
                    poller.unregister(place)
                    del following[place], look_at[place]


def policy(sites: int) -> dict[str, object]:
    """Publish a version while all sites wait for changes. Returns the seconds until sites have read it."""
    with running_server(DURABLE) as server:
        database = server.database()
        with closing(open_journal(server.address(database))) as store:
            ready, over = multiprocessing.Value("i", 0), multiprocessing.Event()
            read_at: multiprocessing.Queue[float] = multiprocessing.Queue()
            shares = [range(first, sites, FOLLOWERS) for first in range(FOLLOWERS)]
            arguments = [(server.address(database), share, ready, over, read_at) for share in shares]
            followers = [multiprocessing.Process(target=follow, args=each) for each in arguments]
            for follower in followers:
                follower.start()
            while ready.value < sites:
                time.sleep(0.1)
            time.sleep(5)
            text = "profiles:\n  child-8-12: {block: [+roblox]}\n"
            began = time.monotonic()
            version = PolicyVersion(0, time.time(), "bench", "", "bench", 0, {MAIN_FILE: text})
            OrganisationStore(store).publish(ORGANISATION, version)
            found: list[float] = []
            with contextlib.suppress(queue.Empty):
                while len(found) < sites:
                    found.append(read_at.get(timeout=60) - began)
            over.set()
            for follower in followers:
                follower.join()
    found.sort()
    return {
        "sites": sites,
        "reached": len(found),
        "median": round(found[len(found) // 2], 2),
        "p99": round(found[int(len(found) * 0.99)], 2),
        "last": round(found[-1], 2),
        "load": round(os.getloadavg()[0], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("events", "killed", "policy"))
    parser.add_argument("--sites", type=int, default=1000)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--away", type=float, default=60)
    given = parser.parse_args()
    if binaries() is None:
        needs.stop("PostgreSQL (package postgresql)")
    print(f"{platform.machine()}, Python {platform.python_version()}, {os.cpu_count()} cores")
    if given.what == "policy":
        found = policy(given.sites)
    elif given.what == "events":
        found = measure(given.sites, given.rate or 20_000, given.seconds or 300)
    else:
        found = measure(given.sites, given.rate or 2000, (given.seconds or 60) + given.away, kill_for(given.away))
    print(json.dumps({"what": given.what, **found}), flush=True)


if __name__ == "__main__":
    main()
