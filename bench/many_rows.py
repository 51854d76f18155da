"""Measure the organisation's pages, and those of one of its sites, over a store with very many decisions.

    .venv/bin/python bench/many_rows.py [--rows 100000000] [--sites 1000] [--days 30] [--rounds 20]
        [--folder FOLDER]

The rows are made by the server itself, in unlogged tables: 100 million take 40 GB and under an hour. In `--folder` they
are kept, and found again by the next run. Each site has 8 devices, and 500 hosts of which few have most decisions. All
sums, sightings and hosts are there as recorders leave them. A whole Hedgerow then serves the pages of the office, with
the role that owns the tables, and another one those of a site. Each page is fetched in turn; the first time counts by
itself, as nothing of it is in memory then.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

import needs
import httpx
from postgres_server import PostgresServer, binaries
from small_internet import SmallInternet, small_internet
from small_internet.running import hedgerow_command, network_section, running_hedgerow

from hedgerow.journal.database import open_journal

DAY_S = 86400
SETTINGS = {
    "shared_buffers": "1GB",
    "max_wal_size": "4GB",
    "wal_recycle": "on",
    "autovacuum": "off",
    "maintenance_work_mem": "512MB",
    "max_parallel_maintenance_workers": "0",
    "max_parallel_workers_per_gather": "0",
}
SEARCHES = ("host-7.example", "ost-49", "tablet", "nothing-like-it")
OFFICE = ("/organisation", "/organisation/edit", *(f"/organisation/search?q={text}" for text in SEARCHES), "/healthz")
SITE = (
    "/",
    "/people/mia",
    "/devices",
    "/log",
    "/log?day=30",
    "/log?verdict=block",
    "/log?host=host-7",
    "/log/raw",
    "/organisation",
)

DEVICES = "ARRAY['tablet', 'phone', 'laptop', 'console', 'television', 'desktop', 'watch', 'speaker']"
ONE_DAY = f"""
CREATE UNLOGGED TABLE {{table}} (LIKE decisions INCLUDING DEFAULTS);
INSERT INTO {{table}} (id, site, at, device, person, profile, kind, verdict, reason, what, host_key, url, rule, count)
SELECT {{number}}::bigint * {{rows}} + n, 'site-' || n % {{sites}}, {{start}} + (n - 1) * ({DAY_S}::float8 / {{rows}}),
    ({DEVICES})[1 + floor(random() * 8)::int], CASE WHEN n % 3 > 0 THEN 'mia' END, 'child-8-12', 'dns',
    CASE WHEN n % 5 = 0 THEN 'block' ELSE 'allow' END, CASE WHEN n % 5 = 0 THEN 'category' ELSE 'default' END,
    CASE WHEN n % 5 = 0 THEN (ARRAY['adult', 'social', 'games', 'ads'])[1 + n % 4] ELSE '' END,
    'example.host-' || floor(500 * random() ^ 3)::int, '', '', 1
FROM generate_series(1, {{rows}}) n;
ALTER TABLE {{table}} ADD CONSTRAINT of_day CHECK (at >= {{start}} AND at < {{start}} + {DAY_S});
ALTER TABLE decisions ATTACH PARTITION {{table}} FOR VALUES FROM ({{start}}) TO ({{start}} + {DAY_S});
ANALYZE {{table}};
"""
SUMS = f"""
SET work_mem = '512MB';
CREATE TEMP TABLE keys AS SELECT 'site-' || s AS site, device, verdict, reason, what FROM generate_series(0, {{sites}} - 1) s,
    unnest({DEVICES}) device,
    (VALUES ('allow', 'default', ''), ('block', 'category', 'adult'), ('block', 'category', 'social')) v (verdict, reason, what);
INSERT INTO hourly (site, hour, device, verdict, reason, what, count)
    SELECT site, h, device, verdict, reason, what, 7 FROM keys, generate_series({{first_hour}}, {{last_hour}}) h;
INSERT INTO daily (site, day, device, verdict, reason, what, count)
    SELECT site, d, device, verdict, reason, what, 7 * 24 FROM keys, generate_series({{first_hour}} / 24, {{last_hour}} / 24) d;
INSERT INTO hosts_seen (site, host_key, host)
    SELECT 'site-' || s, 'example.host-' || h, 'host-' || h || '.example'
    FROM generate_series(0, {{sites}} - 1) s, generate_series(0, 499) h;
INSERT INTO devices_seen (site, device, address, name, profile, person, first_seen, last_seen)
    SELECT 'site-' || s, device, '127.0.0.2', '', 'child-8-12', 'mia', {{now}} - 86400 * 30, {{now}}
    FROM generate_series(0, {{sites}} - 1) s, unnest({DEVICES}) device;
INSERT INTO site_groups SELECT 'site-' || s, 'group-' || s % 20 FROM generate_series(0, {{sites}} - 1) s;
INSERT INTO site_status SELECT 'site-' || s, 'node-' || n, {{now}}, '{{state}}'
    FROM generate_series(0, {{sites}} - 1) s, generate_series(1, 2) n;
