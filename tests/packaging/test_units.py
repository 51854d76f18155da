"""The systemd units are as hard as the documents say, and the scripts of the package are scripts."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from hedgerow import port_binder
from hedgerow.app.cli import COMMAND_NAMES

ROOT = Path(__file__).parents[2]
UNITS = sorted((ROOT / "packaging" / "systemd").glob("*.service"))
FILES = [path for path in sorted((ROOT / "packaging").rglob("*")) if path.is_file()]
SCRIPTS = [path for path in FILES if path.read_bytes().startswith(b"#!/bin/sh")]


LIMIT, LIMITS = 1.5, {"hedgerow-wifi": 1.7}
"""What the documents promise of the units' exposure. DHCP and WPA's handshake need sockets that others do without."""


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_exposure_is_low(unit: Path) -> None:
    """0 is safe and 10 is open."""
    limit = LIMITS.get(unit.stem, LIMIT)
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={limit * 10:.0f}", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    if "Failed to initialize unit search paths" in done.stderr:
        pytest.skip("systemd-analyze may not look for units here without root rights")
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert found, done.stderr
    assert done.returncode == 0, found[0]
    assert float(found[1]) <= limit


CONFINING = {"capget", "prctl", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"}


def calls_of(names: list[str]) -> set[str]:
    """Return the system calls that these names and sets (`@name`) stand for."""
    calls = {name for name in names if not name.startswith("@")}
    for name in names:
        if name.startswith("@"):
            listing = subprocess.run(
                ["systemd-analyze", "syscall-filter", "--no-pager", name], capture_output=True, text=True, check=True
            )
            calls |= calls_of(
                [line.strip() for line in listing.stdout.splitlines()[1:] if line.strip() and "#" not in line]
            )
    return calls


def test_processes_may_confine_themselves() -> None:
    """Each has no limits on files where Landlock is refused.

    The unit gives no capabilities, so there are none to drop (`capset`).
    """
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    allowed: set[str] = set()
    unit = (ROOT / "packaging" / "systemd" / "hedgerow.service").read_text(encoding="utf-8")
    for words in re.findall(r"^SystemCallFilter=(.*)$", unit, re.MULTILINE):
        calls = calls_of(words.removeprefix("~").split())
        allowed = allowed - calls if words.startswith("~") else allowed | calls
    assert allowed >= CONFINING


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_units_start_commands_that_exist(unit: Path) -> None:
    (line,) = re.findall(r"^ExecStart=(.*)$", unit.read_text(encoding="utf-8"), re.MULTILINE)
    program, *words = line.split()
    if unit.stem == "hedgerow-wifi" and "wifi" not in COMMAND_NAMES:
        pytest.skip("this is a copy without the feature")
    if program == "/opt/hedgerow/bin/python3":
        assert words[-2:] == ["-m", port_binder.__name__]
        return
    assert program == "/opt/hedgerow/bin/hedgerow"
    names = words[:2] if words[0] in {"gateway", "wifi"} else words[:1]
    said = subprocess.run(
        [shutil.which("hedgerow", path=ROOT / ".venv/bin") or "hedgerow", *names, "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(word in said.stdout for word in words if word.startswith("--")), line


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_parse(script: Path) -> None:
    subprocess.run(["sh", "-n", str(script)], check=True)
    assert script.stat().st_mode & 0o111, "it is not executable"


@pytest.mark.root
@pytest.mark.parametrize(("step", "stops"), [("upgrade 9", False), ("remove", True)])
def test_an_upgrade_stops_nothing_before_it_is_unpacked(tmp_path: Path, step: str, stops: bool) -> None:
    calls = tmp_path / "calls"
    for program in ("find", "nft", "rm", "deb-systemd-invoke"):
        (tmp_path / program).write_text(f'#!/bin/sh\necho {program} "$@" >>{calls}\n', encoding="utf-8")
        (tmp_path / program).chmod(0o755)
    script = ROOT / "packaging" / "debian" / "prerm"
    booted = (
        f"mount -t tmpfs none /run && mkdir -p /run/systemd/system && PATH={tmp_path}:$PATH exec sh {script} {step}"
    )
    subprocess.run(["unshare", "--mount", "sh", "-euc", booted], check=True)
    assert ("deb-systemd-invoke stop" in calls.read_text(encoding="utf-8")) == stops


@pytest.mark.root
@pytest.mark.parametrize(("now", "after", "steps_back"), [("0.2.0", "0.1.9-1", True), ("0.2.0", "0.2.1", False)])
def test_a_downgrade_has_the_journal_changed_while_nobody_uses_it(
    tmp_path: Path, now: str, after: str, steps_back: bool
) -> None:
    calls = tmp_path / "calls"
    calls.touch()
    for program, answer in (("find", ""), ("deb-systemd-invoke", ""), ("hedgerow", ""), ("dpkg-query", f"echo {now}")):
        (tmp_path / program).write_text(f'#!/bin/sh\necho {program} "$@" >>{calls}\n{answer}\n', encoding="utf-8")
    (tmp_path / "runuser").write_text('#!/bin/sh\nshift 3\nexec "$@"\n', encoding="utf-8")
    for program in ("find", "deb-systemd-invoke", "hedgerow", "dpkg-query", "runuser"):
        (tmp_path / program).chmod(0o755)
    script = ROOT / "packaging" / "debian" / "prerm"
    backups = "/var/lib/hedgerow/backups"
    booted = (
        "mount -t tmpfs none /run && mkdir -p /run/systemd/system && mount -t tmpfs none /var/lib &&"
        f" mkdir -p {backups} && touch {backups}/../journal.sqlite {backups}/journal.sqlite.before-upgrade-from-0.1.9-1"
        f" && PATH={tmp_path}:$PATH sh {script} upgrade {after} && ls {backups} >{tmp_path}/copies"
    )
    subprocess.run(["unshare", "--mount", "sh", "-euc", booted], check=True)
    done = [line for line in calls.read_text(encoding="utf-8").splitlines() if not line.startswith(("find", "dpkg"))]
    copies = (tmp_path / "copies").read_text(encoding="utf-8").split()
    if steps_back:
        assert done == [
            "deb-systemd-invoke stop hedgerow.service",
            f"hedgerow data downgrade --to {after} --state /var/lib/hedgerow",
        ]
        assert copies == ["journal.sqlite.of-0.1.9-1"]  # which the older version's postinst does not remove
    else:
        assert (done, copies) == ([], ["journal.sqlite.before-upgrade-from-0.1.9-1"])


@pytest.mark.root
@pytest.mark.parametrize("step", ["remove", "purge"])
def test_a_purge_deletes_all_and_a_removal_says_what_it_keeps(tmp_path: Path, step: str) -> None:
    for program in ("deb-systemd-helper", "systemctl"):
        (tmp_path / program).write_text("#!/bin/sh\n", encoding="utf-8")
        (tmp_path / program).chmod(0o755)
    folders = "/etc/hedgerow /var/lib/hedgerow /var/log/hedgerow"
    script = ROOT / "packaging" / "debian" / "postrm"
    installed = (
        f"for each in /etc /var/lib /var/log /run; do mount -t tmpfs none $each; done; mkdir -p {folders} $ca && touch"
        f" $ca/hedgerow-ca.pem && PATH={tmp_path}:$PATH sh {script} {step} && ls -d {folders} 2>&1 || true"
    )
    said = subprocess.run(
        ["unshare", "--mount", "sh", "-euc", f"ca=/var/lib/hedgerow/ca; {installed}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    if step == "remove":
        assert all(folder in said[0] for folder in folders.split())
        assert said[1:] == folders.split()
    else:
        assert "still do: remove it there" in said[0]
        assert all(line.endswith("No such file or directory") for line in said[1:])
