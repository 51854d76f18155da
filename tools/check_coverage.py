"""Check which statements of the package the tests run: `python tools/check_coverage.py [--write]`.

Two rules, both for statements run in the tests' own processes. Servers that end-to-end tests start are not measured.

- Each package has a floor, `FLOORS`. The figures come from the last run of `make test`, which leaves them in
  `build/tests`.
- The protocol modules, `PROTOCOL`, are run in full by their own tests. These are run here, without those of random
  examples and of stored packets: what only they reach is reached by chance, or not on every machine.

`--write` puts the figures of the packages into `CONTRIBUTING.md`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
MEASURED = ROOT / "build" / "tests" / "coverage.json"

FLOORS: dict[str, int] = {
    "app": 57,
    "blocklists": 96,
    "dashboards": 95,
    "dns": 93,
    "features": 72,
    "journal": 94,
    "network": 81,
    "policies": 96,
    "proxy": 68,
    "top level": 86,
}
"""Percent of the statements of each package that tests have to run.

A package without a floor is not checked while there are none.
"""

PROTOCOL: dict[str, tuple[str, ...]] = {
    "hedgerow/client_classes.py": ("tests/test_client_classes.py",),
    "hedgerow/dns/answers.py": ("tests/dns/test_answers.py", "tests/dns/test_padding.py"),
    "hedgerow/dns/server/http2_codec.py": ("tests/dns/server/test_http2_codec.py",),
    "hedgerow/dns/upstreams/responses.py": ("tests/dns/upstreams/test_responses.py",),
    "hedgerow/dns/wire.py": ("tests/dns/test_wire.py",),
    "hedgerow/features/away/handshake.py": ("tests/features/away/test_handshake.py",),
    "hedgerow/frame_budget.py": ("tests/test_frame_budget.py",),
    "hedgerow/hpack_codec.py": ("tests/test_hpack_codec.py",),
    "hedgerow/http2_streams.py": ("tests/test_http2_streams.py",),
    "hedgerow/proxy/client_hello.py": ("tests/proxy/test_client_hello.py",),
    "hedgerow/proxy/gate/commands.py": ("tests/proxy/gate/test_commands.py", "tests/proxy/gate/test_protocol.py"),
    "hedgerow/proxy/gate/protocol.py": ("tests/proxy/gate/test_protocol.py",),
    "hedgerow/proxy/http_head.py": ("tests/proxy/test_http_head.py",),
    "hedgerow/proxy_protocol.py": ("tests/test_proxy_protocol.py",),
}
"""The tests of each protocol module."""

_SELECTED = "not hypothesis and not shared"


def percent_by_package(measured: Mapping[str, Any]) -> dict[str, float]:
    """Return the percentage of statements that were run, by package, from coverage's JSON report.

    >>> percent_by_package({"files": {"hedgerow/dns/wire.py": {"summary": {"covered_lines": 9, "num_statements": 10}}}})
    {'dns': 90.0}
    """
    run: dict[str, int] = defaultdict(int)
    all_of: dict[str, int] = defaultdict(int)
    for file, found in measured["files"].items():
        parts = Path(file).parts
        package = parts[1] if len(parts) > 2 else "top level"
        run[package] += found["summary"]["covered_lines"]
        all_of[package] += found["summary"]["num_statements"]
    return {package: 100 * run[package] / all_of[package] for package in sorted(all_of) if all_of[package]}


def table(percents: Mapping[str, float], floors: Mapping[str, int]) -> str:
    """Return the figures in Markdown, with the floor of each package."""
    rows = [f"| {package} | {percent:.1f} | {floors.get(package, '')} |" for package, percent in percents.items()]
    return "\n".join(["| package | percent of statements | floor |", "|---|---:|---:|", *rows])


def below_floor(percents: Mapping[str, float], floors: Mapping[str, int]) -> list[str]:
    """Return a sentence for each package whose tests run less than its floor, and for each that has no floor while
    others have one.
    """
    missing = [
        f"{package} has no floor in FLOORS of tools/check_coverage.py"
        for package in percents
        if floors and package not in floors
    ]
    low = [
        f"tests run {percents.get(package, 0.0):.2f} % of the statements of {package}, which is less than {floor} %"
        for package, floor in floors.items()
        if percents.get(package, 0.0) < floor
    ]
    return missing + low


def left_out(measured: Mapping[str, Any], tests: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Return a sentence for each module of which its tests leave out statements, from coverage's JSON report."""
    problems = []
    for module, own in sorted(tests.items()):
        found = measured["files"].get(module)
        if found is None:
            problems.append(f"{module}: its tests ({', '.join(own)}) do not import it, or it does not exist")
        elif found["missing_lines"]:
            lines = ", ".join(map(str, found["missing_lines"]))
            problems.append(f"{module}: its tests ({', '.join(own)}) leave out lines {lines}")
    return problems


def protocol_problems() -> list[str]:
    """Run the tests of the protocol modules. Return a sentence for each module of which they leave out statements."""
    modules = [f"--cov={module.removesuffix('.py').replace('/', '.')}" for module in PROTOCOL]
    tests = sorted({test for own in PROTOCOL.values() for test in own})
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "protocol.json")
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            f"--basetemp={folder}/p",
            "-m",
            _SELECTED,
        ]
        ended = subprocess.run(
            [*command, *modules, "--cov-report=", f"--cov-report=json:{report}", *tests],
            cwd=ROOT,
            env={**os.environ, "COVERAGE_FILE": str(Path(folder, "coverage")), "PYTHONSAFEPATH": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        if ended.returncode:
            return [f"the tests of the protocol modules failed:\n{ended.stdout[-3000:]}{ended.stderr[-3000:]}"]
        return left_out(json.loads(report.read_text(encoding="utf-8")), PROTOCOL)


def with_table(text: str, percents: Mapping[str, float], floors: Mapping[str, int]) -> str:
    """Return a document with the figures between its marks.

    >>> with_table("<!-- coverage -->old<!-- end of coverage -->", {"dns": 90.04}, {"dns": 89}).splitlines()[3]
    '| dns | 90.0 | 89 |'
    """
    shown = f"<!-- coverage -->\n{table(percents, floors)}\n<!-- end of coverage -->"
    return re.sub(r"<!-- coverage -->.*<!-- end of coverage -->", lambda _: shown, text, flags=re.DOTALL)


def main() -> int:
    parser = argparse.ArgumentParser(description="Check which statements of the package the tests run.")
    parser.add_argument("--write", action="store_true", help="put the figures of the packages into CONTRIBUTING.md")
    chosen = parser.parse_args()
    problems = protocol_problems()
    if MEASURED.exists():
        percents = percent_by_package(json.loads(MEASURED.read_text(encoding="utf-8")))
        problems += below_floor(percents, FLOORS)
        if chosen.write:
            CONTRIBUTING.write_text(
                with_table(CONTRIBUTING.read_text(encoding="utf-8"), percents, FLOORS), encoding="utf-8"
            )
    else:
        print("The coverage of packages was not measured here: `make test` does that.")
    print(*problems, sep="\n", end="\n" if problems else "")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
