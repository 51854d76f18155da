"""Measures one DNS worker beside Unbound in the same run: CPU a query, queries a second, memory.

    .venv/bin/python bench/dns.py [--pairs 5] [--seconds 3] [--kinds blocked cached …] [--domains 1000000] [--plain] [--out FILE]

The server is pinned to one core, dnsperf to the other; the sides alternate; medians and the spread of the ratios are printed. All block
the same names: a real list, filled up to `--domains` with generated ones (dnsmasq: to 200,000). All forward to the same dnsmasq, which
answers all of example.net.

Kinds: `blocked`, `cached` and `mixed` beside Unbound; `shapes` are the cached names in random case with an EDNS cookie, beside `cached` of
ours; `miss` are names that nobody has asked for before; `latency-5000` and `latency-20000` are the 99th percentile of `mixed` at so many
queries a second; `dnsmasq-mixed` and the like are beside dnsmasq. `--plain` does without recvmmsg.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

LISTS = Path(__file__).resolve().parents[2] / "shared" / "data" / "lists" / "plain"
KINDS = [
    "blocked",
    "cached",
    "mixed",
    "shapes",
    "miss",
    "latency-5000",
    "latency-20000",
    "dnsmasq-blocked",
    "dnsmasq-cached",
    "dnsmasq-mixed",
]
POLICY = """
network: {timezone: Europe/Lisbon, unknown_devices: child-8-12, upstream: [UPSTREAM]}
people:
  mia: {age: 9, devices: [mia-tablet, mia-console, mia-laptop], bedtime: {every-day: "03:00-03:01"}}
  tom: {age: 15, devices: [tom-phone, tom-laptop, tom-console]}
  ana: {profile: adult, devices: [ana-phone, ana-laptop, tv, printer]}
devices:
"""
DEVICES = ("mia-tablet", "mia-console", "mia-laptop", "tom-phone", "tom-laptop", "tom-console", "ana-phone", "ana-laptop", "tv", "printer")


@dataclass(frozen=True, slots=True)
class Run:
    """One dnsperf run: microseconds of the server's CPU a query, queries a second, queries lost."""

    cpu: float
    rate: float
    lost: int


@dataclass(frozen=True, slots=True)
class Side:
    name: str
    process: subprocess.Popen[bytes]
    port: int


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def blocked_names() -> list[str]:
    return [line for line in (LISTS / "hagezi-nsfw.txt").read_text().splitlines() if line and not line.startswith("#")]


def bulk_names(count: int) -> list[str]:
    """Made-up names for weight."""
    rng = random.Random(2)
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    return [f"{''.join(rng.choices(letters, k=rng.randint(5, 14)))}{number}.bulk.example" for number in range(count)]


