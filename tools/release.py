"""Make everything that a release consists of from the last commit. Nothing is uploaded.

The files: a wheel for every machine, one with the extension in C, and the sdist, checked by `twine check --strict`; the
versions that were tested, as constraints for pip and uv; a Debian package per architecture, checked by lintian; a
CycloneDX SBOM of what the package contains; SHA256SUMS, signed if a key is given. The same commit gives the same files.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PLACEHOLDER = "https://hedgerow.example/hedgerow"
_SBOM = "import os, runpy; os.environ.pop('PYTHONPATH', None); runpy.run_module('cyclonedx_py', run_name='__main__')"
"""It asks the package's Python where its modules are, which must not find the tools of the release."""
_BUILD = "import sys; from setuptools import build_meta; getattr(build_meta, 'build_' + sys.argv[1])(sys.argv[2])"


class ReleaseError(Exception):
    """The release cannot be made. The message is one plain sentence."""


@dataclass(frozen=True, slots=True)
class Commit:
    """What is released: the commit's hash, its time in seconds, and the project's version in it."""

    hash: str
    time: int
    version: str


def run(*words: str | Path, cwd: Path = ROOT, **variables: str) -> str:
    """Run a program and return its output. Raises `ReleaseError` with its last lines."""
    done = subprocess.run(
        [str(word) for word in words], cwd=cwd, env=os.environ | variables, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-20:])
        raise ReleaseError(f"{' '.join(map(str, words[:4]))} failed:\n{last}")
    return done.stdout


def commit_of(root: Path) -> Commit:
    """Return the last commit. Raises `ReleaseError` if the checkout differs from it."""
    if changes := run("git", "status", "--porcelain", cwd=root):
        raise ReleaseError(f"The checkout has changes that are not committed:\n{changes.rstrip()}")
    version = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    return Commit(
        run("git", "rev-parse", "HEAD", cwd=root).strip(),
        int(run("git", "log", "-1", "--format=%ct", cwd=root)),
        version,
    )


def export_source(root: Path, commit: Commit, target: Path, url: str) -> None:
    """Write the commit's files into `target`, with the project's address in its metadata and the commit's hash in the
    package.
    """
    archive = subprocess.run(["git", "archive", commit.hash], cwd=root, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as packed:
        packed.extractall(target, filter="data")
    metadata = target / "pyproject.toml"
    metadata.write_text(metadata.read_text(encoding="utf-8").replace(PLACEHOLDER, url.rstrip("/")), encoding="utf-8")
    (target / "hedgerow" / "commit.txt").write_text(f"{commit.hash}\n", "ascii")


def build_distributions(source: Path, commit: Commit, out: Path) -> list[Path]:
    """Build the sdist, and from what is in it a wheel for every machine, and one with the extension for this kind of
    machine.
    """
    variables = {"SOURCE_DATE_EPOCH": str(commit.time), "HEDGEROW_COMMIT": commit.hash}
    run(sys.executable, "-P", "-c", _BUILD, "sdist", out, cwd=source, **variables)
    sdist = out / f"hedgerow-{commit.version}.tar.gz"
    pack_reproducibly(sdist, commit.time)
    for choice in ({"HEDGEROW_PURE": "1"}, {"HEDGEROW_PLATFORM": f"manylinux2014_{platform.machine()}"}):
        with tempfile.TemporaryDirectory() as folder, tarfile.open(sdist) as packed:
            packed.extractall(folder, filter="data")
            run(
                sys.executable,
                "-P",
                "-c",
                _BUILD,
                "wheel",
                out,
                cwd=Path(folder, f"hedgerow-{commit.version}"),
                **variables,
                **choice,
            )
    for wheel in out.glob("*-abi3-*.whl"):
        if not has_extension(wheel):
            print("There is no C compiler, or none of Python's headers: only the wheel without the extension is made")
            wheel.unlink()
    return [*sorted(out.glob("*.whl")), sdist]


def has_extension(wheel: Path) -> bool:
    """Return whether a wheel has the extension.

    Raises `ReleaseError` if that does not run on all that manylinux2014 stands for.
    """
    with zipfile.ZipFile(wheel) as packed:
        octets = b"".join(packed.read(name) for name in packed.namelist() if name.endswith(".so"))
    needed = {each.decode() for each in re.findall(rb"\0(lib[\w+-]+\.so[\d.]*|GLIBC_[\d.]+)(?=\0)", octets)} - {
        "libc.so.6"
    }
    if newer := sorted(each for each in needed if not (found := _GLIBC.fullmatch(each)) or int(found[1]) > 17):
        raise ReleaseError(f"{wheel.name} needs {', '.join(newer)}, which manylinux2014 (PEP 599) does not have")
    return bool(octets)


_GLIBC = re.compile(r"GLIBC_2\.(\d+)(?:\.\d+)?")


def pack_reproducibly(path: Path, time: int) -> None:
    """Write an archive anew with times, owners and an order that do not depend on the machine (setuptools writes the
    present time).
    """
    with tarfile.open(path) as old:
        members = [(each, stream.read() if (stream := old.extractfile(each)) else b"") for each in old.getmembers()]
    with (
        path.open("wb") as file,
        gzip.GzipFile("", "wb", fileobj=file, mtime=time) as packed,
        tarfile.open(fileobj=packed, mode="w") as new,
    ):
        for member, content in sorted(members, key=lambda each: each[0].name):
            member.mtime, member.uid, member.gid, member.uname, member.gname = time, 0, 0, "", ""
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            member.pax_headers = {}
            new.addfile(member, io.BytesIO(content))


def build_packages(out: Path, architectures: Sequence[str], version: str, *, libraries: bool = True) -> list[Path]:
    """Build the Debian packages. Without libraries they cannot be used."""
    packages = [out / f"hedgerow_{version}_{each}.deb" for each in architectures]
    for architecture in architectures:
        run(ROOT / "packaging/debian/build.sh", out, ARCHITECTURE=architecture, LIBRARIES="yes" if libraries else "no")
    return packages


def check_packages(packages: Sequence[Path]) -> None:
    """Check Debian packages with lintian, if it is installed."""
    if shutil.which("lintian") is None:
        print("lintian is not installed: the packages are not checked")
    elif found := run("lintian", "--allow-root", "--fail-on", "error,warning", *packages):
        print(found, end="")


def write_sbom(package: Path, target: Path) -> None:
    """Write the SBOM of the virtual environment that a Debian package contains.

    Raises `ReleaseError` if it does not name each library.
    """
    with tempfile.TemporaryDirectory() as folder:
        run("dpkg-deb", "-x", package, folder)
        form = (
            "--spec-version",
            "1.6",
            "--output-format",
            "JSON",
            "--output-reproducible",
            "--pyproject",
            ROOT / "pyproject.toml",
        )
        environment = Path(folder, "opt/hedgerow")
        run(sys.executable, "-P", "-c", _SBOM, "environment", *form, "--output-file", target, environment)
        named = len(json.loads(target.read_text(encoding="utf-8"))["components"])
        contained = sum(1 for path in environment.rglob("*.dist-info") if not path.name.startswith("hedgerow-"))
        if named != contained:
            raise ReleaseError(f"The SBOM names {named} libraries, and the package has {contained}")


def write_checksums(out: Path, key: str) -> None:
    """Write SHA256SUMS of all files, and its signature if there is a key."""
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(out.glob("hedgerow*"))
    ]
    sums = out / "SHA256SUMS"
    sums.write_text("".join(lines), "ascii")
    if key:
        run("gpg", "--batch", "--yes", "--local-user", key, "--armor", "--detach-sign", "--output", f"{sums}.asc", sums)
    else:
        print("SHA256SUMS is not signed: name a key with KEY=")


