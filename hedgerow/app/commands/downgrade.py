"""`hedgerow data downgrade`: give the journal the form that the release before can read."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from hedgerow.app.backup import backup_folder
from hedgerow.app.commands.options import JsonOption, StateOption, fail, print_result, state_directory
from hedgerow.app.settings import JOURNAL_NAME, Settings
from hedgerow.files import FolderLock, chown_to_owner, make_private_folder
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
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give the journal the form of the release before, so that it runs again.

    Hedgerow must not be running. A copy of the journal as it is now is kept in the folder of the backups.
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
        kept = (
            make_private_folder(backup_folder(folder))
            / f"{JOURNAL_NAME}.before-downgrade-{datetime.now():%Y%m%d-%H%M%S}"
        )
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
    facts = {"changed": has_changed, "kept": str(kept) if has_changed else None}
    done = f"The journal has the form of the release before. As it was, it is in {kept}."
    print_result(as_json, facts, done if has_changed else "There is nothing to change.")


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
