"""Measure the cost of the gateway: an exempt device with and without our table, and a filtered one, in one run.

    .venv/bin/python bench/gateway.py [--rounds 5] [--megabytes 300] [--write]

`--write` keeps the figures in bench/results/gateway.md; `make bench-gateway` does. Needs root and what the laboratory
needs (tests/lab).

In the laboratory's network namespaces a device fetches one file through the router by HTTPS. Exempt: with nothing of
ours in nftables, and with the gateway in place, strict. Filtered: a child's device through the transparent port. The
sides alternate; medians are printed. CPU is that of Hedgerow's own processes: what the kernel forwards costs them
nothing.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

import needs
from lab import House, house
from lab.house import LAN4
from lab.internet import BIG_FILE

TICK = os.sysconf("SC_CLK_TCK")
SITE = "www.school.example"
RESULTS = Path(__file__).parent / "results" / "gateway.md"


@dataclass(frozen=True, slots=True)
class Fetch:
    """One fetch: megabytes per second, and seconds of Hedgerow's CPU per gigabyte."""

    speed: float
    cpu: float


def cpu_of(whole: House) -> float:
    """Return the CPU seconds of all of Hedgerow's processes."""
    assert whole.process is not None
    pids = [whole.process.pid, *children_of(whole.process.pid)]
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(each[11]) + int(each[12]) for each in fields) / TICK


def children_of(pid: int) -> list[int]:
    found = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return found + [below for child in found for below in children_of(child)]


def fetch(whole: House, who: str, octets: int) -> Fetch:
    before = cpu_of(whole)
    words = ("curl", "-sk", "-o", "/dev/null", "-w", "%{speed_download} %{size_download}", "-r", f"0-{octets - 1}")
    done = whole.devices[who].run(*words, f"https://{SITE}{BIG_FILE}", seconds=120)
    speed, size = done.stdout.split()
    assert int(size) == octets, done.stdout + done.stderr
    return Fetch(float(speed) / 1e6, (cpu_of(whole) - before) / octets * 1e9)


def measure(whole: House, rounds: int, octets: int) -> dict[str, list[Fetch]]:
    def without() -> Fetch:
        whole.hedgerow("gateway", "remove")
        return fetch(whole, "parent", octets)

    def exempt() -> Fetch:
        whole.hedgerow("gateway", "apply", "--strict")
        return fetch(whole, "parent", octets)

    sides: dict[str, Callable[[], Fetch]] = {
        "exempt, nothing of ours": without,
        "exempt, gateway in place": exempt,
        "filtered": lambda: fetch(whole, "tablet", octets),
    }
    for who in ("parent", "tablet"):
        whole.meet(who)
    found: dict[str, list[Fetch]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side, run in sides.items():
            found[side].append(run())
    return found


def table(found: dict[str, list[Fetch]], rounds: int, megabytes: int) -> str:
    head = (
        f"# What passes the gateway, measured by `make bench-gateway`\n\n{platform.machine()}, {os.cpu_count()} cores"
        f" for client, router and server together, Python {platform.python_version()}, {rounds} rounds of {megabytes}"
        " MB in one run. What each figure is stands in `bench/gateway.py`.\n\n| device | MB/s (median) | of the first"
        " row | spread | Hedgerow’s CPU, s a GB |\n|---|---:|---:|---:|---:|\n"
    )
    base = [each.speed for each in found["exempt, nothing of ours"]]
    lines = []
    for side, fetches in found.items():
        ratios = [each.speed / first for each, first in zip(fetches, base, strict=True)]
        speed, cpu = statistics.median(each.speed for each in fetches), statistics.median(each.cpu for each in fetches)
        spread = f"{min(ratios):.2f}–{max(ratios):.2f}"
        lines.append(f"| {side} | {speed:.0f} | {statistics.median(ratios):.2f} | {spread} | {cpu:.2f} |")
    return head + "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=300)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    needs.laboratory()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        with house(folder) as whole:
            assert whole.devices["tablet"].run("ping", "-c", "1", f"{LAN4}.1").returncode == 0
            text = table(measure(whole, given.rounds, given.megabytes * 1_000_000), given.rounds, given.megabytes)
    print(text)
    if given.write:
        RESULTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
