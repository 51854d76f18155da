"""The disk's parts that can be checked without building it: scripts, units, identities, and what must not be in it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

IMAGE = Path(__file__).parents[2] / "packaging" / "image"
FILES = IMAGE / "files"
TREE = [path for path in sorted(FILES.rglob("*")) if path.is_file()]
SCRIPTS = [path for path in TREE if path.read_bytes().startswith(b"#!/bin/sh")]
LAYOUT = dict(re.findall(r"^(\w+)=(\S+)$", (IMAGE / "layout").read_text(), re.MULTILINE))
UNITS = sorted((FILES / "etc/systemd/system").glob("*.service"))


def sound_tree(place: Path) -> Path:
    """Return a tree like that of an image, as far as the check of its contents looks."""
    shutil.copytree(FILES, place, dirs_exist_ok=True)
    wants = place / "etc/systemd/system/multi-user.target.wants"
    for folder in (wants, place / "boot", place / "root", place / "var/lib/hedgerow"):
        folder.mkdir(parents=True, exist_ok=True)
    for unit in ("hedgerow-box-grow", "hedgerow", "systemd-networkd"):
        (wants / f"{unit}.service").touch()
    (place / "boot/initrd.img-6").touch()
    (place / "etc/shadow").write_text("root:!*:20000:0:99999:7:::\nhedgerow:!:20000::::::\n")
    (place / "etc/machine-id").touch()
    return place


def contents(tree: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([IMAGE / "contents.sh", tree], capture_output=True, text=True, check=False)


def test_an_image_with_nothing_secret_passes(tmp_path: Path) -> None:
    done = contents(sound_tree(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")


PRIVATE_KEY = "-----BEGIN {}PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    ("file", "text", "problem"),
    [
        ("etc/shadow", "root:$y$j9T$x:20000:0:99999:7:::\n", "a user with a password"),
        ("etc/shadow", "root::20000:0:99999:7:::\n", "a user with a password"),
        ("etc/machine-id", "0123456789abcdef0123456789abcdef\n", "a machine's id"),
        ("etc/ssh/ssh_host_ed25519_key", "x", "/etc/ssh/ssh_host_ed25519_key"),
        ("root/.ssh/authorized_keys", "x", "/root/.ssh/authorized_keys"),
        ("var/lib/hedgerow/admin-token", "x", "/var/lib/hedgerow/admin-token"),
        ("var/lib/systemd/random-seed", "x", "/var/lib/systemd/random-seed"),
        ("etc/ssl/own.pem", PRIVATE_KEY.format("EC "), "a private key"),
        ("etc/systemd/system/multi-user.target.wants/hostapd.service", "", "hostapd starts by itself"),
    ],
)
def test_a_secret_or_an_identity_stops_the_build(tmp_path: Path, file: str, text: str, problem: str) -> None:
    place = sound_tree(tmp_path) / file
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
    done = contents(tmp_path)
    assert done.returncode == 1
    assert problem in done.stderr


def test_partitions_are_named_alike_everywhere() -> None:
    names = {name: text for name, text in LAYOUT.items() if name.endswith("_UUID")}
    assert len(set(names.values())) == 4
    for path in TREE:
        for found in re.findall(r"by-partuuid/([0-9a-f-]{36})", path.read_text()):
            assert found in {names["STATE_UUID"], names["BOOT_UUID"]}, path


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_of_the_system_are_executable(script: Path) -> None:
    assert script.stat().st_mode & 0o111
    assert "/etc/systemd" in str(script) or subprocess.run(["sh", "-n", script], check=True)


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_units_start_scripts_of_the_system(unit: Path) -> None:
    (program,) = re.findall(r"^ExecStart=(\S+)$", unit.read_text(), re.MULTILINE)
    assert (FILES / program.removeprefix("/")).stat().st_mode & 0o111


def test_systemd_finds_no_mistake_in_the_units(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    shutil.copytree(FILES / "etc/systemd/system", tmp_path, dirs_exist_ok=True)
    shutil.copytree(IMAGE.parent / "systemd", tmp_path, dirs_exist_ok=True)
    units = []
    for unit in tmp_path.glob("*.service"):
        # The programs are in the image, not here.
        unit.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text(), flags=re.MULTILINE))
        units.append(str(unit).replace("@.service", "@tty1.service"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *units],
        capture_output=True,
        text=True,
        check=False,
    )
    if "Failed to initialize" in done.stderr:
        pytest.skip("systemd-analyze may not look for units here")
    ours = [line for line in done.stderr.splitlines() if str(tmp_path) in line or line.startswith("hedgerow")]
    assert ours == []


def test_no_script_of_the_first_stage_needs_what_busybox_lacks() -> None:
    """The initrd has busybox, e2fsck and what initramfs-tools brings."""
    script = (FILES / "etc/initramfs-tools/scripts/local-bottom/hedgerow-box").read_text()
    called = set(re.findall(r"^\s*([a-z][a-z0-9]+)\s", script, re.MULTILINE))
    words = {"case", "until", "do", "done", "if", "then", "fi", "for", "esac", "exit", "tries", "box"}
    assert called - words <= {"mount", "mkdir", "sleep", "rm", "cp", "sync", "mv", "tr", "cat", "echo"}
    assert "busybox" in (IMAGE / "packages").read_text().split()
