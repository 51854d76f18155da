"""Count the instructions of a start and of DNS answers, which say what to expect of another processor, and time them
here.

    .venv/bin/python bench/instructions.py

Each is counted by cachegrind as the difference between two runs, in one process and without the kernel's part: the
import of what a resolver needs; an answer from the cache; a blocked name that was never asked before, with a decision
that is made at once. The time is the same difference, of processor time, without cachegrind and of fifty times as many
answers (the median of five). Takes three minutes. Needs valgrind.
"""

from __future__ import annotations

import asyncio
import os
import re
import resource
import statistics
import subprocess
import sys
from pathlib import Path
from struct import pack

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

import needs

FEW, MANY = 500, 4500
TIMED = 50 * MANY
KINDS = {
    "import of hedgerow.app.processes": (0, 1),
    "an answer from the cache": (FEW, MANY),
    "a blocked name, never asked before": (FEW, MANY),
}
_COUNT = re.compile(r"I\s+refs:\s+([\d,]+)")


def work(kind: int, number: int) -> None:
    """Do what is counted."""
    if kind == 0:
        if number:
            import hedgerow.app.processes  # noqa: F401
        return
    from hot_path import OneServer

    async def ask() -> None:
        server = OneServer()
        await server.start()
        answered = 0
        for at in range(number):
            name = "blocked.example" if kind == 1 else f"www.site-{at}.example"
            labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
            answered += len(server.feed(pack(">6H", at & 0xFFFF, 0x100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1"))
        assert answered == number

    asyncio.run(ask())


def count(kind: int, number: int) -> int:
    command = [
        "valgrind",
        "--tool=cachegrind",
        "--cachegrind-out-file=/dev/null",
        sys.executable,
        "-P",
        __file__,
        str(kind),
        str(number),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = _COUNT.search(done.stderr)
    assert found is not None, done.stderr
    return int(found[1].replace(",", ""))


def cpu_microseconds(kind: int, number: int) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-P", __file__, str(kind), str(number)], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime) * 1e6


def main() -> None:
    if len(sys.argv) == 3:
        work(int(sys.argv[1]), int(sys.argv[2]))
        return
    needs.programs("valgrind")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # as installed: compiled once
    print("| what | instructions | µs here |\n|---|---:|---:|")
    for kind, (what, (few, many)) in enumerate(KINDS.items()):
        instructions = (count(kind, many) - count(kind, few)) // (many - few)
        timed = TIMED if kind else many
        times = [(cpu_microseconds(kind, timed) - cpu_microseconds(kind, few)) / (timed - few) for _ in range(5)]
        print(f"| {what} | {instructions:,} | {statistics.median(times):,.1f} |", flush=True)


if __name__ == "__main__":
    main()
