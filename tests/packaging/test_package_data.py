"""The wheel holds every file of the package: pages fail where a picture, a template or a list was forgotten."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILD = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"


def test_every_file_is_in_the_wheel(tmp_path: Path) -> None:
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "hedgerow"], capture_output=True, text=True, check=False
    )
    if listed.returncode != 0:
        pytest.skip("this is no checkout")
    files = listed.stdout.rstrip("\0").split("\0")
    source = tmp_path / "source"
    for name in (*files, "pyproject.toml", "setup.py", "README.md", "LICENSE"):
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    subprocess.run([sys.executable, "-P", "-c", BUILD, str(tmp_path)], cwd=source, capture_output=True, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        missing = set(files) - set(packed.namelist())
    assert not missing, "name their kind under tool.setuptools.package-data in pyproject.toml"
