"""The commit in `hedgerow --version`: of the checkout, of a worktree, of a wheel."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from hedgerow import __version__, version

ROOT = Path(__file__).parent.parent


def _git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    return subprocess.run(
        ("git", "-C", str(folder), *identity, *arguments), capture_output=True, text=True, check=True
    ).stdout.strip()


def test_commit_is_that_of_the_checkout_also_with_packed_references_and_in_a_worktree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, worktree = tmp_path / "home", tmp_path / "worktree"
    _git(tmp_path, "init", "-q", "-b", "main", str(home))
    _git(home, "commit", "-q", "--allow-empty", "-m", "First")
    _git(home, "worktree", "add", "-q", "-b", "other", str(worktree))
    _git(worktree, "commit", "-q", "--allow-empty", "-m", "Second")

    def shown(checkout: Path) -> str:
        monkeypatch.setattr(version, "_PACKAGE", checkout / "hedgerow")
        version.commit.cache_clear()
        return version.commit()

    try:
        for pack in (False, True):
            if pack:
                _git(home, "pack-refs", "--all")
            for checkout in (home, worktree):
                assert shown(checkout) == _git(checkout, "rev-parse", "HEAD")[:12]
        _git(home, "checkout", "-q", "--detach")
        assert shown(home) == _git(home, "rev-parse", "HEAD")[:12]
        assert shown(tmp_path) == "", "neither a checkout nor a build"
    finally:
        version.commit.cache_clear()


def test_wheel_carries_the_commit_it_was_built_from(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "hedgerow").mkdir(parents=True)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "hedgerow/__init__.py", "hedgerow/version.py"):
        (source / name).write_bytes((ROOT / name).read_bytes())
    command = (
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(tmp_path),
        str(source),
    )
    subprocess.run(command, check=True, env=os.environ | {"HEDGEROW_COMMIT": "1a2b3c4d5e6f7a8b"})
    (wheel,) = tmp_path.glob("*.whl")
    unpacked = tmp_path / "unpacked"
    zipfile.ZipFile(wheel).extractall(unpacked)
    assert _printed(unpacked) == f"{__version__} (1a2b3c4d5e6f)"


def _printed(folder: Path) -> str:
    shown = "from hedgerow.version import full_version; print(full_version())"
    return subprocess.run(
        (sys.executable, "-S", "-c", f"import sys; sys.path.insert(0, {str(folder)!r}); {shown}"),
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
    ).stdout.strip()
