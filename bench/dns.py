"""Measure one DNS worker beside its peers in the same run: CPU per query, queries per second, latency, memory.

    .venv/bin/python bench/dns.py [--pairs 5] [--seconds 2] [--kinds blocked cached …] [--domains 1000000] [--plain] [--out FILE]

The server is pinned to one core and dnsperf to the other. The sides alternate; medians and the spread of the ratios are printed. All
sides block the same names: a real list, filled up to `--domains` with generated ones (peers other than Unbound: to 200,000). All forward
to the same dnsmasq, which answers everything under .net.

Kinds: `blocked`, `cached` and `mixed` are measured beside Unbound. `shapes` are the cached names in random case with an EDNS cookie,
beside our own `cached`. `miss` are names never asked before. `latency-5000` and `latency-20000` are the 99th percentile of `mixed` at
that many queries per second. `dnsmasq-mixed`, `recursor-mixed`, `knot-mixed` and the like are beside those peers, with the list as a
response policy zone where they support it. `dot` and `doh` are `cached` over eight kept connections, and `workers` is `mixed` with two
workers beside one on both cores; these three compare queries per second. `--plain` does without recvmmsg. All kinds take about ten minutes.
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
from pathlib import Path

sys.path.append(str(Path(__file__).parent))  # which Python leaves out where it runs safely
import dns_sides
from dns_sides import Side, Stand

LISTS = Path(__file__).resolve().parents[2] / "shared" / "data" / "lists" / "plain"
PEERS = {"dnsmasq": dns_sides.dnsmasq, "recursor": dns_sides.recursor, "knot": dns_sides.knot}
PEER_DOMAINS = 200_000
KINDS = [
    *("blocked", "cached", "mixed", "shapes", "miss", "latency-5000", "latency-20000"),
    *(f"{peer}-{kind}" for peer in PEERS for kind in ("blocked", "cached", "mixed")),
    *("dot", "doh", "workers"),
]


@dataclass(frozen=True, slots=True)
class Run:
    """One dnsperf run: microseconds of server CPU per query, queries per second, queries lost."""

    cpu: float
    rate: float
    lost: int


def blocked_names() -> list[str]:
    return [line for line in (LISTS / "hagezi-nsfw.txt").read_text().splitlines() if line and not line.startswith("#")]


def host(label: str, number: int) -> str:
    """Return a name that is not blocked, spread over a thousand sites: thousands of names under one site would look like a DNS tunnel."""
    return f"{label}{number}.site{number % 1000}.net"


def bulk_names(count: int) -> list[str]:
    """Generate names that fill the list up."""
    rng = random.Random(2)
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    return [f"{''.join(rng.choices(letters, k=rng.randint(5, 14)))}{number}.bulk.example" for number in range(count)]


def write_queries(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    rng = random.Random(1)
    blocked = [f"{rng.choice(('www', 'm', 'ads'))}.{name} {rng.choice(('A', 'A', 'A', 'AAAA'))}" for name in rng.sample(names, 2000)]
    cached = [f"{host('host', number)} A" for number in range(2000)]
    mixed = [rng.choice(blocked) if rng.random() < 0.3 else rng.choice(cached) for _ in range(10_000)]
    shapes = ["".join(rng.choice((c.lower(), c.upper())) for c in line[:-2]) + " A" for line in cached for _ in range(3)]
    miss = [f"{host('n', number)} A" for number in rng.sample(range(10_000_000), 400_000)]
    files = {}
    for kind, lines in {"blocked": blocked, "cached": cached, "mixed": mixed, "shapes": shapes, "miss": miss}.items():
        files[kind] = folder / f"{kind}.txt"
        files[kind].write_text("\n".join(lines) + "\n")
    return files


def compile_lists(folder: Path, bulk: Sequence[str] = ()) -> None:
    from hedgerow.blocklists.compiler import compile_generation
    from hedgerow.blocklists.sources import Source, starter_sources

    (folder / "bulk.txt").write_text("\n".join(bulk) + "\n")
    lists = {"nsfw": LISTS / "hagezi-nsfw.txt", "bulk": folder / "bulk.txt"}
    sources = [Source(name, "adult", path, format="plain") for name, path in lists.items()]
    compile_generation([*starter_sources(), *sources], folder / "generation")


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
    command = ["taskset", "-c", contest.core, "dnsperf", "-s", "127.0.0.1", *port, "-d", str(contest.queries), "-l", str(seconds)]
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

    dnsperf's sender waits for the next query's time. By default it spins and keeps the receiving thread off their core, so that the figure
    shows for milliseconds which of the two the kernel prefers.
    """
    text = dnsperf(contest, seconds, "-Q", str(rate), "-O", "latency-histogram", "-O", "qps-threshold-wait=1")
    rows = [(float(upper), int(count)) for upper, count in re.findall(r"^\s*[\d.]+ - ([\d.]+):\s+(\d+)", text, re.MULTILINE)]
    wanted = share * sum(count for _, count in rows)
    seen = 0
    for upper, count in rows:
        seen += count
        if seen >= wanted:
            return upper * 1000
    raise SystemExit(f"dnsperf gave no histogram:\n{text[-2000:]}")


def summary(kind: str, ratios: Sequence[float], ours: object, theirs: object) -> dict[str, object]:
    spread = [round(min(ratios), 3), round(max(ratios), 3)]
    return {"kind": kind, "ratio": round(statistics.median(ratios), 3), "spread": spread, "ours": ours, "theirs": theirs}


