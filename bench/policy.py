"""Measure the policy engine on a large household: 200 devices, 50 people with 30 schedules each, a million domains.

`python bench/policy.py` prints a table; `--out FILE` also writes it. The domains are generated; one run, one process.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from hedgerow.app.snapshot import LoadedSnapshot, Snapshot
from hedgerow.blocklists.compiler import compile_generation
from hedgerow.blocklists.sources import Source, starter_sources
from hedgerow.policies.decide import decide
from hedgerow.policies.model import DeviceId, Request, RequestKind
from hedgerow.policies.reading.load import load_policy

NOW = 1_795_521_600.0
CATEGORIES = ("adult", "gambling", "social", "games", "malware", "ads-trackers", "news", "video")
HOSTS = (
    "www.{n}.example",
    "en.wikipedia.org",
    "www.roblox.com",
    "www.google.com",
    "cdn.site-{n}.test",
    "a.b.c.deep-{n}.test",
    "www.chase.com",
)


def write_policy(folder: Path) -> Path:
    lines = ["network: {timezone: Europe/Lisbon}", "people:"]
    for person in range(50):
        devices = ", ".join(f"d{person * 4 + n}" for n in range(4))
        lines += [
            f"  p{person}:",
            f"    age: {6 + person % 14}",
            f"    devices: [{devices}]",
            '    bedtime: "21:00-07:00"',
        ]
        lines += [
            "    budget: {school-days: 2h, games: 45m}",
            f"    block: [roblox, site-{person}.test]",
            "    schedules:",
        ]
        for n in range(30):
            start = f"{(n * 47) % 23:02}:{(n * 13) % 60:02}"
            days = ("school-days", "weekend", "mon-wed", "every-day")[n % 4]
            lines.append(
                f"      s{n}: {{block: [{CATEGORIES[n % 8]}], when: {{{days}:"
                f' "{start}-{(n * 47) % 23 + 1:02}:{(n * 13) % 60:02}"}}}}'
            )
    lines.append("devices:")
    lines += [
        f'  d{n}: {{ip: 10.0.{n // 200}.{n % 200 + 1}, mac: "02:00:00:00:{n // 256:02x}:{n % 256:02x}"}}'
        for n in range(200)
    ]
    path = folder / "hedgerow.yaml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def compile_lists(folder: Path, domains: int) -> Path:
    each = domains // len(CATEGORIES)
    sources = list(starter_sources())
    for index, category in enumerate(CATEGORIES):
        path = folder / f"{category}.txt"
        path.write_text("".join(f"x{index}-{n}.example\n" for n in range(each)), encoding="utf-8")
        sources.append(Source(f"bench/{category}", category, path, None, "plain"))
    compile_generation(sources, folder / "generation")
    return folder / "generation"


def resident() -> int:
    """Return the bytes of this process that are its own, without mapped lists."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:])
    return int(fields["Anonymous"].split()[0]) * 1024


def measure_decide(view: LoadedSnapshot, rounds: int) -> list[float]:
    """Return the seconds of each decision, with every host new to every ruleset."""
    rng = random.Random(1)
    devices = [view.rulesets.devices.find(f"10.0.0.{n + 1}") for n in range(200)]
    rulesets = [view.rulesets.ruleset(device, NOW) for device in devices if device is not None]
    clock, found = time.perf_counter, []
    for _ in range(rounds):
        host = rng.choice(HOSTS).format(n=f"x{rng.randrange(8)}-{rng.randrange(10**6)}")
        request = Request(DeviceId("d"), RequestKind.DNS, host)
        ruleset = rng.choice(rulesets)
        began = clock()
        decide(ruleset, view.catalogue, request)
        found.append(clock() - began)
    return found


def per_call(call: Callable[[], object], number: int = 200_000) -> float:
    began = time.perf_counter()
    for _ in range(number):
        call()
    return (time.perf_counter() - began) / number


