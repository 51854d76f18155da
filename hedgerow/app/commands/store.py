"""`hedgerow store`: check a PostgreSQL store, and copy a journal from one place to another."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from sqlalchemy.exc import DatabaseError

from hedgerow.app.commands.options import JsonOption, StateOption, fail, print_result, state_directory
from hedgerow.app.files import FolderLock, chown_to_owner, make_private_folder
from hedgerow.app.settings import JOURNAL_NAME, STORE_PASSWORD, Settings
from hedgerow.journal.copying import CopyError, CopyProgress, copy_journal
from hedgerow.journal.database import Place, describe_journal, open_journal
from hedgerow.journal.store import JournalError, StoreAddress, cause_of
from hedgerow.policies.text.addresses import store_url_mistake

app = typer.Typer(help="Where what is recorded is stored.", no_args_is_help=True)

_PLACE = "A state directory, a file of SQLite's, or the URL of a PostgreSQL database."


@app.command()
def check(
    url: Annotated[str | None, typer.Argument(metavar="URL", help="The database (default: the store of the last run).")] = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Connect to a PostgreSQL store, create or migrate its tables if they are missing or old, and say what was found."""
    folder = state_directory(state)
    if url is None:
        try:
            url = Settings.load(folder).store
        except (OSError, ValueError):
            url = ""
        if not url:
            fail("What is recorded is in the state directory: there is no store to check. Name one by its URL.")
    place = _place(url, folder)
    try:
        facts = describe_journal(place)
    except JournalError as error:
        fail(f"{error}.", 1)
    print_result(as_json, facts, f"{place}: {', '.join(f'{name} {value}' for name, value in facts.items())}.")


@app.command()
def copy(
    source: Annotated[str, typer.Argument(metavar="FROM", help=_PLACE)],
    target: Annotated[str, typer.Argument(metavar="TO", help=f"{_PLACE} It must be empty.")],
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy all that is recorded to another place, all rows or none. Stop every Hedgerow that uses either of them first."""
    folder = state_directory(state)
    places = [_place(text, folder) for text in (source, target)]
    if isinstance(places[0], Path) and not places[0].exists():
        fail(f"There is no journal at {places[0]}.")
    with contextlib.ExitStack() as stack:
        for place in places:
            if isinstance(place, Path):
                stack.enter_context(_locked(place.parent))
        try:
            stores = [stack.enter_context(contextlib.closing(open_journal(place))) for place in places]
            with _progress() as show:
                counts = copy_journal(*stores, progress=show)
            for place in (each for each in places if isinstance(each, Path)):  # root may copy for another user
                chown_to_owner(place.parent, (place.parent / "lock", *place.parent.glob(f"{place.name}*")))
        except (CopyError, JournalError) as error:
            fail(f"{str(error).rstrip('.')}.", 1)
        except DatabaseError as error:
            fail(f"Nothing was copied: {' '.join(cause_of(error).split())}.", 1)
    rows = sum(counts.values())
    facts = {"from": str(places[0]), "to": str(places[1]), "rows": counts}
    print_result(as_json, facts, f"Copied {rows} rows of {len(counts)} tables to {places[1]}. {places[0]} is as it was.")


def _place(text: str, state: Path) -> Place:
    """Return the place that a person named. Ends the command for the URL of anything but a PostgreSQL database."""
    if "://" in text and not text.startswith("sqlite:///"):
        if mistake := store_url_mistake(text):
            fail(f"The URL of the store {mistake}.")
        return StoreAddress(text, state / STORE_PASSWORD)
    path = Path(text.removeprefix("sqlite:///")).absolute()
    return path / JOURNAL_NAME if path.is_dir() or not path.suffix else path


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a state directory, so that no Hedgerow runs on it. Ends the command if one does."""
    make_private_folder(folder)
    lock = FolderLock(folder)
    if lock.acquire() is not None:
        fail(f"Hedgerow is running on {folder}: stop it first.")
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _progress() -> Iterator[CopyProgress]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        tasks = {}

        def show(table: str, done: int, total: int) -> None:
            if table not in tasks:
                tasks[table] = progress.add_task(table, total=total)
            progress.update(tasks[table], completed=done)

        yield show