def compare_latency(kind: str, contests: Sequence[Contest], pairs: int, seconds: float) -> dict[str, object]:
    rate = int(kind.partition("-")[2])
    for contest in contests:
        measure(contest, 1.0)  # all names are in the cache then
    found = [[percentile(contest, seconds, rate) for contest in contests] for _ in range(pairs)]
    ours, theirs = zip(*found, strict=True)
    ratios = [mine / other for mine, other in found]
    return summary(kind, ratios, {"p99_ms": round(statistics.median(ours), 3)}, {"p99_ms": round(statistics.median(theirs), 3)})


def compare(kind: str, contests: Sequence[Contest], pairs: int, seconds: float, *, by_rate: bool = False) -> dict[str, object]:
    """Alternate between two servers; the ratio is that of CPU per query, or of queries per second."""
    for contest in contests if kind != "miss" else ():
        measure(contest, 1.0)
    runs = [[measure(contest, seconds) for contest in contests] for _ in range(pairs)]
    ratios = [ours.rate / theirs.rate if by_rate else ours.cpu / theirs.cpu for ours, theirs in runs]
    return summary(kind, ratios, *(figures(each) for each in zip(*runs, strict=True)))


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
    queries: dict[str, Path]
    pairs: int
    seconds: float

    def row(self, kind: str) -> dict[str, object]:
        """Measure one kind."""
        peer, _, what = kind.partition("-")
        if peer == "latency":
            contests = [Contest(side, self.queries["mixed"]) for side in (self.ours, self.unbound)]
            return compare_latency(kind, contests, self.pairs, self.seconds)
        if peer in PEERS:
            return self._beside_peer(PEERS[peer], what)
        if kind in ("dot", "doh"):
            return self._encrypted(kind)
        if kind == "workers":
            return self._workers()
        if kind == "shapes":
            cookies = Contest(self.ours, self.queries["shapes"], ("-E", "10:0011223344556677"))
            return compare(kind, [cookies, Contest(self.ours, self.queries["cached"])], self.pairs, self.seconds)
        contests = [Contest(side, self.queries[kind]) for side in (self.ours, self.unbound)]
        return compare(kind, contests, self.pairs, self.seconds)

    def _beside_peer(self, start: Callable[[Stand], contextlib.AbstractContextManager[Side]], what: str) -> dict[str, object]:
        names = self.stand.names[:PEER_DOMAINS]
        with start(Stand(self.stand.folder, names, self.stand.upstream)) as peer:
            contests = [Contest(side, self.queries[what]) for side in (self.ours, peer)]
            return compare(f"{what}, {peer.name} with {len(names):,} domains", contests, self.pairs, self.seconds)

    def _encrypted(self, kind: str) -> dict[str, object]:
        with dns_sides.hedgerow(self.stand, encrypted=True) as ours:
            contests = []
            for side in (ours, self.unbound):
                port = side.dot if kind == "dot" else side.doh
                how = ("-m", kind, "-p", str(port), *(("-O", f"doh-uri=https://127.0.0.1:{port}/dns-query") if kind == "doh" else ()))
                contests.append(Contest(side, self.queries["cached"], how))
            return compare(f"{kind}, queries per second", contests, self.pairs, self.seconds, by_rate=True)

    def _workers(self) -> dict[str, object]:
        both = "0,1"
        with dns_sides.hedgerow(self.stand, workers=2, cores=both) as two, dns_sides.hedgerow(self.stand, cores=both) as one:
            contests = [Contest(side, self.queries["mixed"], ("-c", "32"), both) for side in (two, one)]
            return compare("two workers beside one, queries per second", contests, self.pairs, self.seconds, by_rate=True)


def fill_cache(side: Side, folder: Path) -> None:
    """Ask ten thousand names, so that memory is that of a full cache."""
    names = folder / "fill.txt"
    names.write_text("".join(f"{host('fill', number)} A\n" for number in range(10_000)))
    for _ in range(2):
        command = ["dnsperf", "-s", "127.0.0.1", "-p", str(side.port), "-d", str(names), "-n", "1", "-q", "100"]
        subprocess.run(command, capture_output=True, check=True)


def report(results: Sequence[dict[str, object]], memory: dict[str, float], domains: int) -> str:
    """Format the figures as a Markdown table."""
    lines = [
        f"# DNS, one worker on one core, {domains:,} domains",
        "",
        "By `make bench-dns`. CPU is microseconds per query, user and system; a ratio below 1 is in our favour; in brackets the least and",
        "the greatest ratio of the pairs. Beside Unbound unless the row names another; `shapes` beside our own `cached`. Where a row says",
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
    noise = f"At the end the load averages of 1, 5 and 15 minutes were {load}; what measures is about 2 of that by itself."
    return "\n".join([*lines, "", f"Private memory with a full cache of 10,000 answers: {told}.", "", noise, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS, metavar="KIND")
    parser.add_argument("--domains", type=int, default=1_000_000)
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as stack:
        folder, real = Path(place), blocked_names()
        bulk = bulk_names(max(0, options.domains - len(real)))
        compile_lists(folder, bulk)
        queries = write_queries(folder, real)
        stand = Stand(folder, [*real, *bulk], stack.enter_context(dns_sides.upstream()))
        ours = stack.enter_context(dns_sides.hedgerow(stand, plain=options.plain))
        bench = Bench(stand, ours, stack.enter_context(dns_sides.unbound(stand)), queries, options.pairs, options.seconds)
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
            options.out.write_text(report(results, memory, len(stand.names)))


if __name__ == "__main__":
    main()
