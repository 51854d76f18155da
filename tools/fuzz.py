"""Fuzz the parsers that meet strangers' bytes, with Atheris (libFuzzer), guided by the coverage of our code.

    make fuzz [MINUTES=10] [TARGETS="dns-query client-hello"]

Each target runs for its share of the minutes, with a limit on the time and the memory that one input may take. A
quarter of it goes to shapes whose work grows faster than they do. What is learnt stays in `build/fuzz/TARGET` for the
next run. A finding is written to `tests/fuzz/found/TARGET.…`, where the tests try it from then on.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOUND, LEARNT = ROOT / "tests" / "fuzz" / "found", ROOT / "build" / "fuzz"
SECONDS_PER_INPUT, MEGABYTES, LONGEST_INPUT = 5, 1500, 16384


def fuzz(name: str, arguments: list[str]) -> None:
    """Fuzz one target for ever, or until libFuzzer's options in `arguments` end it.

    Replaces the process's exit status.
    """
    import atheris

    sys.path.insert(0, str(ROOT / "tests" / "support"))
    with atheris.instrument_imports(include=["hedgerow"]):
        from fuzz_targets import TARGETS
    target, learnt = TARGETS[name], LEARNT / name
    learnt.mkdir(parents=True, exist_ok=True)
    for seed in target.seeds:
        (learnt / hashlib.sha1(seed, usedforsecurity=False).hexdigest()).write_bytes(seed)
    FOUND.mkdir(exist_ok=True)
    options = [
        f"-timeout={SECONDS_PER_INPUT}",
        f"-rss_limit_mb={MEGABYTES}",
        f"-max_len={LONGEST_INPUT}",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], str(learnt), f"-artifact_prefix={FOUND}/{name}.", *options, *arguments], target)
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", help="all by default")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given, rest = parser.parse_known_args()
    if given.one:
        fuzz(given.one, [*given.targets, *rest])
        return
    sys.path.insert(0, str(ROOT / "tests" / "support"))
    from fuzz_targets import TARGETS
    from input_growth import find_fast_growth

    if unknown := set(given.targets) - set(TARGETS):
        sys.exit(f"There is no target {', '.join(sorted(unknown))}. Targets: {', '.join(TARGETS)}")
    names = given.targets or list(TARGETS)
    seconds, failed = max(1, int(given.minutes * 60 / len(names))), []
    for number, name in enumerate(names, 1):
        grown = find_fast_growth(TARGETS[name], seconds / 4)
        if grown is not None:
            failed.append(name)
            print(f"{name}: time grows faster than the input: {grown}", flush=True)
        command = [sys.executable, "-P", __file__, "--one", name, f"-max_total_time={max(1, seconds * 3 // 4)}"]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        figures = [
            line.removeprefix("stat::").split() for line in done.stderr.splitlines() if line.startswith("stat::")
        ]
        counted = {key.rstrip(":"): value for key, value in figures}
        runs = counted.get("number_of_executed_units", "?")
        print(
            f"{number} of {len(names)}: {name}: {runs} inputs in {seconds} s,"
            f" {'no finding' if done.returncode == 0 else 'A FINDING'}",
            flush=True,
        )
        if done.returncode:
            failed.append(name)
            print(done.stderr[-6000:], flush=True)
    if failed:
        sys.exit(f"findings in {', '.join(failed)}: see {FOUND.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
