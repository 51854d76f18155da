"""Commands on a state directory of another user."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_internet.forked import run_command
from small_internet.running import executable, hedgerow_command, without_internet

from hedgerow.files import write_atomically
from hedgerow.journal.database import open_journal
from hedgerow.proxy.certificate_authority import ensure_ca


def run_as_anybody(*words: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run a command without the rights by which root reads everything."""
    return run_command(
        [executable(), *words], environment=without_internet(), timeout=60, directory=directory, has_capabilities=False
    )


@pytest.fixture
def unreadable(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "unreadable"
    (folder / "state").mkdir(parents=True)
    folder.chmod(0)
    yield folder / "state"
    folder.chmod(0o700)


@pytest.mark.parametrize(
    "words",
    [
        *(
            "devices",
            "log",
            "pause",
            "budgets",
            "report",
            "kept mia",
            "erase mia --yes",
            "top --once",
            "seat list",
            "requests",
        ),
        *(
            "backup saved",
            "restore saved --replace",
            "lists status",
            "lists update",
            "lists lookup example.com",
            "lists remembered",
        ),
        *("ca show", "ca rotate --yes"),
        *("gateway plan --lan lo", "gateway apply", "gateway remove", "gateway status", "notices list", "doctor lo"),
    ],
)
def test_an_unreadable_state_directory_is_one_sentence(unreadable: Path, words: str) -> None:
    done = run_as_anybody(*words.split(), "--state", str(unreadable), directory=unreadable.parent.parent)
    assert done.returncode == 2
    assert done.stderr.startswith("hedgerow: ")
    assert done.stderr.count("\n") == 1
    assert "Errno" not in done.stderr


def test_the_doctor_reports_an_unreadable_state_directory(unreadable: Path) -> None:
    done = run_as_anybody("doctor", "--state", str(unreadable), directory=unreadable.parent.parent)
    assert done.returncode == 1
    assert done.stdout.startswith(
        f"bad    running: can't read the state directory {unreadable}\n       → run hedgerow doctor as root\n"
    )
    assert "Errno" not in done.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to write for another user")
def test_files_written_by_root_belong_to_the_owner_of_the_state_directory(tmp_path: Path) -> None:
    """Otherwise a Hedgerow of that user could read neither its CA nor its journal, and would not start again."""
    state, nobody = tmp_path / "state", 65534
    state.mkdir()
    os.chown(state, nobody, nobody)
    open_journal(state / "journal.sqlite").dispose()
    ensure_ca(state / "ca")
    roots = tmp_path / "roots"
    roots.touch()
    (state / "ca" / "link").hardlink_to(roots)
    (tmp_path / "list.txt").write_text("casino.example\n")
    (tmp_path / "hedgerow.yaml").write_text("lists: [{category: gambling, path: list.txt}]\n")
    words = ("backup saved", "ca rotate --yes", "restore saved --replace", "lists update")
    for each in words:
        done = hedgerow_command(*each.split(), "--state", str(state), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    write_atomically(state / "gateway.json", b"{}")
    others = {path for path in state.rglob("*") if path.stat().st_uid != nobody and path.parent.name != "texts"}
    assert {path.name for path in others} <= {"journal.sqlite-wal", "journal.sqlite-shm", "link"}
    assert all(path.stat().st_nlink > 1 for path in state.rglob("texts/*") if path.stat().st_uid != nobody), (
        "those of the package"
    )
    assert roots.stat().st_uid == 0, "a file elsewhere is not given away"
