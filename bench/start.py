"""Measure the processor time from `hedgerow up` to its ready line, at the second start on a state directory.

    .venv/bin/python bench/start.py [--rounds N] [--write], or make bench-start

Processor time is that of all processes together, those that have ended included, so that it does not depend on what
else the machine does. `PYTHONDONTWRITEBYTECODE` does not hold for it, since every start would compile all modules. The
columns are the processes that live then; `supervisor` includes the command line, and `zygote` what it imports for the
others. `--write` keeps the figures in bench/results/start.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # which Python leaves out where it runs safely
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

import needs  # noqa: F401
from small_internet import small_internet
from small_internet.running import ROLES, Hedgerow, has_role, network_section, running_hedgerow

RESULTS = Path(__file__).parent / "results" / "start.md"
COLUMNS = ("supervisor", "zygote", *ROLES, "others")

Times = dict[str, float]
"""Seconds of processor time by column; `wall` is the time that passed."""


def processor_time(pid: int) -> float:
    """Return the seconds that a process and those of its children that have ended have taken; 0 for one
    that has ended.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        own = int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
    except (OSError, IndexError):
        return 0.0
    return own + sum(map(int, fields[13:15])) / os.sysconf("SC_CLK_TCK")


def times_of(running: Hedgerow) -> Times:
    found = dict.fromkeys(COLUMNS, 0.0)
    for pid in running.all_pids():
        role = next((role for role in (*ROLES, "zygote") if has_role(pid, role)), "others")
        found["supervisor" if pid == running.process.pid else role] += processor_time(pid)
    return found


def measure(rounds: int) -> list[Times]:
    found = []
    with tempfile.TemporaryDirectory() as name, small_internet() as internet:
        policy = network_section(internet)
        for number in range(rounds + 1):
            began = time.monotonic()
            with running_hedgerow(policy, directory=Path(name), upstream_authority=internet.authority.root) as running:
                times = times_of(running)
            if number:
                found.append({**times, "wall": time.monotonic() - began})
    return found


def table(rounds: list[Times]) -> str:
    totals = [sum(times[column] for column in COLUMNS) for times in rounds]
    middle = {column: statistics.median(times[column] for times in rounds) for column in COLUMNS}
    return (
        f"# Processor time of a start, measured by `make bench-start`\n\n{platform.machine()}, Python"
        f" {platform.python_version()}; second start, starter lists; seconds of processor time until ready, medians of"
        f" {len(rounds)} starts. What is measured stands in `bench/start.py`.\n\n| all | lowest | highest |"
        f" {' | '.join(COLUMNS)} |\n|{'---:|' * (len(COLUMNS) + 3)}\n| {statistics.median(totals):.2f} |"
        f" {min(totals):.2f} | {max(totals):.2f} | {' | '.join(f'{middle[column]:.2f}' for column in COLUMNS)} |\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    told = table(measure(given.rounds))
    print(told)
    if given.write:
        RESULTS.write_text(told, encoding="utf-8")


if __name__ == "__main__":
    main()
