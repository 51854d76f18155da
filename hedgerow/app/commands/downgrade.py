"""`hedgerow data downgrade` and `upgrade`: the journal and the policy in the form that the release before can read."""

from __future__ import annotations

import contextlib
import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from hedgerow.app.backup import backup_folder
from hedgerow.app.commands.options import (
    JsonOption,
    PolicyOption,
    StateOption,
    fail,
    find_policy,
    print_result,
    state_directory,
)
from hedgerow.app.older_policy import keep_and_write, older_files, put_back
from hedgerow.app.settings import JOURNAL_NAME, Settings
from hedgerow.files import FolderLock, chown_to_owner, error_text, make_private_folder
from hedgerow.journal.database import downgrade_journal, version_of_copy
from hedgerow.journal.store import JournalError

app = typer.Typer(help="The form of what is recorded.", no_args_is_help=True)

RELEASE_BEFORE = "0.1.0"
_TABLES_OF_RELEASE_BEFORE = "0008"
_COPY_BEFORE_UPGRADE = f"{JOURNAL_NAME}.before-upgrade-from-"


@app.callback()
def group() -> None:
    """Commands for the form of what is recorded."""


@app.command()
def downgrade(
    to: Annotated[
        str | None,
        typer.Option(
            metavar="VERSION",
            help="The version that will run (default: that of before the last upgrade of the package).",
        ),
    ] = None,
    policy: PolicyOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give journal and policy the form of the release before, so that it runs again.

    Hedgerow must not be running. The journal as it is now is kept in the folder of the backups, and the policy next
    to itself.
    """
    folder = state_directory(state)
    if not (folder / JOURNAL_NAME).exists():
        fail(f"There is no journal in {folder}.")
    if _uses_server(folder):
        fail("The store is a PostgreSQL database: restore the server's backup of before the upgrade.")
    lock = FolderLock(folder)
    if lock.acquire() is not None:
        fail(f"Hedgerow is running on {folder}: stop it first.")
    try:
        tables = _tables_of(folder, to)
        when, copies = datetime.now().astimezone(), make_private_folder(backup_folder(folder))
        while (kept := copies / f"{JOURNAL_NAME}.before-downgrade-{when:%Y%m%d-%H%M%S}").exists():
            when += timedelta(seconds=1)  # of another downgrade in this second
        os.close(os.open(kept, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        has_changed = downgrade_journal(folder / JOURNAL_NAME, tables, kept)
        if not has_changed:
            kept.unlink()
        journal = [path for path in folder.glob(f"{JOURNAL_NAME}*") if path.is_file()]
        chown_to_owner(folder, [*journal, kept.parent, *([kept] if has_changed else []), folder / "lock"])
    except JournalError as error:
        fail(f"{error}.")
    finally:
        lock.release()
    done = [f"The journal has the form of the release before. As it was, it is in {kept}."] if has_changed else []
    older, problem = _write_policy(folder, policy, when) if tables == _TABLES_OF_RELEASE_BEFORE else ({}, None)
    for copy, left_out in older.items():
        done.append(f"{RELEASE_BEFORE} would not start with these entries of the policy, which is as it was in {copy}:")
        done += [f"    left out: {each}" for each in left_out]
    facts = {"changed": has_changed, "kept": str(kept) if has_changed else None, "policy": older}
    print_result(as_json, facts, *(done or ["There is nothing to change."]))
    if problem is not None:
        fail(problem, 1)


@app.command()
def upgrade(policy: PolicyOption = None, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Put the policy back as it was before the last downgrade, unless somebody has changed it since.

    The journal is brought up to date by the next start.
    """
    file = _policy_file(state_directory(state), policy)
    try:
        found = dict(put_back(file)) if file is not None and file.exists() else {}
    except OSError as error:
        fail(f"The policy stays as it is: {error_text(error)}.")
    facts = {"restored": [str(file) for file, is_back in found.items() if is_back]}
    facts["kept"] = [str(file) for file, is_back in found.items() if not is_back]
    lines = [f"The policy is as it was before the downgrade: {each}." for each in facts["restored"]]
    lines += [
        f"The policy was changed after the downgrade, and stays as it is. What it was before is in {each}."
        for each in facts["kept"]
    ]
    print_result(as_json, facts, *(lines or ["There is nothing to put back."]))


def _policy_file(folder: Path, policy: Path | None) -> Path | None:
    """Return the policy that was chosen, that of the last run, or the one of this folder."""
    if policy is None:
        with contextlib.suppress(OSError, ValueError):
            policy = Settings.load(folder).policy
    return find_policy(policy)


def _write_policy(folder: Path, policy: Path | None, when: datetime) -> tuple[dict[str, list[str]], str | None]:
    """Write the policy in the older form. Returns what was left out by the copy of what it was, and what went wrong."""
    file, done = _policy_file(folder, policy), {}
    try:
        for each in older_files(file, when) if file is not None else ():
            done[str(keep_and_write(each, when))] = list(each.left_out)
    except (OSError, ValueError) as error:
        return done, f"The policy stays as it is, and {RELEASE_BEFORE} may not start with it: {error_text(error)}"
    return done, None


def _uses_server(folder: Path) -> bool:
    try:
        return bool(Settings.load(folder).store)
    except (OSError, ValueError):
        return False


def _tables_of(folder: Path, version: str | None) -> str:
    """Return the version of the tables that a release reads: that of the package's copy, if there is one."""
    copies = sorted(backup_folder(folder).glob(f"{_COPY_BEFORE_UPGRADE}*"))
    for copy in copies:
        tables = version_of_copy(copy)
        if tables is not None and version in (None, copy.name.removeprefix(_COPY_BEFORE_UPGRADE)):
            return tables
    if version is not None and version.partition("-")[0] != RELEASE_BEFORE:
        fail(f"{version} is neither {RELEASE_BEFORE}, the release before, nor what ran before the last upgrade.")
    return _TABLES_OF_RELEASE_BEFORE
