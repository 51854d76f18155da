"""Measure memory and DNS service of a running Hedgerow while five million domains are recompiled and swapped.

    .venv/bin/python bench/list_swap.py [domains] [--write]

Ten lists are compiled at the start. Then, under the load of dnsperf, every twentieth name in each of
them changes, so that everything is compiled anew. Memory is the sum of the proportional set sizes of all of Hedgerow's
processes, sampled every 0.3 s; the compiler's share is also given alone. Lost queries are those that dnsperf got no
answer for.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(Path(__file__).parent)]

import needs  # noqa: E402
from lists import origin_of_names, varied_sources  # noqa: E402
from small_internet import running  # noqa: E402
from small_internet.clients import start_dnsperf  # noqa: E402
from small_internet.whole import small_internet  # noqa: E402

SECONDS, RATE = 75, 2000


def memory_kb(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")), 0)


def is_compiler(pid: int) -> bool:
    try:
        return b"compile_job" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


class Sampler(threading.Thread):
    """Record the highest sums while it runs."""

    def __init__(self, hedgerow: running.Hedgerow) -> None:
        super().__init__(daemon=True)
        self.hedgerow, self.peak, self.compiler_peak = hedgerow, 0, 0
        self.is_over = threading.Event()

    def run(self) -> None:
        while not self.is_over.wait(0.3):
            sizes = {pid: memory_kb(pid) for pid in self.hedgerow.all_pids()}
            compiler = sum(size for pid, size in sizes.items() if is_compiler(pid))
            self.peak = max(self.peak, sum(sizes.values()))
            self.compiler_peak = max(self.compiler_peak, compiler)


def steady_kb(hedgerow: running.Hedgerow) -> int:
    return sum(memory_kb(pid) for pid in hedgerow.all_pids())


def change_all(paths: list[Path]) -> None:
    for path in paths:
        lines = path.read_text().splitlines()
        fresh = path.with_suffix(".new")
        fresh.write_text("".join(f"{line}{'x' if number % 20 == 0 else ''}\n" for number, line in enumerate(lines)))
        fresh.replace(path)


def questions(paths: list[Path]) -> Iterator[str]:
    """Write queries, half blocked and half answered by the upstream."""
    for name in paths[0].read_text().splitlines()[1:400]:
        yield f"{name} A"
        yield "www.school.example A"


def slowest_ms(dnsperf: str) -> float:
    found = re.search(r"Average Latency .*max ([\d.]+)\)", dnsperf)
    return float(found[1]) * 1000 if found else 0.0


def are_in_force(log: str, count: int) -> bool:
    """Return True once that many domains were compiled and a snapshot was published afterwards."""
    compiled = [found for found in re.finditer(r"(\d+) domains compiled", log) if int(found[1]) >= count]
    return bool(compiled) and "published" in log[compiled[-1].end() :]


def measure(count: int) -> dict[str, float]:
    running.START_SECONDS = 300.0
    with tempfile.TemporaryDirectory() as name, small_internet() as internet:
        paths = [source.path for source in varied_sources(count, Path(name)) if source.path]
        lists = "".join(f'  - {{category: adult, path: "{path}"}}\n' for path in paths)
        policy = running.network_section(internet) + "lists:\n" + lists
        with running.running_hedgerow(policy) as hedgerow:
            # It is ready on the starter lists, and takes the others up when they are compiled.
            running.wait_until(lambda: are_in_force(hedgerow.stderr, count), 300, "the lists of the start")
            time.sleep(3)
            published = hedgerow.stderr.count("published")
            result: dict[str, float] = {"domains": count, "steady_mb": steady_kb(hedgerow) / 1024}
            sampler = Sampler(hedgerow)
            load = start_dnsperf(hedgerow.dns, list(questions(paths)), seconds=SECONDS, rate=RATE)
            sampler.start()
            time.sleep(3)
            change_all(paths)
            started = time.monotonic()
            running.wait_until(
                lambda: hedgerow.stderr.count("published") > published, SECONDS + 60, "the new generation"
            )
            result["seconds_to_swap"] = time.monotonic() - started
            counted = load.result()
            sampler.is_over.set()
            sampler.join()
            result |= {"peak_mb": sampler.peak / 1024, "compiler_peak_mb": sampler.compiler_peak / 1024}
            result |= {
                "steady_after_mb": steady_kb(hedgerow) / 1024,
                "queries_sent": counted.sent,
                "queries_lost": counted.lost,
            }
            result |= {"latency_avg_ms": counted.average_latency * 1000, "latency_max_ms": slowest_ms(counted.text)}
            return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("domains", type=int, nargs="?", default=5_000_000)
    parser.add_argument("--write", action="store_true", help="write bench/results/list_swap.md")
    given = parser.parse_args()
    needs.programs("dnsperf")
    result = measure(given.domains)
    rows = "".join(f"| {name} | {value:,.1f} |\n" for name, value in result.items())
    text = (
        "# A running Hedgerow while its lists are recompiled and swapped\n\nWhat each figure is stands in"
        " `bench/list_swap.py`.\n\n"
    )
    text += (
        f"dnsperf asked {RATE} queries per second for {SECONDS} s; one worker per role;\n{origin_of_names()} names,"
        " varied.\n\n"
    )
    text += f"| figure | value |\n|---|---:|\n{rows}"
    print(text)
    if given.write:
        (ROOT / "bench" / "results" / "list_swap.md").write_text(text)


if __name__ == "__main__":
    main()
