"""A release is made from a clean checkout: its files, what is in them, that they are the same each time, and their
signatures.
"""

from __future__ import annotations

import email
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from release import ReleaseError, commit_of, has_extension

from hedgerow import __version__
from hedgerow.blocklists.recognition import piece_table

ROOT = Path(__file__).parents[2]
ADDRESS = "https://code.example.org/us/hedgerow"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean checkout of its own, with the files of this one, committed or not."""
    words = ["git", "-C", str(ROOT), "ls-files", "-z", "-co", "--exclude-standard"]
    listed = subprocess.run(words, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("this is no checkout")
    folder = tmp_path_factory.mktemp("checkout")
    for name in filter(None, listed.stdout.split("\0")):
        if name.startswith(("tests/", "docs/", "bench/")) or not (ROOT / name).exists():
            continue
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
    (folder / "tests").mkdir()
    (folder / "tests" / "test_codec.py").write_text("def test_nothing() -> None: ...\n")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "All")
    return folder


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of a throwaway signing key, in a keyring of its own."""
    if shutil.which("gpg") is None:
        pytest.skip("gpg is not installed")
    home = tmp_path_factory.mktemp("g")
    home.chmod(0o700)
    os.environ["GNUPGHOME"] = str(home)
    name = "release@hedgerow.example"
    command = ["gpg", "--batch", "--passphrase", "", "--quick-generate-key", name, "ed25519", "sign", "never"]
    subprocess.run(command, capture_output=True, check=True)
    yield name
    subprocess.run(["gpgconf", "--kill", "all"], check=False)
    del os.environ["GNUPGHOME"]


@pytest.fixture(scope="module")
def release(checkout: Path, key: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("first")
    make(checkout, out, "--key", key, "--url", ADDRESS)
    return out


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True).stdout


def make(checkout: Path, out: Path, *options: str) -> str:
    command = [sys.executable, "-P", "tools/release.py", "--out", str(out), "--architectures", "", *options]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def metadata(release: Path) -> email.message.Message:
    wheel = release / f"hedgerow-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as packed:
        (name,) = [name for name in packed.namelist() if name.endswith(".dist-info/METADATA")]
        return email.message_from_bytes(packed.read(name))


def test_the_metadata_say_what_an_index_shows(release: Path) -> None:
    found = metadata(release)
    links = [value.split(", ") for value in found.get_all("Project-URL", [])]
    assert {name for name, _ in links} == {"Source", "Documentation", "Changelog", "Issues"}
    assert all(link.startswith(ADDRESS) for _, link in links)
    classifiers = found.get_all("Classifier", [])
    assert "Programming Language :: Python :: 3.12" in classifiers
    text = found.get_payload()
    assert isinstance(text, str)
    targets = re.findall(r'\]\(([^)]+)\)|src="([^"]+)"', text)
    assert len(targets) > 10
    version = found["Version"]
    for link, image in targets:
        assert (link or image).startswith(("https://", "#")), link or image
    assert f"({ADDRESS}/raw/v{version}/docs/images/flow.svg)" in text
    assert f'src="{ADDRESS}/raw/v{version}/docs/images/block-page.png"' in text
    assert f"({ADDRESS}/blob/v{version}/docs/first-day.md)" in text


def test_the_sdist_has_the_package_and_no_tests(release: Path, checkout: Path) -> None:
    (sdist,) = release.glob("*.tar.gz")
    with tarfile.open(sdist) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
    assert not [name for name in names if name.startswith(("tests", "tools", "bench"))]
    assert set(git(checkout, "ls-files", "hedgerow").split()) <= names
    assert {"hedgerow/commit.txt", "LICENSE", "CHANGELOG.md", "requirements.lock"} <= names