def write_queries(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    rng = random.Random(1)
    blocked = [f"{rng.choice(('www', 'm', 'ads'))}.{name} {rng.choice(('A', 'A', 'A', 'AAAA'))}" for name in rng.sample(names, 2000)]
    cached = [f"host{number}.example.net A" for number in range(2000)]
    mixed = [rng.choice(blocked) if rng.random() < 0.3 else rng.choice(cached) for _ in range(10_000)]
    shapes = ["".join(rng.choice((c.lower(), c.upper())) for c in line[:-2]) + " A" for line in cached for _ in range(3)]
    miss = [f"n{number}.example.net A" for number in rng.sample(range(10_000_000), 400_000)]
    files = {}
    for kind, lines in {"blocked": blocked, "cached": cached, "mixed": mixed, "shapes": shapes, "miss": miss}.items():
        files[kind] = folder / f"{kind}.txt"
        files[kind].write_text("\n".join(lines) + "\n")
    return files


@contextlib.contextmanager
def started(command: Sequence[str], core: int = 0, environment: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    pinned = ["taskset", "-c", str(core), *command]
    with tempfile.TemporaryFile() as log:
        # A worker ends when its standard input does.
        process = subprocess.Popen(pinned, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=log, env=environment)
        try:
            yield process
        finally:
            process.terminate()
            process.communicate()
            log.seek(0)
            if b"Traceback" in (said := log.read()):
                print(said.decode()[-3000:], file=sys.stderr)


def wait_until_answers(port: int, seconds: float = 60.0) -> None:
    query = bytes.fromhex("000101000001000000000000") + b"\x04host\x07example\x03net\x00\x00\x01\x00\x01"
    deadline = time.monotonic() + seconds
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.2)
        sock.connect(("127.0.0.1", port))
        while time.monotonic() < deadline:
            try:
                sock.send(query)
                sock.recv(512)
            except OSError:
                time.sleep(0.05)
            else:
                return
    raise SystemExit(f"nobody answers at port {port}")


@contextlib.contextmanager
def upstream() -> Iterator[int]:
    port = free_port()
    options = ["--no-resolv", "--no-hosts", "--local-ttl=300", "--address=/example.net/192.0.2.7", "--conf-file=/dev/null", "--user=root"]
    command = [
        "dnsmasq",
        "--keep-in-foreground",
        f"--port={port}",
        "--listen-address=127.0.0.1",
        "--bind-interfaces",
        "--pid-file=",
        *options,
    ]
    with started(command, core=1):
        wait_until_answers(port)
        yield port


@contextlib.contextmanager
def unbound(folder: Path, names: Sequence[str], upstream_port: int) -> Iterator[Side]:
    port = free_port()
    zones = "\n".join(f'local-zone: "{name}" always_null' for name in names)
    config = folder / "unbound.conf"
    config.write_text(
        f'server:\n directory: "{folder}"\n username: ""\n chroot: ""\n pidfile: ""\n interface: 127.0.0.1@{port}\n num-threads: 1\n'
        f' module-config: "iterator"\n do-not-query-localhost: no\n use-syslog: no\n so-rcvbuf: 4m\n{zones}\n'
        f'remote-control:\n control-enable: no\nforward-zone:\n name: "."\n forward-addr: 127.0.0.1@{upstream_port}\n'
    )
    with started(["unbound", "-d", "-c", str(config)]) as process:
        wait_until_answers(port)
        yield Side("unbound", process, port)


@contextlib.contextmanager
def dnsmasq(folder: Path, names: Sequence[str], upstream_port: int) -> Iterator[Side]:
    port = free_port()
    config = folder / "dnsmasq.conf"
    config.write_text(
        f"port={port}\nlisten-address=127.0.0.1\nbind-interfaces\nno-resolv\nno-hosts\nserver=127.0.0.1#{upstream_port}\ncache-size=10000\n"
        f"dns-forward-max=5000\nuser=root\npid-file={folder / 'dnsmasq.pid'}\n" + "".join(f"local=/{name}/\n" for name in names)
    )
    with started(["dnsmasq", "--keep-in-foreground", f"--conf-file={config}"]) as process:
        wait_until_answers(port)
        yield Side("dnsmasq", process, port)


@contextlib.contextmanager
def hedgerow(folder: Path, upstream_port: int, *, plain: bool) -> Iterator[Side]:
    """One worker, the process that the program would start, with a sink in control's place that reads what it is told."""
    state, port = folder / "state", free_port()
    publish(folder, state, port, upstream_port)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}  # as installed: compiled once
    command = [sys.executable, *(["-c", PLAIN] if plain else ["-m", "hedgerow.app.processes"]), "dns", "0", str(state)]
    with (
        started([sys.executable, __file__, "--sink", str(state)], core=1),
        started(command, environment=environment) as process,
    ):
        wait_until_answers(port)
        yield Side("hedgerow", process, port)


# Takes datagrams one by one, as where recvmmsg cannot be had.
PLAIN = (
    "from hedgerow.dns import datagrams; datagrams.BatchListener = datagrams.DatagramListener;"
    "from hedgerow.app.processes import main; main()"
)


def publish(folder: Path, state: Path, port: int, upstream_port: int) -> None:
    """What supervisor and control would have left for a worker: settings and a snapshot."""
    from hedgerow.app.settings import Endpoint, Settings
    from hedgerow.app.snapshot import Snapshot
    from hedgerow.policies.load import parse_policy

    devices = "".join(f"  {name}: {{ip: 127.0.1.{number}}}\n" for number, name in enumerate(DEVICES, 1))
    policy = parse_policy((POLICY.replace("UPSTREAM", f"127.0.0.1:{upstream_port}") + devices).encode(), folder / "hedgerow.yaml")
    nowhere = Endpoint("127.0.0.1", 1)
    settings = Settings(state, None, Endpoint("127.0.0.1", port), nowhere, nowhere, nowhere)
    (state / "run").mkdir(parents=True)
    settings.save()
    Snapshot(1, time.time(), policy, folder / "generation").save(state)


