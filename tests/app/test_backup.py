"""Backup and restore, also of a journal in use; a file that is not a backup changes nothing."""

import io
import os
import pwd
import random
import shutil
import sqlite3
import stat
import subprocess
import sys
import tarfile
from contextlib import closing

import pytest
from small_internet.running import hedgerow_command

from hedgerow.app.backup import BackupError, ExistingFilesError, _reason, back_up, restore
from hedgerow.files import FolderLock
from hedgerow.journal.access_store import GrantStore
from hedgerow.journal.database import open_journal
from hedgerow.journal.reader import JournalReader
from hedgerow.journal.sqlite import SqliteDialect
from hedgerow.policies.model import Grant
from hedgerow.policies.reading.load import load_policy


@pytest.fixture
def state(tmp_path):
    folder = tmp_path / "state"
    engine = open_journal(folder / "journal.sqlite")
    GrantStore(engine).give(Grant("g1", "chess.example", "ana", 1.0, None, person="mia"))
    (folder / "ca").mkdir(mode=0o700)
    (folder / "ca" / "key.pem").write_text("the key")
    (folder / "admin-token").write_text("the token")  # which is another at each start
    (tmp_path / "hedgerow.yaml").write_text("people: {mia: {age: 9}}\n")
    yield folder
    engine.dispose()


def test_a_backup_of_a_journal_in_use_is_restored_elsewhere(state, tmp_path):
    out = tmp_path / "saved.tar.gz"
    names = back_up(state, tmp_path / "hedgerow.yaml", out)
    assert set(names) == {"journal.sqlite", "ca/key.pem", "hedgerow.yaml"}
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    there, policy = tmp_path / "elsewhere", tmp_path / "new" / "hedgerow.yaml"
    assert set(restore(out, there, policy).names) == set(names)
    engine = open_journal(there / "journal.sqlite")
    assert [grant.subject for grant in JournalReader(engine).grants(2.0)] == ["chess.example"]
    engine.dispose()
    assert (there / "ca" / "key.pem").read_text() == "the key"
    assert stat.S_IMODE((there / "ca" / "key.pem").stat().st_mode) == 0o600
    assert policy.read_text() == "people: {mia: {age: 9}}\n"


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_machine_starts_from_a_backup_alone(state, tmp_path, elsewhere):
    """All files that the policy reads are in it. Those outside its directory are restored only if asked for."""
    home, lists = tmp_path / "home", tmp_path / "lists"
    (home / "people").mkdir(parents=True)
    lists.mkdir()
    (home / "people" / "tom.yaml").write_text("people: {tom: {age: 15}}\n")
    (home / "mine.txt").write_text("casino.example\n")
    (lists / "school.txt").write_text("chess.example\n")
    (home / "hedgerow.yaml").write_text(
        "include: people/*.yaml\nlists: [{category: gambling, path: mine.txt}, {category: social, path:"
        f" {lists / 'school.txt'}}}]\n"
    )
    done = hedgerow_command("backup", "saved.tar.gz", "--state", str(state), cwd=home)
    assert done.returncode == 0, done.stderr
    saved = tmp_path / "saved.tar.gz"
    (home / "saved.tar.gz").rename(saved)
    shutil.rmtree(home)
    shutil.rmtree(lists)
    option = ["--elsewhere"] if elsewhere else []
    words = ("--state", str(tmp_path / "new-state"), "--policy", str(home / "hedgerow.yaml"))
    done = hedgerow_command("restore", str(saved), *words, *option)
    assert done.returncode == (0 if elsewhere else 1), done.stderr
    assert ("--elsewhere" in done.stderr) is not elsewhere
    assert (home / "mine.txt").read_text() == "casino.example\n"
    assert (home / "people" / "tom.yaml").exists()
    assert (lists / "school.txt").exists() is elsewhere
    if elsewhere:
        assert list(load_policy(home / "hedgerow.yaml").people) == ["tom"]


