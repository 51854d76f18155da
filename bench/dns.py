"""Measure one DNS worker beside its peers in the same run: CPU per query, queries per second, latency, memory.

    .venv/bin/python bench/dns.py [--pairs 5] [--seconds 2] [--kinds blocked cached …] [--domains 1000000] [--list FILE]
    [--benign FILE]
                                  [--plain] [--out FILE]

The server is pinned to one core and dnsperf to the other. The sides alternate; medians and the spread of the ratios are
printed. All sides block the same names: those of `--list`, if any, and generated ones that look like real ones,
`--domains` together (peers other than Unbound: the first 200,000). All forward to the same dnsmasq, which answers
everything.

Kinds: `blocked`, `cached` and `mixed` are measured beside Unbound, with 2,000 names each. `shapes` are the cached names
in random case with an EDNS cookie, beside our own `cached`. `allowed-N` are N allowed hosts, generated or those of
`--benign`, and `blocked-N` N hosts of the listed domains, asked again and again. `miss` are allowed hosts that were
never asked before, `cold-blocked` hosts of listed domains, and `busy-site` random names under one site that many know.
`zipf` are 200,000 names, of which 30 % are blocked and the nth is asked 1/n as often as the first. `latency-5000` and
`latency-20000` are the 99th percentile of `mixed` at that many queries per second. `dnsmasq-mixed`, `recursor-mixed`,
`knot-mixed` and the like are beside those peers, with the list as a response policy zone where they support it. `dot`
and `doh` are `cached` over eight kept connections, and compare queries per second. `workers` is `mixed`: two workers on
a core each beside one that gets half as many queries, so that a ratio of 1 shows that neither waits for the other.
`--plain` does without recvmmsg. All kinds take about a quarter of an hour.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

sys.path.append(str(Path(__file__).parent))  # which Python leaves out where it runs safely
import needs
import dns_names
import dns_sides
import results_file
from dns_sides import Side, Stand

LISTED = 219_000
PEERS = {"dnsmasq": dns_sides.dnsmasq, "recursor": dns_sides.recursor, "knot": dns_sides.knot}
PEER_PROGRAMS = {"recursor": "pdns_recursor", "knot": "kresd"}
PEER_DOMAINS = 200_000
WORKER_RATE = 15_000  # queries per second for each worker, which leaves room for what sends them
KINDS = [
    *("blocked", "cached", "mixed", "shapes", "miss", "cold-blocked", "busy-site", "latency-5000", "latency-20000"),
    *("allowed-40000", "allowed-100000", "blocked-100000", "blocked-660000", "zipf"),
    *(f"{peer}-{kind}" for peer in PEERS for kind in ("blocked", "cached", "mixed")),
    *("dot", "doh", "workers"),
]


COLD = ("miss", "cold-blocked", "busy-site")


@dataclass(frozen=True, slots=True)
class Run:
    """One dnsperf run: microseconds of server CPU per query, queries per second, queries lost."""

    cpu: float
    rate: float
    lost: int


def blocked_names(count: int = LISTED, path: Path | None = None) -> list[str]:
    """Return the names of a list, filled up with generated ones to `count`."""
    names = dns_names.read_names(path) if path else []
    known = frozenset(names)
    others = (name for name in dns_names.sites(2) if name not in known)
    return [*names, *islice(others, max(0, count - len(names)))]


@dataclass(slots=True)
class QueryFiles:
    """Files of queries, written into a folder when a kind is measured.

    `names` are blocked; `benign` are hosts to use as allowed ones.
    """

    folder: Path
    names: Sequence[str]
    benign: Sequence[str] = ()
    number: int = 0

    def of(self, kind: str) -> Path:
        """Return the file of a kind with a working set."""
        path = self.folder / f"{kind}.txt"
        if not path.exists():
            path.write_text("\n".join(self._lines(kind)) + "\n")
        return path

    def fresh(self, kind: str, count: int) -> Path:
        """Return a file of so many names that were in no file before."""
        self.number += 1
        match kind:
            case "cold-blocked":
                found = dns_names.fresh(self.names, count, self.number)
            case "busy-site":
                found = dns_names.busy_site("cloudfront.net", count, self.number)
            case _:
                found = dns_names.fresh(self._allowed(20_000), count, self.number)
        path = self.folder / "fresh.txt"
        path.write_text("".join(f"{name} A\n" for name in found))
        return path

    def _lines(self, kind: str) -> list[str]:
        rng = random.Random(1)
        cached = [f"{each} A" for each in self._allowed(2000)]
        name, _, size = kind.partition("-")
        if name == "allowed":
            return [f"{each} A" for each in self._allowed(int(size))]
        if name == "blocked" and size:
            if 3.1 * len(self.names) < int(size):
                raise SystemExit(f"{kind} needs a longer list than {len(self.names):,} domains")
            return [f"{each} A" for each in dns_names.beneath(self.names)[: int(size)]]
        if name == "zipf":
            both = [*self._allowed(140_000), *dns_names.beneath(self.names)[:60_000]]
            rng.shuffle(both)
            return [f"{each} A" for each in dns_names.zipf(both, 600_000)]
        blocked = [
            f"{rng.choice(('www', 'm', 'ads'))}.{each} {rng.choice(('A', 'A', 'A', 'AAAA'))}"
            for each in rng.sample(self.names[:PEER_DOMAINS], 2000)
        ]
        if name == "blocked":
            return blocked
        if name == "shapes":
            return [
                "".join(rng.choice((c.lower(), c.upper())) for c in line[:-2]) + " A"
                for line in cached
                for _ in range(3)
            ]
        return (
            cached
            if name == "cached"
            else [rng.choice(blocked) if rng.random() < 0.3 else rng.choice(cached) for _ in range(10_000)]
        )

    def _allowed(self, count: int) -> list[str]:
        if self.benign and len(self.benign) < count:
            raise SystemExit(f"--benign has {len(self.benign):,} names, of {count:,} that are needed")
        return list(self.benign[:count]) or dns_names.hosts(count, 1, self.names)


def compile_lists(folder: Path, names: Sequence[str]) -> None:
    from hedgerow.blocklists.compiler import compile_generation
    from hedgerow.blocklists.sources import Source, starter_sources

    path = folder / "nsfw.list"
    path.write_text("\n".join(names) + "\n")
    compile_generation([*starter_sources(), Source("nsfw", "adult", path, format="plain")], folder / "generation")


@dataclass(frozen=True, slots=True)
class Contest:
    """Servers to measure, the queries, and further dnsperf options."""

    side: Side
    queries: Path
    options: tuple[str, ...] = ()
    core: str = "1"  # of dnsperf


def cpu_seconds(side: Side) -> float:
    """Return user and system CPU time in seconds, to the nanosecond where /proc/PID/stat counts ticks."""
    tasks = [task for process in side.processes for task in Path(f"/proc/{process.pid}/task").iterdir()]
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def private_megabytes(side: Side) -> float:
    texts = [Path(f"/proc/{process.pid}/smaps_rollup").read_text() for process in side.processes]
    return sum(int(size) for text in texts for size in re.findall(r"^Private_\w+:\s+(\d+)", text, re.MULTILINE)) / 1024


def dnsperf(contest: Contest, seconds: float, *more: str) -> str:
    port = () if "-p" in contest.options else ("-p", str(contest.side.port))
    command = [
        "taskset",
        "-c",
        contest.core,
        "dnsperf",
        "-s",
        "127.0.0.1",
        *port,
        "-d",
        str(contest.queries),
        "-l",
        str(seconds),
    ]
    options = ["-c", "8", "-T", "1", "-q", "500", *contest.options, *more]
    return subprocess.run([*command, *options], capture_output=True, text=True, check=True).stdout


def measure(contest: Contest, seconds: float) -> Run:
    before = cpu_seconds(contest.side)
    text = dnsperf(contest, seconds)
    used = cpu_seconds(contest.side) - before
    counted = {key: float(value) for key, value in re.findall(r"Queries (completed|lost|per second):\s+([\d.]+)", text)}
    return Run(used / counted["completed"] * 1e6, counted["per second"], int(counted["lost"]))


def percentile(contest: Contest, seconds: float, rate: int, share: float = 0.99) -> float:
    """Return the latency in milliseconds below which that share of the queries was answered, from dnsperf's histogram.

    dnsperf's sender waits for the next query's time. By default it spins and keeps the receiving thread off their core,
    so that the figure shows for milliseconds which of the two the kernel prefers.
    """
    text = dnsperf(contest, seconds, "-Q", str(rate), "-O", "latency-histogram", "-O", "qps-threshold-wait=1")
    rows = [
        (float(upper), int(count)) for upper, count in re.findall(r"^\s*[\d.]+ - ([\d.]+):\s+(\d+)", text, re.MULTILINE)
    ]
    wanted = share * sum(count for _, count in rows)
    seen = 0
    for upper, count in rows:
        seen += count
        if seen >= wanted:
            return upper * 1000
    raise SystemExit(f"dnsperf gave no histogram:\n{text[-2000:]}")


def summary(kind: str, ratios: Sequence[float], ours: object, theirs: object) -> dict[str, object]:
    spread = [round(min(ratios), 3), round(max(ratios), 3)]
    return {
        "kind": kind,
        "ratio": round(statistics.median(ratios), 3),
        "spread": spread,
        "ours": ours,
        "theirs": theirs,
    }


def compare_latency(kind: str, contests: Sequence[Contest], pairs: int, seconds: float) -> dict[str, object]:
    rate = int(kind.partition("-")[2])
    for contest in contests:
        measure(contest, 1.0)  # all names are in the cache then
    found = [[percentile(contest, seconds, rate) for contest in contests] for _ in range(pairs)]
    ours, theirs = zip(*found, strict=True)
    ratios = [mine / other for mine, other in found]
    return summary(
        kind, ratios, {"p99_ms": round(statistics.median(ours), 3)}, {"p99_ms": round(statistics.median(theirs), 3)}
    )


def ask_all(contest: Contest) -> None:
    """Ask each query of a file once, twice for what was lost."""
    for _ in range(2):
        dnsperf(contest, 300.0, "-n", "1")


def compare(
    kind: str, contests: Sequence[Contest], pairs: int, seconds: float, *, by_rate: bool = False
) -> dict[str, object]:
    """Alternate between two servers; the ratio is that of CPU per query, or of queries per second."""
    for contest in contests:
        measure(contest, 1.0)
    runs = [[measure(contest, seconds) for contest in contests] for _ in range(pairs)]
    ratios = [ours.rate / theirs.rate if by_rate else ours.cpu / theirs.cpu for ours, theirs in runs]
    return summary(kind, ratios, *(figures(each) for each in zip(*runs, strict=True)))


def compare_cold(kind: str, sides: Sequence[Side], files: QueryFiles, pairs: int, seconds: float) -> dict[str, object]:
    """Alternate as `compare` does, with names that neither side was ever asked."""
    runs = []
    most = int(150_000 * seconds)
    for _ in range(pairs):
        queries = files.fresh(kind, most)
        runs.append([measure(Contest(side, queries), seconds) for side in sides])
    return summary(
        kind, [ours.cpu / theirs.cpu for ours, theirs in runs], *(figures(each) for each in zip(*runs, strict=True))
    )


def figures(runs: Sequence[Run]) -> dict[str, float]:
    return {
        "cpu_us": round(statistics.median(run.cpu for run in runs), 2),
        "qps": round(statistics.median(run.rate for run in runs)),
        "lost": sum(run.lost for run in runs),
    }


@dataclass(frozen=True, slots=True)
class Bench:
    """Everything that one kind of measurement needs."""

    stand: Stand
    ours: Side
    unbound: Side
    queries: QueryFiles
    pairs: int
    seconds: float

    def row(self, kind: str) -> dict[str, object]:
        """Measure one kind."""
        peer, _, what = kind.partition("-")
        if peer == "latency":
            contests = [Contest(side, self.queries.of("mixed")) for side in (self.ours, self.unbound)]
            return compare_latency(kind, contests, self.pairs, self.seconds)
        if peer in PEERS:
            return self._beside_peer(PEERS[peer], what)
        if kind in ("dot", "doh"):
            return self._encrypted(kind)
        if kind == "workers":
            return self._workers()
        if kind == "shapes":
            cookies = Contest(self.ours, self.queries.of("shapes"), ("-E", "10:0011223344556677"))
            return compare(kind, [cookies, Contest(self.ours, self.queries.of("cached"))], self.pairs, self.seconds)
        if kind in COLD:
            return compare_cold(kind, (self.ours, self.unbound), self.queries, self.pairs, self.seconds)
        contests = [Contest(side, self.queries.of(kind)) for side in (self.ours, self.unbound)]
        if what or kind == "zipf":  # a working set of many names
            for contest in contests:
                ask_all(contest)
        # A run goes through all names of the largest set.
        return compare(kind, contests, self.pairs, max(self.seconds, int(what or 0) / 80_000))

    def _beside_peer(
        self, start: Callable[[Stand], contextlib.AbstractContextManager[Side]], what: str
    ) -> dict[str, object]:
        names = self.stand.names[:PEER_DOMAINS]
        with start(Stand(self.stand.folder, names, self.stand.upstream)) as peer:
            contests = [Contest(side, self.queries.of(what)) for side in (self.ours, peer)]
            return compare(f"{what}, {peer.name} with {len(names):,} domains", contests, self.pairs, self.seconds)

    def _encrypted(self, kind: str) -> dict[str, object]:
        with dns_sides.hedgerow(self.stand, encrypted=True) as ours:
            contests = []
            for side in (ours, self.unbound):
                port = side.dot if kind == "dot" else side.doh
                how = (
                    "-m",
                    kind,
                    "-p",
                    str(port),
                    *(("-O", f"doh-uri=https://127.0.0.1:{port}/dns-query") if kind == "doh" else ()),
                )
                contests.append(Contest(side, self.queries.of("cached"), how))
            return compare(f"{kind}, queries per second", contests, self.pairs, self.seconds, by_rate=True)

    def _workers(self) -> dict[str, object]:
        """Measure one worker on one core beside two on two cores that get twice as many queries per second."""
        with dns_sides.hedgerow(self.stand, workers=2, cores="0,1") as two, dns_sides.hedgerow(self.stand) as one:
            queries = self.queries.of("mixed")
            rates = ((two, 2 * WORKER_RATE), (one, WORKER_RATE))
            contests = [Contest(side, queries, ("-c", "32", "-Q", str(rate)), "0,1") for side, rate in rates]
            return compare(
                f"two workers at {2 * WORKER_RATE:,} q/s beside one at {WORKER_RATE:,}",
                contests,
                self.pairs,
                self.seconds,
            )


def fill_cache(side: Side, folder: Path) -> None:
    """Ask ten thousand names, so that memory is that of a full cache."""
    names = folder / "fill.txt"
    names.write_text("".join(f"{name} A\n" for name in dns_names.hosts(10_000, seed=6)))
    for _ in range(2):
        command = ["dnsperf", "-s", "127.0.0.1", "-p", str(side.port), "-d", str(names), "-n", "1", "-q", "100"]
        subprocess.run(command, capture_output=True, check=True)


def report(results: Sequence[dict[str, object]], memory: dict[str, float], domains: int) -> str:
    """Format the figures as a Markdown table."""
    lines = [
        f"# DNS, one worker on one core, {domains:,} domains",
        "",
        (
            f"By `python bench/dns.py {' '.join(sys.argv[1:])}`; names are generated by `bench/dns_names.py` unless"
            " options name files."
        ),
        "",
        "CPU is microseconds per query, user and system; a ratio below 1 is in our favour; in brackets the least and",
        (
            "the greatest ratio of the pairs. Beside Unbound unless the row names another; `shapes` beside our own"
            " `cached`. Where a row says"
        ),
        "so, the ratio is that of queries per second, and above 1 in our favour.",
        "",
        "| what | ours | theirs | ratio |",
        "|---|---|---|---|",
    ]
    for row in results:
        cells = []
        for side in ("ours", "theirs"):
            found = row[side]
            assert isinstance(found, dict)
            if "p99_ms" in found:
                cells.append(f"p99 {found['p99_ms']} ms")
            else:
                cells.append(f"{found['cpu_us']} µs, {found['qps']:,} q/s, {found['lost']} lost")
        spread = row["spread"]
        assert isinstance(spread, list)
        lines.append(f"| {row['kind']} | {cells[0]} | {cells[1]} | {row['ratio']} ({spread[0]}–{spread[1]}) |")
    told = ", ".join(f"{name} {size} MB" for name, size in memory.items())
    load = ", ".join(f"{average:.1f}" for average in os.getloadavg())
    noise = (
        f"At the end the load averages of 1, 5 and 15 minutes were {load}; what measures is about 2 of that by itself."
    )
    return "\n".join(
        [*lines, "", f"Private memory at the end, with what was asked in the caches: {told}.", "", noise, ""]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS, metavar="KIND")
    parser.add_argument("--domains", type=int, default=1_000_000)
    parser.add_argument("--list", type=Path, help="a list to block in place of generated names, one domain per line")
    parser.add_argument("--benign", type=Path, help="allowed names in place of generated ones, one per line")
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    peers = {PEER_PROGRAMS[peer] for kind in options.kinds if (peer := kind.partition("-")[0]) in PEER_PROGRAMS}
    needs.programs("unbound", "dnsmasq", "dnsperf", "openssl", *sorted(peers))
    with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as stack:
        folder, names = Path(place), blocked_names(options.domains, options.list)
        compile_lists(folder, names)
        queries = QueryFiles(folder, names, dns_names.read_names(options.benign) if options.benign else ())
        stand = Stand(folder, names, stack.enter_context(dns_sides.upstream()))
        ours = stack.enter_context(dns_sides.hedgerow(stand, plain=options.plain))
        bench = Bench(
            stand, ours, stack.enter_context(dns_sides.unbound(stand)), queries, options.pairs, options.seconds
        )
        results = []
        for number, kind in enumerate(options.kinds, 1):
            print(f"{number} of {len(options.kinds)}: {kind}", file=sys.stderr, flush=True)
            results.append(bench.row(kind))
            print(json.dumps(results[-1]), flush=True)
        sides = (ours, bench.unbound)
        for side in sides:
            fill_cache(side, folder)
        memory = {side.name: round(private_megabytes(side), 1) for side in sides}
        print(json.dumps({"domains": len(stand.names), "private_mb": memory}))
        if options.out:
            results_file.write(options.out, report(results, memory, len(stand.names)))


if __name__ == "__main__":
    main()
