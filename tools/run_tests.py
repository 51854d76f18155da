"""Run the tests of a tier side by side, try once more what failed, and report what was learned.

    python tools/run_tests.py quick|all|units [--record] [ARGUMENTS OF PYTEST ...]

`quick` are the unit tests in files that took at most `QUICK_FILE_S` seconds when they were last recorded, without the
fixtures of `SERVICES` and with few examples; `units` are all unit tests; `all` adds the end-to-end tests and the
laboratory. A test that fails at first is run again with the machine to itself. If it passes then, it is listed by name:
more than two such names fail the run. The last lines say what was not tested and what installs it. `--record` writes
the seconds of each file into `tests/seconds.json`, which decides what is quick and the order of the next runs, and the
table of layers in `CONTRIBUTING.md`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
SECONDS_FILE = ROOT / "tests" / "seconds.json"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
RESULTS = Path("build", "tests")
PACKAGES_SCRIPT = Path("scripts", "test-packages.sh")
PACKAGES_COMMAND = f"sudo {PACKAGES_SCRIPT}"
MOST_UNSTEADY = 2
"""Tests that may fail at first and pass alone, before the run fails."""
QUICK_FILE_S = 2.0
"""Seconds of a file beyond which `make quick` leaves it out."""
ALWAYS_QUICK = frozenset({"tests/fuzz/test_growth.py"})
"""Files that are quick by themselves: they do less in a quick run."""
SECOND_TRIES_AT_MOST = 40
"""Failures beyond which a second try says nothing new."""
MEMORY_DISK, MEMORY_DISK_BYTES = Path("/dev/shm"), 6_000_000_000  # noqa: S108 (a folder of our own is made in it)

FAILED = 1
"""Exit status of pytest if tests failed; others mean that it could not run them."""

_UNITS = ("--ignore=tests/e2e", "--ignore=tests/lab", "--ignore-glob=tests/features/*/test_end_to_end.py")
TIERS = {
    "quick": (*_UNITS, "-m", "not service", "--hypothesis-profile=quick"),
    "units": _UNITS,
    "all": (),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one test. `file` is relative to the root, `skipped` the reason for a skip."""

    name: str
    file: str
    seconds: float
    is_failed: bool
    skipped: str

    @property
    def layer(self) -> str:
        """The folder below `tests` that the file is in.

        >>> Outcome("tests/dns/server/test_udp.py::test_x", "tests/dns/server/test_udp.py", 0.1, False, "").layer
        'dns'
        """
        parts = self.file.split("/")
        return parts[1] if len(parts) > 2 else "top level"


def read_outcomes(report: Path) -> Iterator[Outcome]:
    """Read the outcomes of a JUnit report that pytest wrote with `junit_family=xunit1`.

    A test has several elements if its teardown fails too. Raises OSError, and ElementTree.ParseError for a file that
    pytest did not finish.
    """
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314 (our own file)
        skip, file = case.find("skipped"), case.get("file", "")
        module = file.removesuffix(".py").replace("/", ".")
        scope = case.get("classname", "").removeprefix(module).strip(".").replace(".", "::")
        yield Outcome(
            name="::".join(part for part in (file, scope, case.get("name", "")) if part),
            file=file,
            seconds=float(case.get("time", "0")),
            is_failed=case.find("failure") is not None or case.find("error") is not None,
            skipped="" if skip is None else _reason(skip),
        )


def _reason(skip: ElementTree.Element) -> str:
    """Return the reason of a skip. That of a whole file is in a triple of its path, line and reason."""
    if skip.get("message") != "collection skipped":
        return skip.get("message", "")
    return re.sub(r"^\('.*?', \d+, ['\"]Skipped: (.*)['\"]\)$", r"\1", skip.text or "")


def seconds_by_file(outcomes: Iterable[Outcome]) -> dict[str, float]:
    """Add up the seconds of each file."""
    seconds: Counter[str] = Counter()
    for outcome in outcomes:
        seconds[outcome.file] += outcome.seconds  # type: ignore[assignment]  # typeshed counts in whole numbers
    return dict(sorted((file, round(spent, 1)) for file, spent in seconds.items()))


def layer_table(outcomes: Sequence[Outcome]) -> str:
    """Return a table of tests, seconds and the slowest file of each layer, in Markdown."""
    rows = ["| layer | tests | seconds | slowest file |", "|---|---:|---:|---|"]
    for layer in sorted({outcome.layer for outcome in outcomes}):
        inside = [outcome for outcome in outcomes if outcome.layer == layer]
        files = seconds_by_file(inside)
        slowest = max(files, key=files.__getitem__)
        spent = sum(files.values())
        rows.append(f"| {layer} | {len(inside):,} | {spent:.0f} | `{slowest}`, {files[slowest]:.0f} s |")
    return "\n".join(rows)


def skip_lines(outcomes: Iterable[Outcome]) -> list[str]:
    """Return a line per reason for which tests were skipped, the most frequent first."""
    reasons = Counter(outcome.skipped for outcome in outcomes if outcome.skipped)
    return [f"  {count:4} × {reason}" for reason, count in reasons.most_common()]