def sink(state: Path) -> None:
    """Runs in a child: takes what workers send, and forgets it."""
    from hedgerow.app.settings import Settings

    def forget(connection: socket.socket) -> None:
        while connection.recv(1 << 20):
            pass

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(Settings.load(state).courier_socket))
        listening.listen()
        while True:
            forget(listening.accept()[0])


def compile_lists(folder: Path, bulk: Sequence[str] = ()) -> None:
    from hedgerow.blocklists.compile import compile_generation
    from hedgerow.blocklists.sources import Source, starter_sources

    (folder / "bulk.txt").write_text("\n".join(bulk) + "\n")
    lists = {"nsfw": LISTS / "hagezi-nsfw.txt", "bulk": folder / "bulk.txt"}
    sources = [Source(name, "adult", path, format="plain") for name, path in lists.items()]
    compile_generation([*starter_sources(), *sources], folder / "generation")


def cpu_seconds(process: subprocess.Popen[bytes]) -> float:
    """On-CPU time in user and kernel, exact to the nanosecond where /proc/PID/stat counts ticks."""
    tasks = Path(f"/proc/{process.pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def private_megabytes(process: subprocess.Popen[bytes]) -> float:
    text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    return sum(int(size) for size in re.findall(r"^Private_\w+:\s+(\d+)", text, re.MULTILINE)) / 1024


def measure(side: Side, queries: Path, seconds: float, *extra: str) -> Run:
    before = cpu_seconds(side.process)
    command = ["taskset", "-c", "1", "dnsperf", "-s", "127.0.0.1", "-p", str(side.port), "-d", str(queries), "-l", str(seconds)]
    text = subprocess.run([*command, "-c", "8", "-T", "1", "-q", "500", *extra], capture_output=True, text=True, check=True).stdout
    used = cpu_seconds(side.process) - before
    counted = {key: float(value) for key, value in re.findall(r"Queries (completed|lost|per second):\s+([\d.]+)", text)}
    return Run(used / counted["completed"] * 1e6, counted["per second"], int(counted["lost"]))


def percentile(side: Side, queries: Path, seconds: float, rate: int, share: float = 0.99) -> float:
    """Milliseconds within which so much of the queries were answered, by dnsperf's histogram."""
    command = ["taskset", "-c", "1", "dnsperf", "-s", "127.0.0.1", "-p", str(side.port), "-d", str(queries), "-l", str(seconds)]
    options = ["-c", "8", "-T", "1", "-q", "500", "-Q", str(rate), "-O", "latency-histogram"]
    text = subprocess.run([*command, *options], capture_output=True, text=True, check=True).stdout
    rows = [(float(upper), int(count)) for upper, count in re.findall(r"^\s*[\d.]+ - ([\d.]+):\s+(\d+)", text, re.MULTILINE)]
    wanted = share * sum(count for _, count in rows)
    seen = 0
    for upper, count in rows:
        seen += count
        if seen >= wanted:
            return upper * 1000
    raise SystemExit(f"dnsperf gave no histogram:\n{text[-2000:]}")


def compare_latency(kind: str, sides: Sequence[Side], queries: Path, pairs: int, seconds: float) -> dict[str, object]:
    rate = int(kind.partition("-")[2])
    found: list[list[float]] = [[], []]
    for _ in range(pairs):
        for which, side in enumerate(sides):
            found[which].append(percentile(side, queries, seconds, rate))
    ratios = sorted(ours / theirs for ours, theirs in zip(*found, strict=True))
    return {
        "kind": kind,
        "ratio": round(statistics.median(ratios), 3),
        "spread": [round(ratios[0], 3), round(ratios[-1], 3)],
        "ours": {"p99_ms": round(statistics.median(found[0]), 3)},
        "theirs": {"p99_ms": round(statistics.median(found[1]), 3)},
    }


def fill_cache(side: Side, folder: Path) -> None:
    """Ten thousand answers, so that memory is that of a full cache."""
    names = folder / "fill.txt"
    names.write_text("".join(f"fill{number}.example.net A\n" for number in range(10_000)))
    for _ in range(2):
        command = ["dnsperf", "-s", "127.0.0.1", "-p", str(side.port), "-d", str(names), "-n", "1", "-q", "100"]
        subprocess.run(command, capture_output=True, check=True)


def compare(kind: str, sides: Sequence[Side], queries: dict[str, Path], pairs: int, seconds: float) -> dict[str, object]:
    """Alternate between the sides; for `shapes` both runs are on our side: with cookies and random case, and without."""
    if kind == "shapes":
        ours = sides[0]
        tests = [(("shapes", ours), ("-E", "10:0011223344556677")), (("cached", ours), ())]
    else:
        tests = [((kind, side), ()) for side in sides]
    for (source, side), extra in tests:
        if kind != "miss":
            measure(side, queries[source], 1.0, *extra)
    runs: list[list[Run]] = [[], []]
    for _ in range(pairs):
        for which, ((source, side), extra) in enumerate(tests):
            runs[which].append(measure(side, queries[source], seconds, *extra))
    ratios = sorted(ours.cpu / theirs.cpu for ours, theirs in zip(*runs, strict=True))
    found: dict[str, object] = {
        "kind": kind,
        "ratio": round(statistics.median(ratios), 3),
        "spread": [round(ratios[0], 3), round(ratios[-1], 3)],
    }
    for which, name in enumerate(("ours", "theirs")):
        found[name] = {
            "cpu_us": round(statistics.median(run.cpu for run in runs[which]), 2),
            "qps": round(statistics.median(run.rate for run in runs[which])),
            "lost": sum(run.lost for run in runs[which]),
        }
    return found


def report(results: Sequence[dict[str, object]], memory: dict[str, float], domains: int) -> str:
    """The figures as a table in Markdown."""
    lines = [
        f"# DNS, one worker on one core, {domains:,} domains",
        "",
        "By `make bench-dns`. CPU is microseconds a query, user and system; a ratio below 1 is in our favour; in brackets the least and",
        "the greatest ratio of the pairs. Beside Unbound unless the row names another; `shapes` beside our own `cached`.",
        "",
        "| what | ours | theirs | ratio |",
        "|---|---|---|---|",
    ]
    for row in results:
        cells = []
        for side in ("ours", "theirs"):
            figures = row[side]
            assert isinstance(figures, dict)
            if "p99_ms" in figures:
                cells.append(f"p99 {figures['p99_ms']} ms")
            else:
                cells.append(f"{figures['cpu_us']} µs, {figures['qps']:,} q/s, {figures['lost']} lost")
        spread = row["spread"]
        assert isinstance(spread, list)
        lines.append(f"| {row['kind']} | {cells[0]} | {cells[1]} | {row['ratio']} ({spread[0]}–{spread[1]}) |")
    told = ", ".join(f"{name} {size} MB" for name, size in memory.items())
    return "\n".join([*lines, "", f"Private memory with a full cache of 10,000 answers: {told}.", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--kinds", nargs="+", default=KINDS)
    parser.add_argument("--domains", type=int, default=1_000_000)
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--sink", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.sink:
        sink(options.sink)
        return
    with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as stack:
        folder, real = Path(place), blocked_names()
        bulk = bulk_names(max(0, options.domains - len(real)))
        names = [*real, *bulk]
        compile_lists(folder, bulk)
        queries = write_queries(folder, real)
        port = stack.enter_context(upstream())
        ours = stack.enter_context(hedgerow(folder, port, plain=options.plain))
        sides = [ours, stack.enter_context(unbound(folder, names, port))]
        peers = [ours, stack.enter_context(dnsmasq(folder, names[:200_000], port))] if "dnsmasq" in str(options.kinds) else []
        results = []
        for kind in options.kinds:
            if kind.startswith("latency-"):
                results.append(compare_latency(kind, sides, queries["mixed"], options.pairs, options.seconds))
            elif kind.startswith("dnsmasq-"):
                found = compare(kind.partition("-")[2], peers, queries, options.pairs, options.seconds)
                results.append({**found, "kind": f"{found['kind']}, dnsmasq with {min(len(names), 200_000):,} domains"})
            else:
                results.append(compare(kind, sides, queries, options.pairs, options.seconds))
            print(json.dumps(results[-1]), flush=True)
        for side in sides:
            fill_cache(side, folder)
        memory = {side.name: round(private_megabytes(side.process), 1) for side in sides}
        print(json.dumps({"domains": len(names), "private_mb": memory}))
        if options.out:
            options.out.write_text(report(results, memory, len(names)))


if __name__ == "__main__":
    main()