def make_release(out: Path, url: str, key: str, architectures: Sequence[str]) -> None:
    """Make the files. Raises `ReleaseError`."""
    commit = commit_of(ROOT)
    if url == PLACEHOLDER:
        print(
            f"The metadata name {PLACEHOLDER}, which is nobody's address: name the project's with URL= before you publish"  # noqa: E501
        )
    out.mkdir(parents=True, exist_ok=True)
    for old in (*out.glob("hedgerow*"), *out.glob("SHA256SUMS*")):
        old.unlink()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "source")
        export_source(ROOT, commit, source, url)
        distributions = build_distributions(source, commit, out)
        constraints = run(sys.executable, "-P", source / "packaging/runtime_lock.py", "--constraints", source)
    (out / f"hedgerow-{commit.version}-constraints.txt").write_text(constraints, "ascii")
    if importable("twine"):
        print(run(sys.executable, "-P", "-m", "twine", "check", "--strict", *distributions, NO_COLOR="1"), end="")
    else:
        print("twine is not installed: wheel and sdist are not checked")
    packages = build_packages(out, architectures, commit.version) if architectures else []
    if packages:
        check_packages(packages)
        write_sbom(packages[0], out / f"hedgerow-{commit.version}.cdx.json")
    write_checksums(out, key)


def importable(module: str) -> bool:
    return (
        subprocess.run([sys.executable, "-P", "-c", f"import {module}"], capture_output=True, check=False).returncode
        == 0
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("dist"))
    parser.add_argument("--key", default="", help="the gpg key that signs the checksums")
    parser.add_argument("--url", default=PLACEHOLDER, help="the address at which the project is published")
    parser.add_argument("--architectures", default="amd64,arm64", help="of the Debian packages; empty for none")
    chosen = parser.parse_args()
    try:
        make_release(chosen.out.resolve(), chosen.url, chosen.key, re.findall(r"\w+", chosen.architectures))
    except ReleaseError as error:
        print(error, file=sys.stderr)
        return 1
    for path in sorted(chosen.out.iterdir()):
        print(f"{path.stat().st_size:>11,}  {path.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