def _pytest(root: Path, report: Path, arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    command = [sys.executable, "-m", "pytest", f"--junitxml={report}", "-o", "junit_family=xunit1", *arguments]
    return subprocess.run(command, cwd=root, env=environment, check=False).returncode


def _side_by_side(tier: str) -> tuple[str, ...]:
    """Return pytest's options for the number of workers: quick tests compute, and the others wait more than half of the
    time.
    """
    processors = os.cpu_count() or 1
    workers = processors if tier == "quick" else 2 * processors + 1
    return ("-n", str(workers), "--dist", "loadfile", "--no-loadscope-reorder")


def slow_files(seconds: Mapping[str, float]) -> list[str]:
    """Return the files that `make quick` leaves out by their recorded seconds. A file that is new is quick.

    >>> slow_files({"tests/test_a.py": 1.9, "tests/test_b.py": 2.1, "tests/fuzz/test_growth.py": 20.0})
    ['tests/test_b.py']
    """
    return sorted(file for file, spent in seconds.items() if spent > QUICK_FILE_S and file not in ALWAYS_QUICK)


def _left_out(root: Path) -> list[str]:
    file = root / SECONDS_FILE.relative_to(ROOT)
    return (
        [f"--ignore={name}" for name in slow_files(json.loads(file.read_text(encoding="utf-8")))]
        if file.exists()
        else []
    )


def run(root: Path, tier: str, arguments: Sequence[str], scratch: Path | None) -> tuple[int, list[Outcome], list[str]]:
    """Run a tier of the tests below `root`.

    Returns the exit status, the outcomes of the first try, and the names of tests that failed at first and passed
    alone.
    """
    results = root / RESULTS
    results.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PYTHONSAFEPATH": "1", "COVERAGE_FILE": str(results / "coverage")}
    # each of hundreds of processes would compile all of its modules again
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    arguments = [*TIERS[tier], *(_left_out(root) if tier == "quick" else ()), *arguments]
    if scratch is not None:
        environment["TMPDIR"] = str(scratch)
        arguments.append(f"--basetemp={scratch / 'p'}")
    coverage = (
        [] if tier != "all" else ["--cov=hedgerow", "--cov-report=", f"--cov-report=json:{results / 'coverage.json'}"]
    )
    status = _pytest(root, results / "first.xml", [*_side_by_side(tier), *coverage, *arguments], environment)
    outcomes = list(read_outcomes(results / "first.xml"))
    failed = {outcome.name for outcome in outcomes if outcome.is_failed}
    if status != FAILED or not failed or len(failed) > SECOND_TRIES_AT_MOST:
        return status, outcomes, []
    print(f"\nOnce more, alone: {len(failed)} that failed", flush=True)
    status = _pytest(root, results / "second.xml", ["--last-failed", *arguments], environment)
    failed_again = {outcome.name for outcome in read_outcomes(results / "second.xml") if outcome.is_failed}
    unsteady = sorted(failed - failed_again)
    return (FAILED if len(unsteady) > MOST_UNSTEADY else status), outcomes, unsteady


def report(tier: str, outcomes: Sequence[Outcome], unsteady: Sequence[str], seconds: float) -> None:
    """Print what a run showed: the layers, what failed at first only, what was skipped, and last how to install what is
    missing.
    """
    print(
        f"\n{layer_table(outcomes)}\n\n{tier}: {len(outcomes):,} tests in {seconds // 60:.0f} min {seconds % 60:.0f} s"
    )
    if unsteady:
        print(f"\nFailed at first, passed alone ({len(unsteady)}; more than {MOST_UNSTEADY} fail the run):")
        print(*(f"  {name}" for name in unsteady), sep="\n")
    if skipped := skip_lines(outcomes):
        count = sum(bool(outcome.skipped) for outcome in outcomes)
        print(f"\nNot tested here, {count} tests:", *skipped, sep="\n")
    if missing := missing_packages(ROOT):
        print(f"\nNot installed here: {', '.join(missing)}\nThey are installed by: {PACKAGES_COMMAND}")


def missing_packages(root: Path) -> list[str]:
    """Return the Debian packages that tests use and that are not installed; all of them on another system."""
    found = subprocess.run([root / PACKAGES_SCRIPT, "missing"], capture_output=True, text=True, check=True)
    return found.stdout.split()


def record(outcomes: Sequence[Outcome]) -> None:
    """Write the seconds of each file, and the table of layers in CONTRIBUTING.md."""
    SECONDS_FILE.write_text(json.dumps(seconds_by_file(outcomes), indent=1) + "\n", encoding="utf-8")
    text = CONTRIBUTING.read_text(encoding="utf-8")
    table = f"<!-- layers -->\n{layer_table(outcomes)}\n<!-- end of layers -->"
    CONTRIBUTING.write_text(
        re.sub(r"<!-- layers -->.*<!-- end of layers -->", lambda _: table, text, flags=re.DOTALL), encoding="utf-8"
    )


def _scratch() -> Path | None:
    """Make a folder on a disk in memory, if there is one with room.

    Its path is short, as those of Unix sockets must be.

    Tests write thousands of small files, and the programs under test wait until each is on the disk.
    """
    if not MEMORY_DISK.is_dir() or shutil.disk_usage(MEMORY_DISK).free < MEMORY_DISK_BYTES:
        return None
    folder = Path(tempfile.mkdtemp(prefix="", dir=MEMORY_DISK))
    folder.chmod(0o755)
    return folder


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the tests of a tier.")
    parser.add_argument("tier", choices=TIERS)
    parser.add_argument(
        "--record", action="store_true", help="keep the seconds of each file for the order of later runs"
    )
    chosen, arguments = parser.parse_known_args()
    began, scratch = time.monotonic(), _scratch()
    try:
        status, outcomes, unsteady = run(ROOT, chosen.tier, arguments, scratch)
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
    report(chosen.tier, outcomes, unsteady, time.monotonic() - began)
    if chosen.record:
        record(outcomes)
    return status


if __name__ == "__main__":
    sys.exit(main())
