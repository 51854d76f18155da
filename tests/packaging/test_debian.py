"""The Debian package of the last commit is the same each time, and lintian finds nothing.

The libraries, which take minutes, stay out.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from release import build_packages, check_packages

from hedgerow import __version__

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("dpkg-deb") is None or not (ROOT / ".git").exists():
        pytest.skip("this is no checkout on Debian")
    (found,) = build_packages(tmp_path_factory.mktemp("package"), ("amd64",), __version__, libraries=False)
    return found


def test_lintian_finds_no_error_and_no_warning(package: Path) -> None:
    if shutil.which("lintian") is None:
        pytest.skip("lintian is not installed")
    check_packages([package])


def test_the_same_commit_gives_the_same_package(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also beside other modules, as `make release` builds it: what is compiled depends on those that are loaded."""
    (tmp_path / "tools").mkdir()
    found_by_compileall = 'import sys\nif "compileall" in sys.orig_argv:\n    sys.exit("another module is loaded")\n'
    (tmp_path / "tools/sitecustomize.py").write_text(found_by_compileall)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "tools"))
    (again,) = build_packages(tmp_path, ("amd64",), __version__, libraries=False)
    assert again.read_bytes() == package.read_bytes()


def test_it_contains_the_program_and_no_path_of_the_build(package: Path, tmp_path: Path) -> None:
    subprocess.run(["dpkg-deb", "-x", package, tmp_path], check=True)
    home = tmp_path / "opt/hedgerow"
    assert (home / "bin/hedgerow").read_text().startswith("#!/opt/hedgerow/bin/python -P")
    assert list(home.glob("lib/python3*/site-packages/hedgerow/__pycache__/version.*.pyc"))
    # `mktemp -d`, where it is built, makes names that begin so.
    assert not [path for path in home.rglob("*") if path.is_file() and b"/tmp/tmp." in path.read_bytes()]
