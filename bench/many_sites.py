"""Measure many sites that share one PostgreSQL store, through the product's own client of the store.

    .venv/bin/python bench/many_sites.py events [--sites 1000] [--batch 10 100 1000] [--seconds 60]
    .venv/bin/python bench/many_sites.py killed [--sites 50] [--away 60]
    .venv/bin/python bench/many_sites.py policy --sites 200

`events`: sites take turns to record a batch of decisions, as a node does twice per second with what has come meanwhile, as fast as it goes,
from two processes; then every event is looked for, once. `killed`: the same with pauses, while the server is killed (SIGQUIT) and away.
`policy`: each site waits for changes over a connection of its own; from the publication of a version until each has read it.

The server syncs each commit to the disk (`fsync` and `synchronous_commit` on). Servers and sites share the machine.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))  # which Python leaves out where it runs safely

from postgres_server import PostgresServer, running_server

from hedgerow.journal.database import open_journal
from hedgerow.journal.organisation import ORGANISATION, OrganisationStore
from hedgerow.journal.policy_history import MAIN_FILE, PolicyVersion
from hedgerow.journal.recorder import Recorder
from hedgerow.journal.spool import Spool
from hedgerow.journal.store import StoreAddress
from hedgerow.policies.model import DeviceId, Observation, Reason, RequestKind, Verdict

DURABLE = {
    "fsync": "on", "full_page_writes": "on", "autovacuum": "on", "shared_buffers": "512MB", "max_connections": "1200",
    "max_wal_size": "4GB", "wal_recycle": "on",
}  # fmt: skip
WRITERS = 2
HOSTS = 500
"""Different hosts of a site: most of a day's decisions are about few."""


def write(
    address: StoreAddress, sites: range, batch: int, seconds: float, pause: float, spools: str, done: multiprocessing.Queue[int]
) -> None:
    """Record batches of the sites in turn, and put the number of events into `done` once all are written."""
    with closing(open_journal(address)) as store:
        recorders = [
            Recorder(replace(store, site=f"site-{site}"), limit=10**7, spool=Spool(Path(spools) / str(site))) for site in sites
        ]  # fmt: skip
        sent, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            for recorder in recorders:
                recorder.add(_observation(sent + number) for number in range(batch))
                recorder.flush()
                sent += batch
                if time.monotonic() > end:
                    break
                time.sleep(pause)
        deadline = time.monotonic() + 300
        while any(recorder.problem for recorder in recorders) and time.monotonic() < deadline:
            for recorder in recorders:
                recorder.flush()
            time.sleep(0.5)
    done.put(sent)


def _observation(number: int) -> Observation:
    verdict, reason = (Verdict.BLOCK, Reason.CATEGORY) if number % 5 == 0 else (Verdict.ALLOW, Reason.DEFAULT)
    return Observation(
        time.time(), DeviceId(f"device-{number % 20}"), f"person-{number % 8}", "child-8-12", RequestKind.DNS, verdict, reason,
        "adult" if verdict is Verdict.BLOCK else "", f"host-{number % HOSTS}.example", rule=str(number),
    )  # fmt: skip


def measure(
    sites: int, batch: int, seconds: float, pause: float = 0.0, during: Callable[[PostgresServer], None] | None = None
) -> dict[str, object]:
    """Write events of all sites from `WRITERS` processes, and count what has arrived."""
    with running_server(DURABLE) as server, tempfile.TemporaryDirectory() as spools:
        database = server.database()
        open_journal(server.address(database)).dispose()
        done: multiprocessing.Queue[int] = multiprocessing.Queue()
        shares = [range(first, sites, WRITERS) for first in range(WRITERS)]
        arguments = [(server.address(database), share, batch, seconds, pause, spools, done) for share in shares]
        writers = [multiprocessing.Process(target=write, args=each) for each in arguments]
        began, used = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        for writer in writers:
            writer.start()
        if during is not None:
            during(server)
        sent = sum(done.get() for _ in writers)
        for writer in writers:
            writer.join()
        took = time.monotonic() - began
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        ((arrived, different, size),) = server.execute(
            "SELECT count(*), count(DISTINCT (site, rule)), pg_database_size(current_database()) FROM decisions", database
        )
    client = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    return {
        "sites": sites, "batch": batch, "seconds": round(took, 1), "sent": sent, "per_second": round(sent / took),
        "lost": sent - different, "twice": arrived - different, "bytes_per_event": round(size / max(arrived, 1)),
        "client_cpu_us_per_event": round(client / max(sent, 1) * 1e6), "load": round(os.getloadavg()[0], 1),
    }  # fmt: skip


def kill_for(seconds: float) -> Callable[[PostgresServer], None]:
    def kill(server: PostgresServer) -> None:
        time.sleep(10)
        server.stop()
        time.sleep(seconds)
        server.start()

    return kill


def policy(sites: int) -> dict[str, object]:
    """Publish a version while all sites wait for changes. Returns the seconds until sites have read it."""
    with running_server(DURABLE) as server:
        database = server.database()
        with closing(open_journal(server.address(database))) as store:
            organisation, reading = OrganisationStore(store), threading.Semaphore(2)
            read_at: list[float] = []
            ready, over = threading.Barrier(sites + 1), threading.Event()

            def follow(site: int) -> None:
                own = replace(store, site=f"site-{site}")
                changes = own.dialect.changes(own.site)
                assert changes is not None
                with closing(changes):
                    changes.wait(0)
                    ready.wait()
                    while not over.is_set():
                        if changes.wait(1.5):
                            with reading:  # as many connections as are kept open
                                is_read = "organisation" in OrganisationStore(own).levels()
                            if is_read:
                                read_at.append(time.monotonic())
                                return

            threads = [threading.Thread(target=follow, args=(site,)) for site in range(sites)]
            for thread in threads:
                thread.start()
            ready.wait()
            time.sleep(5)
            text = "profiles:\n  child-8-12: {block: [+roblox]}\n"
            began = time.monotonic()
            organisation.publish(ORGANISATION, PolicyVersion(0, time.time(), "bench", "", "bench", 0, {MAIN_FILE: text}))
            for thread in threads:
                thread.join(120)
            over.set()
    found = sorted(at - began for at in read_at)
    return {
        "sites": sites, "reached": len(found), "median": round(found[len(found) // 2], 2), "p99": round(found[int(len(found) * 0.99)], 2),
        "last": round(found[-1], 2), "load": round(os.getloadavg()[0], 1),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("events", "killed", "policy"))
    parser.add_argument("--sites", type=int, default=1000)
    parser.add_argument("--batch", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--away", type=float, default=60)
    given = parser.parse_args()
    print(f"{platform.machine()}, Python {platform.python_version()}, {os.cpu_count()} cores")
    if given.what == "policy":
        print(json.dumps(policy(given.sites)), flush=True)
    for batch in given.batch if given.what != "policy" else ():
        is_killed = given.what == "killed"
        during, pause = (kill_for(given.away), 0.02) if is_killed else (None, 0.0)
        print(json.dumps(measure(given.sites, batch, given.seconds + given.away * is_killed, pause, during)), flush=True)


if __name__ == "__main__":
    main()