SELECT setval(pg_get_serial_sequence('decisions', 'id'), (SELECT max(id) FROM decisions));
ANALYZE hourly; ANALYZE daily; ANALYZE hosts_seen; ANALYZE devices_seen; ANALYZE site_status;
"""  # noqa: E501
STATE = {
    "software": "1",
    "policy_hash": "0123456789abcdef",
    "versions": {},
    "list_age_hours": 5,
    "coverage": {"adult": "full", "ads": "full"},
    "seats": 20,
    "seats_in_use": 7,
    "problems": [],
}


def fill(server: PostgresServer, database: str, rows: int, sites: int, days: int) -> None:
    """Make the tables, and days of decisions up to now."""
    open_journal(server.address(database)).dispose()
    now = time.time()
    today = int(now // DAY_S)

    def make(number: int) -> None:
        day = today - number
        table = f"decisions_{time.strftime('%Y%m%d', time.gmtime(day * DAY_S))}"
        began = time.monotonic()
        if server.execute(f"SELECT 1 FROM pg_class WHERE relname = '{table}' AND reltuples > 0", database):
            return
        server.execute(f"DROP TABLE IF EXISTS {table}", database)
        facts = {"table": table, "number": days - number, "rows": rows // days, "sites": sites, "start": day * DAY_S}
        server.execute(ONE_DAY.format(**facts), database)
        print(f"{table}: {rows // days:,} rows in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)

    with ThreadPoolExecutor(2) as workers:
        list(workers.map(make, range(days)))
    hours = {"first_hour": (today - days + 1) * 24, "last_hour": int(now // 3600)}
    if server.execute("SELECT 1 FROM daily LIMIT 1", database):
        return
    server.execute(SUMS.format(sites=sites, now=now, state=json.dumps(STATE), **hours), database)
    server.execute(f"ALTER DATABASE {database} OWNER TO hedgerow; GRANT CREATE ON SCHEMA public TO hedgerow", database)
    for (name,) in server.execute(
        "SELECT relname FROM pg_class WHERE relname ~ '^decisions_[0-9]{8}$' AND relkind = 'r'", database
    ):
        server.execute(f"ALTER TABLE {name} OWNER TO hedgerow", database)


@contextlib.contextmanager
def serving(folder: Path | None) -> Iterator[PostgresServer]:
    """Run a server with its files in a directory, or in one that is removed at the end."""
    programs = binaries()
    if programs is None:
        needs.stop("PostgreSQL (package postgresql)")
    place = folder or Path(tempfile.mkdtemp(prefix="hedgerow-rows-"))
    server = PostgresServer(place, programs, SETTINGS)
    try:
        if not (place / "data").exists():
            server.create()
        server.start()
        yield server
    finally:
        server.stop(signal.SIGINT)
        if folder is None:
            shutil.rmtree(place)


def measure(url: str, site: str | None, paths: tuple[str, ...], internet: SmallInternet, rounds: int) -> None:
    """Serve the pages of the office or of a site, fetch each in turn and print its times."""
    where = f'  store: "{url}"\n' + (f"  site: {site}\n" if site else "")
    people = "people:\n  mia: {age: 9, devices: [tablet]}\ndevices:\n  tablet: {ip: 127.0.0.2}\n"
    times: dict[str, list[float]] = {path: [] for path in paths}
    sizes: dict[str, tuple[int, int]] = {}
    with running_hedgerow(network_section(internet) + where + people) as node:
        local = httpx.HTTPTransport(uds=str(node.state / "run" / "control.sock"))
        with httpx.Client(transport=local, timeout=120, trust_env=False) as client:
            for path in paths * rounds:
                began = time.monotonic()
                answer = client.get(f"http://localhost{path}")
                times[path].append((time.monotonic() - began) * 1000)
                sizes[path] = answer.status_code, len(answer.content)
    for path, each in times.items():
        first, *rest = each
        ordered = sorted(rest)
        figures = {
            "first": first,
            "median": statistics.median(ordered),
            "p95": ordered[int(len(ordered) * 0.95)],
            "worst": ordered[-1],
        }
        shown = {name: f"{value:.0f} ms" for name, value in figures.items()}
        print(
            json.dumps(
                {"of": site or "office", "page": path, "status": sizes[path][0], "bytes": sizes[path][1], **shown}
            ),
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000_000)
    parser.add_argument("--sites", type=int, default=1000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--rounds", type=int, default=20)
    given = parser.parse_args()
    with serving(given.folder) as server:
        database = "many_rows"
        if not server.execute("SELECT 1 FROM pg_database WHERE datname = 'many_rows'"):
            server.execute("CREATE ROLE hedgerow LOGIN CREATEROLE")
            server.execute("CREATE DATABASE many_rows OWNER hedgerow")
        fill(server, database, given.rows, given.sites, given.days)
        ((count, size),) = server.execute(
            "SELECT sum(reltuples)::bigint, pg_size_pretty(pg_database_size(current_database())) FROM pg_class "
            "WHERE relname ~ '^decisions_[0-9]{8}$' AND relkind = 'r'",
            database,
        )
        ((version,),) = server.execute("SHOW server_version")
        print(
            f"{platform.machine()}, {os.cpu_count()} cores, PostgreSQL {version}: {count:,} decisions, {size}",
            flush=True,
        )
        url = server.address(database).url
        with tempfile.TemporaryDirectory() as state:
            words = ("store", "grant", "site-7", "--manage", "--json", "--store", url, "--state", state)
            site_url = json.loads(hedgerow_command(*words).stdout)["store"]
        with small_internet() as internet:
            measure(url, None, OFFICE, internet, given.rounds)
            measure(site_url, "site-7", SITE, internet, given.rounds)
        print(f"load {os.getloadavg()[0]:.0f}")


if __name__ == "__main__":
    main()
