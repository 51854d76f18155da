"""What commands say where the state directory is somebody else's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

AS_ANYBODY = ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-net_admin", "--inh-caps=-all", "--"] if os.geteuid() == 0 else []
PROGRAM = [*AS_ANYBODY, sys.executable, "-P", "-c", "from hedgerow.app.cli import main; main()"]


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "closed"
    (folder / "state").mkdir(parents=True)
    folder.chmod(0)
    yield folder / "state"
    folder.chmod(0o700)


@pytest.mark.parametrize(
    "words",
    [
        *("devices", "log", "pause", "budgets", "report", "kept mia", "erase mia --yes", "top --once", "seat list", "requests"),
        *("backup saved", "restore saved", "lists status", "lists update", "lists lookup example.com", "ca show", "ca rotate --yes"),
        *("gateway plan --lan lo", "gateway apply", "gateway remove", "gateway status", "notices list", "doctor lo"),
    ],
)
def test_it_is_told_in_a_sentence(closed: Path, words: str) -> None:
    command = [*PROGRAM, *words.split(), "--state", str(closed)]
    done = subprocess.run(command, cwd=closed.parent.parent, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("hedgerow: ")
    assert done.stderr.count("\n") == 1
    assert "Errno" not in done.stderr


def test_the_doctor_does_not_take_it_for_none(closed: Path) -> None:
    command = [*PROGRAM, "doctor", "--state", str(closed)]
    done = subprocess.run(command, cwd=closed.parent.parent, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stdout.startswith(f"bad    running: the state directory {closed} may not be read\n       → run hedgerow doctor as root\n")
    assert "Errno" not in done.stdout
