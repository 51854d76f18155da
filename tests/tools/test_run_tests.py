"""A run of tests that says what failed at first, what was skipped, and where the time went."""

from __future__ import annotations

from pathlib import Path

import pytest
import run_tests

UNSTEADY = """
import pathlib, pytest

@pytest.mark.parametrize("number", range({count}))
def test_second_try(number):
    seen = pathlib.Path(__file__).with_name(f"seen-{{number}}")
    was_there = seen.exists()
    seen.touch()
    assert was_there

@pytest.mark.skip(reason="kdig is not installed")
def test_left_out(): ...
"""


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tests" / "dns").mkdir(parents=True)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -p no:schemathesis -p no:hypothesispytest -p no:anyio\n")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    return tmp_path


def unsteady_tests(tree: Path, count: int) -> tuple[int, list[run_tests.Outcome], list[str]]:
    (tree / "tests" / "dns" / "test_flaky.py").write_text(UNSTEADY.format(count=count))
    return run_tests.run(tree, "units", ["-q", "-n", "1", "tests"], None)


def test_fails_if_too_many_pass_only_alone(tree: Path) -> None:
    status, _, unsteady = unsteady_tests(tree, run_tests.MOST_UNSTEADY + 1)
    assert (status, len(unsteady)) == (run_tests.FAILED, run_tests.MOST_UNSTEADY + 1)


def test_fails_if_a_test_fails_twice(tree: Path) -> None:
    (tree / "tests" / "dns" / "test_broken.py").write_text("class TestBroken:\n    def test_it(self): assert False\n")
    status, outcomes, unsteady = run_tests.run(tree, "units", ["-q", "-n", "1", "tests"], None)
    assert (status, unsteady) == (run_tests.FAILED, [])
    assert [outcome.name for outcome in outcomes if outcome.is_failed] == [
        "tests/dns/test_broken.py::TestBroken::test_it"
    ]


def test_says_what_passed_only_alone_and_what_was_not_tested(
    tree: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last line is the command, on a machine without any Debian package too."""
    (tree / "tests" / "dns" / "test_without.py").write_text(
        "import pytest\npytest.importorskip('numpyx', reason='numpyx is not installed')\n"
    )
    status, outcomes, unsteady = unsteady_tests(tree, run_tests.MOST_UNSTEADY)
    assert unsteady == [
        f"tests/dns/test_flaky.py::test_second_try[{number}]" for number in range(run_tests.MOST_UNSTEADY)
    ]
    assert {outcome.layer for outcome in outcomes} == {"dns"}
    capsys.readouterr()
    monkeypatch.setenv("PATH", "/nowhere")
    run_tests.report("quick", outcomes, unsteady, 61.0)
    said = capsys.readouterr().out
    assert status == 0
    assert "Not tested here, 2 tests:\n" in said
    assert "     1 × kdig is not installed\n" in said
    assert "     1 × numpyx is not installed\n" in said
    assert said.index(unsteady[0]) < said.index("Not tested here")
    *_, missing, command = said.rstrip().splitlines()
    assert missing.startswith("Not installed here: knot, ")
    assert command == f"They are installed by: {run_tests.PACKAGES_COMMAND}"
    assert "| dns | 4 | " in said
    assert " tests in 1 min 1 s" in said


def test_the_command_for_missing_packages_is_there() -> None:
    assert (run_tests.ROOT / run_tests.PACKAGES_COMMAND.removeprefix("sudo ")).stat().st_mode & 0o111