def test_an_existing_policy_file_is_kept(state, tmp_path):
    out = tmp_path / "saved.tar.gz"
    back_up(state, tmp_path / "hedgerow.yaml", out)
    (tmp_path / "hedgerow.yaml").write_text("# newer\n")
    assert "hedgerow.yaml" not in restore(out, tmp_path / "elsewhere", tmp_path / "hedgerow.yaml").names
    assert (tmp_path / "hedgerow.yaml").read_text() == "# newer\n"


def test_nothing_is_restored_under_a_running_hedgerow(state, tmp_path):
    out = tmp_path / "saved.tar.gz"
    back_up(state, None, out)
    lock = FolderLock(state)
    assert lock.acquire() is None
    with pytest.raises(BackupError, match="stop it first"):
        restore(out, state, tmp_path / "x.yaml")
    lock.release()
    assert restore(out, state, tmp_path / "x.yaml", replace=True)


def crafted(path, entries):
    with closing(tarfile.open(path, "w:gz")) as tar:
        for name, content, kind in entries:
            member = tarfile.TarInfo(name)
            member.type, member.size, member.linkname = kind, len(content), "/etc/passwd"
            tar.addfile(member, io.BytesIO(content))


def test_a_crafted_backup_writes_nothing_outside_the_state_directory(tmp_path):
    good = small_journal(tmp_path / "made")
    (tmp_path / "made").unlink()
    names = [
        "../outside",
        "/tmp/outside-of-hedgerow",
        "ca/../../outside",
        "ca/..",
        "ca/a\nb",
        "snapshot.json",
        "run/pass.key",
    ]
    names += [
        "beside-policy/../x",
        "beside-policy//etc/x",
        "elsewhere/tmp/../x",
        "elsewhere/tmp/outside-of-hedgerow",
        "beside-policy/",
    ]
    crafted(
        tmp_path / "evil.tar.gz",
        [
            ("journal.sqlite", good, tarfile.REGTYPE),
            ("ca/link", b"", tarfile.SYMTYPE),
            ("admin-token", b"x" * 43, tarfile.REGTYPE),
            *((name, b"x", tarfile.REGTYPE) for name in names),
        ],
    )
    assert restore(tmp_path / "evil.tar.gz", tmp_path / "state", tmp_path / "p.yaml").names == ("journal.sqlite",)
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {"evil.tar.gz", "journal.sqlite", "lock"}


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x1f\x8b\x08\x00"])
def test_what_is_no_backup_is_said(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(BackupError):
        restore(tmp_path / "x", tmp_path / "state", tmp_path / "p.yaml")


def small_journal(path):
    with closing(sqlite3.connect(path)) as journal:
        journal.execute("CREATE TABLE a (b)")
    return path.read_bytes()


@pytest.mark.parametrize(
    "journal", [b"garbage", b"SQLite format 3\0" + bytes(5000), None], ids=["no-journal", "only-its-head", "torn"]
)
def test_a_damaged_backup_changes_nothing_of_what_is_there(state, tmp_path, journal):
    """Not even what the journal's log holds that is not yet in its file: after a crash that is all of the
    last minutes.
    """
    damaged = tmp_path / "x.tar.gz"
    if journal is None:
        crafted(
            damaged,
            [
                ("journal.sqlite", random.Random(1).randbytes(50_000), tarfile.REGTYPE),
                ("ca/key.pem", b"x", tarfile.REGTYPE),
            ],
        )
        whole = damaged.read_bytes()
        damaged.write_bytes(whole[:20_000] + bytes(200) + whole[20_200:])
    else:
        crafted(damaged, [("ca/key.pem", b"x", tarfile.REGTYPE), ("journal.sqlite", journal, tarfile.REGTYPE)])
    before = {path: path.read_bytes() for path in state.rglob("*") if path.is_file()}
    assert any(path.name.endswith("-wal") for path in before)
    with pytest.raises(BackupError):
        restore(damaged, state, tmp_path / "p.yaml")
    assert {path: path.read_bytes() for path in state.rglob("*") if path.is_file() and path.name != "lock"} == before


def test_a_backup_without_a_journal_is_refused(tmp_path):
    crafted(tmp_path / "x.tar.gz", [("ca/key.pem", b"x", tarfile.REGTYPE)])
    with pytest.raises(BackupError, match="not a backup"):
        restore(tmp_path / "x.tar.gz", tmp_path / "state", tmp_path / "p.yaml")
    with pytest.raises(BackupError, match="no journal"):
        back_up(tmp_path / "nowhere", None, tmp_path / "y")


def everything_in(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def grants_in(path):
    with closing(open_journal(path)) as store:
        return [grant.subject for grant in JournalReader(store).grants(2.0)]


def change_since_the_backup(state):
    with closing(open_journal(state / "journal.sqlite")) as store:
        GrantStore(store).give(Grant("g2", "films.example", "ana", 1.0, None, person="mia"))
    (state / "ca" / "key.pem").write_text("a newer key")


def test_changes_in_the_journals_log_alone_are_asked_about(state, tmp_path):
    """As a process that was killed leaves them: the journal's file is that of the backup."""
    out, policy = tmp_path / "saved.tar.gz", tmp_path / "hedgerow.yaml"
    back_up(state, policy, out)
    restore(out, state, policy, replace=True)
    (state / "journal.sqlite-wal").write_bytes(b"newer pages")
    with pytest.raises(ExistingFilesError, match=r"journal\.sqlite\."):
        restore(out, state, policy)
    assert (state / "journal.sqlite-wal").read_bytes() == b"newer pages"
    kept = restore(out, state, policy, replace=True).kept
    assert kept is not None
    assert (kept / "journal.sqlite-wal").read_bytes() == b"newer pages"


def test_what_a_restore_replaces_is_kept_with_its_date(state, tmp_path):
    out, policy = tmp_path / "saved.tar.gz", tmp_path / "hedgerow.yaml"
    (state / "ca" / "same.pem").write_text("the same")
    back_up(state, policy, out)
    change_since_the_backup(state)
    before = everything_in(state)
    with pytest.raises(ExistingFilesError, match=r"journal\.sqlite, ca/key\.pem. --replace"):
        restore(out, state, policy)
    assert everything_in(state) | {"lock": b""} == before | {"lock": b""}
    kept = restore(out, state, policy, replace=True, now=0.0).kept
    assert kept is not None
    assert kept.name.startswith("before-restore-19")
    assert (grants_in(state / "journal.sqlite"), (state / "ca" / "key.pem").read_text()) == (
        ["chess.example"],
        "the key",
    )
    assert sorted(grants_in(kept / "journal.sqlite")) == ["chess.example", "films.example"]
    assert (kept / "ca" / "key.pem").read_text() == "a newer key"
    assert not (kept / "ca" / "same.pem").exists()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o700
    (state / "ca" / "key.pem").write_text("another key")
    again = restore(out, state, policy, replace=True, now=0.0).kept
    assert again != kept
    assert (kept / "ca" / "key.pem").read_text() == "a newer key"


def test_nobody_else_can_read_what_is_copied_before_its_mode_is_set(state, tmp_path):
    """In a process of its own, since a hook of the interpreter stays. It looks at copies before they get their mode."""
    out, policy = tmp_path / "saved.tar.gz", tmp_path / "hedgerow.yaml"
    script = f"""
import os, sys
from pathlib import Path
from hedgerow.app.backup import back_up, restore
modes = []
sys.addaudithook(lambda event, given: event == "shutil.copystat" and modes.append(os.stat(given[1]).st_mode & 0o777))
os.umask(0o022)
state, out, policy = Path({str(state)!r}), Path({str(out)!r}), Path({str(policy)!r})
back_up(state, policy, out)
(state / "ca" / "key.pem").write_text("a newer key")
(state / "ca" / "key.pem").chmod(0o600)
restore(out, state, policy, replace=True)
print(len(modes) > 1, {{oct(mode) for mode in (*modes, out.stat().st_mode & 0o777)}})
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "True {'0o600'}\n"


def test_the_copy_of_a_journal_is_for_its_owner_alone(state, tmp_path):
    copy, before = tmp_path / "copy.sqlite", os.umask(0o022)
    try:
        SqliteDialect(state / "journal.sqlite").back_up(copy)
    finally:
        os.umask(before)
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600


def test_an_interrupted_restore_loses_nothing_and_is_repeated(state, tmp_path):
    out, policy = tmp_path / "saved.tar.gz", tmp_path / "hedgerow.yaml"
    back_up(state, policy, out)
    change_since_the_backup(state)
    (state / "ca" / "key.pem").unlink()
    (state / "ca" / "key.pem").mkdir()  # which can't be copied: the journal has been by then
    (state / "ca" / "key.pem" / "mine").write_text("mine")
    with pytest.raises(BackupError, match=r"Can't restore .*: Is a directory"):
        restore(out, state, policy, replace=True, now=0.0)
    assert not list(state.glob("*before-restore-*")), "half a copy would look like a whole one"
    assert sorted(grants_in(state / "journal.sqlite")) == ["chess.example", "films.example"]
    assert (state / "ca" / "key.pem" / "mine").read_text() == "mine"
    (state / "ca" / "key.pem").rename(state / "ca" / "mine")
    torn = state / ".before-restore-20260101-120000"  # of a restore that was killed
    torn.mkdir()
    (torn / "journal.sqlite").write_bytes(b"SQLite format 3")
    kept = restore(out, state, policy, replace=True).kept
    assert grants_in(state / "journal.sqlite") == ["chess.example"]
    assert kept is not None
    assert sorted(grants_in(kept / "journal.sqlite")) == ["chess.example", "films.example"]
    assert not torn.exists()


def test_a_backup_of_a_newer_version_is_refused(state, tmp_path):
    out, policy = tmp_path / "saved.tar.gz", tmp_path / "hedgerow.yaml"
    with closing(sqlite3.connect(state / "journal.sqlite")) as journal, journal:
        journal.execute("UPDATE alembic_version SET version_num = '9999'")
    back_up(state, policy, out)
    for place, replace in ((state, True), (tmp_path / "new", False)):
        with pytest.raises(BackupError, match="newer Hedgerow wrote this backup"):
            restore(out, place, policy, replace=replace)
        assert not list(place.glob("before-restore-*"))
    assert not (tmp_path / "new" / "journal.sqlite").exists()


def test_the_command_replaces_only_if_told(state, tmp_path):
    out, policy = tmp_path / "saved.tar.gz", tmp_path / "hedgerow.yaml"
    back_up(state, policy, out)
    change_since_the_backup(state)
    words = ("restore", str(out), "--state", str(state), "--policy", str(policy))
    refused = hedgerow_command(*words)
    assert refused.returncode == 2
    assert "--replace replaces and keeps them" in refused.stderr
    assert (state / "ca" / "key.pem").read_text() == "a newer key"
    done = hedgerow_command(*words, "--replace")
    assert done.returncode == 0, done.stderr
    assert f"What was there before is in {state}/before-restore-" in done.stdout
    assert f"{policy} was there already, and is as it was." in done.stdout
    new = tmp_path / "new"
    fresh = hedgerow_command("restore", str(out), "--state", str(new), "--policy", str(new / "hedgerow.yaml"))
    assert fresh.returncode == 0, fresh.stderr
    assert "was there already" not in fresh.stdout


def test_a_file_that_may_not_be_opened_is_named_with_the_user():
    """Such as root's own, since the package runs the commands of root as the service's user."""
    said = _reason(PermissionError(13, "Permission denied", "/root/saved.tar.gz"))
    user = pwd.getpwuid(os.geteuid()).pw_name
    assert said.startswith(f"Permission denied: /root/saved.tar.gz. This runs as the user {user}: use a file")
    assert _reason(FileNotFoundError(2, "No such file or directory", "/x")) == "No such file or directory: /x."