def measure_memory(state: Path) -> float:
    """Return the megabytes by which a process grows when it opens the snapshot and computes the rules of
    all devices.
    """
    code = (
        "import gc,sys,json\nfrom pathlib import Path\nfrom bench_policy import resident,NOW\n"
        "from hedgerow.app.snapshot import Snapshot,LoadedSnapshot\n"
        "from hedgerow.policies.host_facts import HostFactIndex\nHostFactIndex.load()\ngc.collect();b=resident()\n"
        "v=LoadedSnapshot(Snapshot.load(Path(sys.argv[1])))\n"
        "k=[v.rulesets.ruleset(v.rulesets.devices.find(f'10.0.0.{n+1}'),NOW) for n in range(200)]\n"
        "gc.collect();print(json.dumps(resident()-b))\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "bench_policy.py").write_text(Path(__file__).read_text(encoding="utf-8"), encoding="utf-8")
        environment = os.environ | {"PYTHONPATH": folder}
        done = subprocess.run(
            [sys.executable, "-c", code, str(state)], env=environment, capture_output=True, text=True, check=True
        )
    return float(json.loads(done.stdout)) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--domains", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=100_000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hedgerow-bench-") as name:
        text = report(Path(name), options.domains, options.rounds)
    print(text)
    if options.out is not None:
        options.out.write_text(text, encoding="utf-8")


def report(folder: Path, domains: int, rounds: int) -> str:
    path, generation = write_policy(folder), compile_lists(folder, domains)
    reading = statistics.median(per_call(lambda: load_policy(path), 1) for _ in range(7))
    policy = load_policy(path)
    loaded = time.perf_counter()
    began = loaded - reading
    snapshot = Snapshot(1, NOW, policy, generation)
    LoadedSnapshot(snapshot)  # which control does before it writes
    seen = time.perf_counter()
    snapshot.save(folder)
    published = time.perf_counter()
    view = LoadedSnapshot(Snapshot.load(folder))
    opened = time.perf_counter()
    devices = [view.rulesets.devices.find(f"10.0.0.{n + 1}") for n in range(200)]
    for device in devices:
        assert device is not None
        view.rulesets.ruleset(device, NOW)
    composed = time.perf_counter()
    gc.collect()
    gc.freeze()
    times = sorted(measure_decide(view, rounds))
    known = devices[0]
    assert known is not None
    look_up = per_call(lambda: view.rulesets.devices.find("10.0.0.7"))
    held = per_call(lambda: view.rulesets.ruleset(known, NOW))
    # Both look for changes ten times a second.
    effect = (opened - began + (composed - opened) / 200) * 1e3 + 200
    rows = [
        ("`decide()` on a miss, median", "≤ 8 µs", f"{statistics.median(times) * 1e6:.1f} µs"),
        ("`decide()` on a miss, 99th percentile", "≤ 25 µs", f"{times[int(len(times) * 0.99)] * 1e6:.1f} µs"),
        ("device of an address", "", f"{look_up * 1e6:.2f} µs"),
        ("ruleset of a device", "≤ 0.3 µs, both together", f"{held * 1e6:.2f} µs"),
        ("file read and checked", "", f"{(loaded - began) * 1e3:.0f} ms"),
        ("snapshot opened by control, from memory", "", f"{(seen - loaded) * 1e3:.0f} ms"),
        ("snapshot written", "", f"{(published - seen) * 1e3:.0f} ms"),
        ("snapshot opened by a worker", "", f"{(opened - published) * 1e3:.0f} ms"),
        ("rules of a device worked out", "", f"{(composed - opened) / 200 * 1e3:.1f} ms"),
        (
            "file to effect: read, opened by control, written, opened by a worker, and 2 × 100 ms of looking",
            "≤ 500 ms",
            f"{effect:.0f} ms at most",
        ),
        ("memory of a worker for it", "≤ 10 MB", f"{measure_memory(folder):.1f} MB"),
    ]
    head = (
        f"200 devices, 50 people, 30 schedules each, {domains} domains; Python {platform.python_version()}, {rounds}"
        " decisions.\n"
    )
    table = "\n".join(f"| {what} | {wanted} | {found} |" for what, wanted, found in rows)
    return f"# The policy engine\n\n{head}\n| what | wanted | measured |\n|---|---|---|\n{table}\n"


if __name__ == "__main__":
    main()