def test_one_wheel_fits_every_machine_and_one_has_the_extension(release: Path, tmp_path: Path) -> None:
    names = {path.name.removeprefix(f"hedgerow-{__version__}-"): path for path in release.glob("*.whl")}
    assert not has_extension(names.pop("py3-none-any.whl"))
    if piece_table.add_up is None:
        pytest.skip("there was no compiler to build the extension")
    assert list(names) == [f"cp312-abi3-manylinux2014_{platform.machine()}.whl"]
    (wheel,) = names.values()
    assert has_extension(wheel)
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(tmp_path / "site")
    ask = (
        "from hedgerow.blocklists.recognition.piece_table import add_up; print(add_up(bytes(8), 'text', 4),"
        " add_up.__self__.__file__)"
    )
    found = subprocess.run(
        [sys.executable, "-P", "-c", ask],
        env={"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split() == ["0", str(tmp_path / "site/hedgerow/blocklists/recognition/_pieces.abi3.so")]


def test_a_wheel_that_needs_newer_libraries_is_refused(tmp_path: Path) -> None:
    for needed in (b"libstdc++.so.6", b"GLIBC_2.38"):
        with zipfile.ZipFile(tmp_path / "wheel.whl", "w") as packed:
            packed.writestr("_pieces.abi3.so", b"\0libc.so.6\0GLIBC_2.2.5\0" + needed + b"\0")
        with pytest.raises(ReleaseError, match=f"needs {re.escape(needed.decode())}, which"):
            has_extension(tmp_path / "wheel.whl")


def test_the_same_commit_gives_the_same_files(release: Path, checkout: Path, tmp_path: Path) -> None:
    make(checkout, tmp_path, "--url", ADDRESS)
    assert (tmp_path / "SHA256SUMS").read_text() == (release / "SHA256SUMS").read_text()


def test_the_checksums_are_right_and_signed(release: Path, key: str) -> None:
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=release, capture_output=True, check=True)
    files = {path.name for path in release.iterdir()} - {"SHA256SUMS", "SHA256SUMS.asc"}
    assert {line.split()[1] for line in (release / "SHA256SUMS").read_text().splitlines()} == files
    verify = ["gpg", "--verify", "SHA256SUMS.asc", "-"]
    sums = (release / "SHA256SUMS").read_bytes()
    assert subprocess.run(verify, cwd=release, input=sums, capture_output=True, check=False).returncode == 0
    assert subprocess.run(verify, cwd=release, input=sums + b"x", capture_output=True, check=False).returncode != 0


def test_the_constraints_are_the_tested_versions(release: Path) -> None:
    (constraints,) = release.glob("*-constraints.txt")
    lines = constraints.read_text().splitlines()
    locked = (ROOT / "requirements.lock").read_text()
    assert len(lines) > 60
    assert all(f"{line} \\\n" in locked for line in lines)
    names = {line.partition("==")[0] for line in lines}
    assert {"mitmproxy", "h11", "sqlalchemy", "starlette"} <= names
    assert not names & {"pytest", "mypy", "playwright", "adblock"}


def test_changes_that_are_not_committed_stop_a_release(checkout: Path) -> None:
    stray = checkout / "stray.txt"
    stray.write_text("x")
    try:
        with pytest.raises(ReleaseError, match=r"not committed:\n\?\? stray.txt"):
            commit_of(checkout)
    finally:
        stray.unlink()


def small_package(folder: Path, version: str, architecture: str) -> None:
    """Make a package of our name, whose only file is its version."""
    root = folder / "root"
    shutil.rmtree(root, ignore_errors=True)
    (root / "DEBIAN").mkdir(parents=True)
    (root / "version").write_text(version)
    control = (
        f"Package: hedgerow\nVersion: {version}\nArchitecture: {architecture}\nMaintainer: t"
        " <t@example.org>\nDescription: t\n"
    )
    (root / "DEBIAN" / "control").write_text(control)
    target = folder / "packages" / f"hedgerow_{version}_{architecture}.deb"
    target.parent.mkdir(exist_ok=True)
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(root), str(target)], capture_output=True, check=True
    )


class Apt:
    """The real apt, with a system and sources of its own."""

    def __init__(self, folder: Path, repository: Path) -> None:
        for name in ("state/lists/partial", "cache/archives/partial", "sources", "keys"):
            (folder / name).mkdir(parents=True)
        (folder / "state" / "status").touch()
        shutil.copy(repository / "hedgerow-archive-keyring.gpg", folder / "keys")
        source = (repository / "hedgerow.sources").read_text().replace("/usr/share/keyrings", str(folder / "keys"))
        (folder / "sources" / "hedgerow.sources").write_text(source)
        self._config = folder / "apt.conf"
        self._config.write_text(
            f'Dir::State "{folder}/state";\nDir::State::status "{folder}/state/status";\nDir::Cache "{folder}/cache";\n'
            f'Dir::Etc::SourceList "/dev/null";\nDir::Etc::SourceParts "{folder}/sources";\n'
            'APT::Architecture "amd64";\nAPT::Architectures { "amd64"; "arm64"; };\nAPT::Sandbox::User "root";\n'
        )

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"APT_CONFIG": str(self._config), "LC_ALL": "C"}
        return subprocess.run(["apt-get", *words], env=environment, capture_output=True, text=True, check=False)


def test_apt_takes_the_newest_package_of_a_signed_repository_only(key: str, tmp_path: Path) -> None:
    if shutil.which("apt-ftparchive") is None or shutil.which("apt-get") is None:
        pytest.skip("apt and apt-ftparchive (apt-utils) are not installed")
    repository = tmp_path / "repository"
    for version, architecture in (("0.1.0", "amd64"), ("0.2.0", "amd64"), ("0.2.0", "arm64")):
        small_package(tmp_path, version, architecture)
        add = [
            str(ROOT / "packaging/debian/repo.sh"),
            str(tmp_path / "packages"),
            str(repository),
            key,
            f"file:{repository}",
        ]
        subprocess.run(add, capture_output=True, check=True)
        for old in (tmp_path / "packages").iterdir():
            old.unlink()  # the repository keeps what is in it
    apt = Apt(tmp_path / "system", repository)
    done = apt.run("update", "--error-on=any")
    assert done.returncode == 0, done.stderr
    assert "Inst hedgerow (0.2.0" in apt.run("install", "--simulate", "hedgerow").stdout
    assert "Inst hedgerow (0.1.0" in apt.run("install", "--simulate", "hedgerow=0.1.0").stdout
    assert "Inst hedgerow:arm64 (0.2.0" in apt.run("install", "--simulate", "hedgerow:arm64").stdout

    release = repository / "dists/stable/InRelease"
    release.write_text(release.read_text().replace("Label: Hedgerow", "Label: Hedgehog"))
    (repository / "dists/stable/Release").unlink()
    assert apt.run("update", "--error-on=any").returncode != 0
