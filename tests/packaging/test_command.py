"""The command line of the Debian package, called by root, with stand-ins for the programs that change the user."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "packaging" / "debian" / "hedgerow.sh"
STAND_INS = {
    "id": "echo 0",
    "getent": "exit 0",
    "setpriv": 'while [ "$1" != -- ]; do shift; done; shift; exec "$@"',
    "hedgerow": "pwd",
}


@pytest.mark.parametrize(
    ("words", "is_here"),
    [
        ("status", False),
        ("restore {elsewhere}", False),
        ("restore {elsewhere} --policy={elsewhere}", False),
        ("restore copy.tar.gz", True),
        ("check other.yaml", True),
        ("explain --policy=other.yaml tablet x.example", True),
        ("grant tablet x.example", False),
    ],
)
def test_root_works_in_the_folder_of_the_policy_unless_it_names_a_file_here(
    tmp_path: Path, words: str, is_here: bool
) -> None:
    """`hedgerow restore /var/tmp/copy.tar.gz` in root's home restored the policy into root's home."""
    programs, policies, here = (tmp_path / name for name in ("bin", "etc", "here"))
    for folder in (programs, policies, here):
        folder.mkdir()
    for name, text in STAND_INS.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    for name in ("copy.tar.gz", "other.yaml"):
        (here / name).touch()
    (tmp_path / "elsewhere.tar.gz").touch()
    script = SCRIPT.read_text().replace("/opt/hedgerow/bin", str(programs)).replace("/etc/hedgerow", str(policies))
    found = subprocess.run(
        ["sh", "-c", script, "hedgerow", *words.format(elsewhere=tmp_path / "elsewhere.tar.gz").split()],
        cwd=here,
        env={"PATH": f"{programs}:{os.environ['PATH']}"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    assert found == str(here if is_here else policies)
