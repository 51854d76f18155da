"""The check of which statements the tests run: figures by package, floors, and modules that are run in full."""

from __future__ import annotations

import re
from typing import Any

import check_coverage
import pytest


def report(**files: tuple[int, int, list[int]]) -> dict[str, Any]:
    """Return a report as coverage writes it: of each file the statements that were run, all of them, and the lines left
    out.
    """
    return {
        "files": {
            f"hedgerow/{name.replace('__', '/')}.py": {
                "summary": {"covered_lines": run, "num_statements": count},
                "missing_lines": lines,
            }
            for name, (run, count, lines) in files.items()
        }
    }


def test_figures_are_added_up_by_package() -> None:
    found = report(
        dns__wire=(9, 10, [4]),
        dns__server__udp=(40, 90, [1]),
        dns____init__=(0, 0, []),
        proxy__limits=(3, 3, []),
        sockets=(1, 4, [7]),
    )
    assert check_coverage.percent_by_package(found) == {"dns": 49.0, "proxy": 100.0, "top level": 25.0}


@pytest.mark.parametrize(
    ("percents", "floors", "problems"),
    [
        ({"dns": 90.0}, {"dns": 90}, []),
        ({"dns": 89.96}, {"dns": 90}, ["tests run 89.96 % of the statements of dns, which is less than 90 %"]),
        ({"dns": 50.0}, {}, []),
        ({"dns": 95.0, "new": 100.0}, {"dns": 90}, ["new has no floor in FLOORS of tools/check_coverage.py"]),
        ({}, {"gone": 90}, ["tests run 0.00 % of the statements of gone, which is less than 90 %"]),
    ],
)
def test_a_package_is_named_that_is_below_its_floor(
    percents: dict[str, float], floors: dict[str, int], problems: list[str]
) -> None:
    assert check_coverage.below_floor(percents, floors) == problems


def test_lines_are_named_that_the_tests_of_a_module_leave_out() -> None:
    tests = {
        "hedgerow/dns/wire.py": ("tests/dns/test_wire.py",),
        "hedgerow/sockets.py": ("a.py", "b.py"),
        "hedgerow/gone.py": ("c.py",),
    }
    assert check_coverage.left_out(report(dns__wire=(3, 3, []), sockets=(1, 3, [7, 9])), tests) == [
        "hedgerow/gone.py: its tests (c.py) do not import it, or it does not exist",
        "hedgerow/sockets.py: its tests (a.py, b.py) leave out lines 7, 9",
    ]


def test_the_figures_replace_those_of_the_document() -> None:
    before = "Before\n<!-- coverage -->\nold\n\nlines\n<!-- end of coverage -->\nAfter"
    after = check_coverage.with_table(before, {"dns": 90.04, "new": 1.0}, {"dns": 89})
    assert after.splitlines() == [
        *["Before", "<!-- coverage -->"],
        *["| package | percent of statements | floor |", "|---|---:|---:|", "| dns | 90.0 | 89 |", "| new | 1.0 |  |"],
        *["<!-- end of coverage -->", "After"],
    ]
    assert check_coverage.with_table(after, {"dns": 90.04, "new": 1.0}, {"dns": 89}) == after


def test_all_protocol_modules_that_the_architecture_names_are_checked() -> None:
    text = (check_coverage.ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    (named,) = re.findall(r"^- Protocol code \((.*?)\)", text, re.DOTALL | re.MULTILINE)
    checked = set(check_coverage.PROTOCOL)
    for name in re.findall(r"`([^`]+)`", named):
        assert f"hedgerow/{name}" in checked, name
    for module, tests in check_coverage.PROTOCOL.items():
        assert all((check_coverage.ROOT / file).is_file() for file in (module, *tests)), module
