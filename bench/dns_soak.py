"""Send ten million queries to one DNS worker, check that none is lost, and show CPU and memory, which grows until the
caches are full.

    .venv/bin/python bench/dns_soak.py [--millions 10] [--out FILE]

The mix is that of a home: 3 of 10 names are blocked, most of the others are a popular few, and one in a hundred was
never asked before. dnsperf sends as fast as it can with 200 queries in flight, in ten equal parts; the worker's private
memory is read after each. Exits with a message if a query was lost. Ten million take three to five minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parent))  # which Python leaves out where it runs safely
import needs
import dns_names
import dns_sides
import results_file

import dns

PARTS = 10


def write_mix(path: Path, blocked: list[str], allowed: list[str], count: int, part: int) -> None:
    rng, popular = random.Random(part), allowed[:2000]
    once = iter(dns_names.fresh(allowed, count // 50 + 1000, part + 1))
    weights = [1 / (rank + 1) for rank in range(len(popular))]
    names = iter(rng.choices(popular, weights, k=count))
    with path.open("w") as file:
        for name in names:
            chance = rng.random()
            if chance < 0.3:
                name = f"www.{rng.choice(blocked)}"
            elif chance < 0.31:
                name = next(once)
            file.write(f"{name} {'AAAA' if chance > 0.8 else 'A'}\n")


def ask(side: dns_sides.Side, queries: Path) -> tuple[int, int, float]:
    """Send the file once. Return the number of answered and lost queries, and the seconds it took."""
    where = ["-s", "127.0.0.1", "-p", str(side.port), "-d", str(queries)]
    command = ["taskset", "-c", "1", "dnsperf", *where, "-n", "1", "-c", "8", "-q", "200"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    counted = {key: float(value) for key, value in re.findall(r"(completed|lost|Run time \(s\)):\s+([\d.]+)", text)}
    return int(counted["completed"]), int(counted["lost"]), counted["Run time (s)"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--millions", type=float, default=10.0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    needs.programs("dnsmasq", "dnsperf", "openssl")
    each = int(options.millions * 1e6 / PARTS)
    lines = [
        (
            "# Ten million queries at one DNS worker"
            if options.millions == 10
            else f"# {options.millions:g} million queries at one DNS worker"
        ),
        "",
        (
            "By `bench/dns_soak.py`: 30 % blocked, 1 % never asked before, the rest of 2,000 names by popularity; all"
            " of them generated."
        ),
        "",
        "| answered | lost | queries per second | CPU per query | private memory |",
        "|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as stack:
        folder, real = Path(place), dns.blocked_names()
        dns.compile_lists(folder, real)
        stand = dns_sides.Stand(folder, real, stack.enter_context(dns_sides.upstream()))
        side = stack.enter_context(dns_sides.hedgerow(stand))
        blocked, allowed = random.Random(3).sample(real, 2000), dns_names.hosts(20_000, 1, real)
        total = lost_of_all = 0
        for part in range(PARTS):
            write_mix(folder / "mix.txt", blocked, allowed, each, part)
            before = dns.cpu_seconds(side)
            answered, lost, seconds = ask(side, folder / "mix.txt")
            cpu = (dns.cpu_seconds(side) - before) / answered * 1e6
            total, lost_of_all = total + answered, lost_of_all + lost
            time.sleep(2)  # what is to be reported is
            memory = dns.private_megabytes(side)
            lines.append(f"| {total:,} | {lost} | {answered / seconds:,.0f} | {cpu:.2f} µs | {memory:.1f} MB |")
            print(lines[-1], flush=True)
    if options.out:
        results_file.write(options.out, "\n".join(lines))
    if lost_of_all:
        raise SystemExit(f"{lost_of_all:,} of {total + lost_of_all:,} queries were lost")


if __name__ == "__main__":
    main()
