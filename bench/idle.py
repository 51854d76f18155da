"""Measure the CPU that a whole Hedgerow uses while nobody asks anything: ms of CPU and wake-ups per second by process.

    .venv/bin/python bench/idle.py [--seconds 60] [--settle 75] [--policy FILE]

The policy is that of a home with two children, or the lines of `--policy` below `network:`. The
first seconds after a start are left out: control loads the pages then and deletes what is too old.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # which Python leaves out where it runs safely
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from proxy_inspect import cpu_of
from small_internet import small_internet
from small_internet.running import ROLES, Hedgerow, has_role, network_section, running_hedgerow

HOME = """
people:
  mia: {devices: [tablet], profile: child-8-12}
  tom: {devices: [phone], profile: teen-13-15}
devices:
  tablet: {ip: 127.0.4.1}
  phone: {ip: 127.0.4.2}
"""


def wakes(pid: int) -> int:
    """Return how often the threads of a process went to sleep so far."""
    texts = (path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status"))
    return sum(int(number) for text in texts for number in re.findall(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.M))


def role_of(running: Hedgerow, pid: int) -> str:
    if pid == running.process.pid:
        return "supervisor"
    return next((role for role in (*ROLES, "zygote") if has_role(pid, role)), "others")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--settle", type=float, default=75)
    parser.add_argument("--policy", type=Path)
    chosen = parser.parse_args()
    body = chosen.policy.read_text() if chosen.policy else HOME
    with small_internet() as net, running_hedgerow(network_section(net) + body) as running:
        time.sleep(chosen.settle)
        before = {pid: (cpu_of(pid), wakes(pid)) for pid in running.all_pids()}
        time.sleep(chosen.seconds)
        used: Counter[str] = Counter()
        woken: Counter[str] = Counter()
        for pid, (cpu, count) in before.items():
            used[role_of(running, pid)] += cpu_of(pid) - cpu  # type: ignore[assignment]
            woken[role_of(running, pid)] += wakes(pid) - count
    rows = [(role, cpu, woken[role]) for role, cpu in used.most_common()]
    for role, cpu, number in (*rows, ("all", used.total(), woken.total())):
        print(f"{role:12} {cpu / chosen.seconds * 1e3:6.2f} ms/s {number / chosen.seconds:7.1f} wake-ups/s")


if __name__ == "__main__":
    main()
