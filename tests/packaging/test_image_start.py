"""The first stage of a start: memory over the system, kept folders over theirs, and a power cut at any of its steps."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "packaging/image/files/etc/initramfs-tools/scripts/local-bottom/hedgerow-box"
KEPT = ("var/lib/hedgerow", "etc/hedgerow", "var/log", "var/lib/systemd")
STEPS = ("mkdir", "mount", "cp", "sync", "mv", "tr", "cat", "rm")

pytestmark = pytest.mark.root

LOOK = """
cat /mnt/etc/machine-id /mnt/etc/hedgerow/hedgerow.yaml; ls /run/hedgerow-box
echo written >/mnt/etc/other; echo more >>/mnt/etc/hedgerow/hedgerow.yaml
"""
CUT = """#!/bin/sh
echo >>"{folder}/count"
[ $(wc -l <"{folder}/count") != {step} ] || kill -KILL $PPID
exec {program} "$@"
"""


class Disk:
    """A system in a folder, and a state partition in a file, as the initrd finds them."""

    def __init__(self, folder: Path) -> None:
        self.system, self.state, self.stubs = folder / "system", folder / "state.img", folder / "stubs"
        for name in (*KEPT, "state", "run"):
            (self.system / name).mkdir(parents=True)
        (self.system / "etc/hedgerow/hedgerow.yaml").write_text("network:\n")
        (self.system / "etc/machine-id").touch()
        self.stubs.mkdir()
        subprocess.run(["truncate", "-s", "16M", self.state], check=True)
        subprocess.run(["mke2fs", "-q", "-t", "ext4", self.state], check=True)
        text = SCRIPT.read_text().replace("/dev/disk/by-partuuid/6d1f0c52-3c83-4b0e-9f57-9d0f4e5c0004", str(self.state))
        self.script = folder / "script"
        self.script.write_text(text.replace(". /scripts/functions", ":").replace("until [ -e", "until true || [ -e"))

    def start(self, *, cut_at: int = 0) -> str:
        """Run the first stage in a mount namespace, and return what is found then; cut the power at its n-th step."""
        for step in STEPS:
            text = CUT.format(folder=self.stubs, step=cut_at, program=shutil.which(step))
            (self.stubs / step).write_text(text)
            (self.stubs / step).chmod(0o755)
        (self.stubs / "count").write_text("")
        inside = (
            f"mount -t tmpfs tmpfs /run && mount --bind {self.system} /mnt"
            f" && rootmnt=/mnt PATH={self.stubs}:$PATH sh {self.script} && {{ {LOOK} }}"
        )
        done = subprocess.run(["unshare", "--mount", "sh", "-c", inside], capture_output=True, text=True, check=False)
        assert cut_at or done.returncode == 0, done.stderr
        return done.stdout

    @property
    def steps(self) -> int:
        return len((self.stubs / "count").read_text())


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


def test_what_is_kept_outlives_a_start_and_the_rest_does_not(disk: Disk) -> None:
    first = disk.start().splitlines()
    assert len(first[0]) == 32
    assert first[1] == "network:"
    second = disk.start().splitlines()
    assert second[0] == first[0], "the machine's id"
    assert second[1:3] == ["network:", "more"]
    assert not (disk.system / "etc/other").exists()
    assert (disk.system / "etc/hedgerow/hedgerow.yaml").read_text() == "network:\n"


def test_a_power_cut_at_any_step_of_the_first_start_loses_nothing(disk: Disk, tmp_path: Path) -> None:
    disk.start()
    last = disk.steps
    assert last > 20
    for step in range(1, last, 3):
        (tmp_path / str(step)).mkdir()
        other = Disk(tmp_path / str(step))
        other.start(cut_at=step)
        found = other.start().splitlines()
        assert len(found[0]) == 32, step
        assert found[1] == "network:", step


def test_a_state_partition_that_cannot_be_read_is_told_and_the_machine_starts(disk: Disk) -> None:
    disk.state.write_bytes(bytes(16 * 1024 * 1024))
    found = disk.start().splitlines()
    assert "no-state" in found
    assert found[0] == "network:", "no machine id is kept: systemd makes one for this start"
