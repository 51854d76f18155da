"""Kill processes that fetch and compile lists at random moments, and fill the disk under them, fifty times each.

    .venv/bin/python bench/list_accidents.py [--rounds 50] [--write]
    .venv/bin/python bench/list_accidents.py --poisoned 1000 [--names 5000] [--write]

After every accident each generation in place must open and be whole, and so must the download; after every round the
next fetch and compilation must succeed. The tests in `tests/app/control/test_list_jobs.py` run a few rounds each time.
A full disk needs root rights.

With `--poisoned`, so many updates that name harmless sites are put into force instead (`poisoned_updates.py`), and then
some of a list of 100,000 names.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import needs  # noqa: F401
from poisoned_updates import report

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "bench" / "results" / "list_accidents.md"
POISONED = ROOT / "bench" / "results" / "poisoned_updates.md"


def run(rounds: int) -> list[str]:
    """Return the result as lines of text. Exits where something was lost."""
    command = [
        sys.executable,
        "-P",
        "-m",
        "pytest",
        "-q",
        "-s",
        "-p",
        "no:cacheprovider",
        "--timeout=7200",
        "tests/app/control/test_list_jobs.py",
    ]
    started = time.monotonic()
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "HEDGEROW_ACCIDENTS": str(rounds)}, capture_output=True, text=True
    )
    if done.returncode != 0:
        sys.exit(done.stdout + done.stderr)
    told = [f"- {line.lstrip('.')}" for line in done.stdout.splitlines() if "processes" in line]
    return [*told, "", f"{done.stdout.splitlines()[-1].strip()}; {time.monotonic() - started:.0f} s in all."]


def poison(updates: int, names: int, *, write: bool) -> None:
    """Print what became of poisoned updates; exits where a canary was lost."""
    parts = []
    for count, size in ((updates, names), (16, 100_000)):
        with tempfile.TemporaryDirectory() as folder:
            parts += [*report(count, size, Path(folder)), ""]
    text = "\n".join(parts)
    print(text)
    if write:
        head = (
            f"`bench/list_accidents.py --poisoned {updates} --names {names}` on Python {platform.python_version()},"
            f" {time.strftime('%Y-%m-%d')}, with `nice` on two cores that others were using."
            " The times are of one list; a home's others are parsed already, and are merged with it."
        )
        POISONED.write_text(f"# Poisoned updates\n\n{head}\n\n{text}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--write", action="store_true", help="write bench/results/list_accidents.md")
    parser.add_argument("--poisoned", type=int, default=0, help="poisoned updates, instead of kills and full disks")
    parser.add_argument("--names", type=int, default=5000, help="names of the list that is poisoned")
    options = parser.parse_args()
    if options.poisoned:
        poison(options.poisoned, options.names, write=options.write)
        return
    text = "\n".join(run(options.rounds))
    print(text)
    if options.write:
        head = (
            f"`bench/list_accidents.py --rounds {options.rounds}` on Python {platform.python_version()},"
            f" {time.strftime('%Y-%m-%d')}."
        )
        head += " A good generation was in place after every one of these accidents, and the next update went through:"
        RESULT.write_text(f"# Kills and full disks\n\n{head}\n\n{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
