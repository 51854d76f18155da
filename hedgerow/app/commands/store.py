"""`hedgerow store`: check a PostgreSQL store, copy a journal from one place to another, and give roles the rights of a
site.
"""

from __future__ import annotations

import contextlib
import secrets
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from sqlalchemy.exc import DatabaseError

from hedgerow.app.commands.options import JsonOption, StateOption, fail, print_json, print_result, state_directory
from hedgerow.app.settings import JOURNAL_NAME, STORE_PASSWORD, Settings
from hedgerow.files import FolderLock, chown_to_owner, make_private_folder
from hedgerow.journal.copying import CopyError, CopyProgress, copy_journal
from hedgerow.journal.database import Place, describe_journal, open_journal
from hedgerow.journal.policy_history import PolicyVersions
from hedgerow.journal.store import JournalError, Rights, Store, StoreAddress, cause_of
from hedgerow.policies.text.addresses import site_name_mistake, store_url_mistake, with_user

app = typer.Typer(help="Where what is recorded is stored.", no_args_is_help=True)

_PLACE = "A state directory, a file of SQLite's, or the URL of a PostgreSQL database."


@app.command()
def check(
    url: Annotated[
        str | None, typer.Argument(metavar="URL", help="The database (default: the store of the last run).")
    ] = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Connect to a PostgreSQL store, create or migrate its tables if they are missing or old, and say what
    was found.
    """
    folder = state_directory(state)
    place = _place(url or store_of_last_run(folder), folder)
    try:
        facts = describe_journal(place)
    except JournalError as error:
        fail(f"{error}.", 1)
    print_result(as_json, facts, f"{place}: {', '.join(f'{name} {value}' for name, value in facts.items())}.")


@app.command()
def copy(
    source: Annotated[str, typer.Argument(metavar="FROM", help=_PLACE)],
    target: Annotated[str, typer.Argument(metavar="TO", help=f"{_PLACE} It must be empty.")],
    site: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The site that is copied from or to a file (default: the role's, or home)."),
    ] = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy all that is recorded to another place, all rows or none.

    Stop every Hedgerow that uses either of them first.
    """
    folder = state_directory(state)
    places = [_place(text, folder, site) for text in (source, target)]
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
    print_result(
        as_json, facts, f"Copied {rows} rows of {len(counts)} tables to {places[1]}. {places[0]} is as it was."
    )


_URL = typer.Option("--store", metavar="URL", help="The database (default: the store of the last run).")


@app.command()
def grant(
    site: Annotated[
        str, typer.Argument(metavar="SITE", help="The site whose nodes the role is for, as in `network.site`.")
    ],
    role: Annotated[
        str | None, typer.Option(help="A role that is there already (default: one is made, with a new password).")
    ] = None,
    manage: Annotated[
        bool,
        typer.Option(
            "--manage", help="Let it also change the site's policy, and delete decisions and events of the site."
        ),
    ] = False,
    url: Annotated[str | None, _URL] = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a role of PostgreSQL the rights of one site's nodes: it reads nothing of other sites.

    Needs the role that owns the tables.
    """
    from hedgerow.journal.postgresql_rights import grant_site, make_role, role_for

    if mistake := site_name_mistake(site):
        fail(f"{mistake}.")
    password = secrets.token_urlsafe(24) if role is None else None
    with owned_store(url, state_directory(state)) as (store, address), store.begin() as connection:
        name = role or role_for(connection, site)
        if password is not None:
            make_role(connection, name, password)
        grant_site(connection, name, site, may_manage=manage)
    facts = {
        "role": name,
        "site": site,
        "rights": str(Rights(site, manage)),
        "password": password,
        "store": with_user(address.url, name),
    }
    lines = [f"{name} {facts['rights']}: {site}.", f"store: {facts['store']}"]
    if address.is_local:
        lines.append(
            "That address is this machine's own: at the site, write the name or address by which it reaches this"
            " machine instead."
        )
    lines += (
        [f"password, for the file {STORE_PASSWORD} of the node's state directory: {password}"]
        if password is not None
        else []
    )
    print_result(as_json, facts, *lines)


@app.command()
def revoke(
    role: Annotated[str, typer.Argument(metavar="ROLE", help="The role, as `hedgerow store grant` has named it.")],
    url: Annotated[str | None, _URL] = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a role's rights to the store at once, such as those of a stolen machine.

    That machine goes on filtering with what it has.
    """
    from hedgerow.journal.postgresql_rights import revoke_site

    with owned_store(url, state_directory(state)) as (store, _):
        had_rights = revoke_site(store.engine, role)
    if not had_rights:
        fail(f"{role} has no rights to this store.")
    print_result(as_json, {"role": role}, f"{role} has no rights any more.")


@app.command()
def versions(
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many, the newest first.")] = 20,
    url: Annotated[str | None, _URL] = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the versions of the policy that the machines of a site share, with author and time."""
    folder = state_directory(state)
    place = _place(url or store_of_last_run(folder), folder, None if url else Settings.load(folder).site)
    try:
        with contextlib.closing(open_journal(place)) as store:
            found = PolicyVersions(store).latest(limit)
    except JournalError as error:
        fail(f"{error}.", 1)
    if as_json:
        print_json(
            [
                {"id": each.id, "at": each.at, "actor": each.actor, "node": each.node, "summary": each.summary}
                for each in found
            ]
        )
        return
    for each in found:
        print(
            f"{each.id:>5}  {datetime.fromtimestamp(each.at):%Y-%m-%d %H:%M:%S}  {each.actor} on {each.node} "
            f" {each.summary}".rstrip()
        )
    if not found:
        print("No policy is shared in this store.")


@contextlib.contextmanager
def owned_store(url: str | None, state: Path) -> Iterator[tuple[Store, StoreAddress]]:
    """Open a store as the owner of its tables. Ends the command if that fails, or if a statement does."""
    place = _place(url or store_of_last_run(state), state)
    if not isinstance(place, StoreAddress):
        fail("Only a PostgreSQL database has roles: name one with --store.")
    try:
        with contextlib.closing(open_journal(place)) as store:
            if store.rights.site is not None:
                own = f"this one is of the site {store.rights.site}"
                fail(f"Only the role that owns the store, which the organisation's office has, may do this: {own}.")
            yield store, place
    except JournalError as error:
        fail(f"{error}.", 1)
    except DatabaseError as error:
        fail(f"The store refuses it: {' '.join(cause_of(error).split())}.", 1)


def store_of_last_run(state: Path) -> str:
    """Return the URL of the store of the last run. Ends the command if there is none."""
    try:
        url = Settings.load(state).store
    except (OSError, ValueError):
        url = ""
    if not url:
        fail("What is recorded is in the state directory: there is no such store. Name one by its URL.")
    return url


def _place(text: str, state: Path, site: str | None = None) -> Place:
    """Return the place that a person named. Ends the command for the URL of anything but a PostgreSQL database."""
    if "://" in text and not text.startswith("sqlite:///"):
        if mistake := store_url_mistake(text):
            fail(f"The URL of the store {mistake}.")
        return StoreAddress(text, state / STORE_PASSWORD, site)
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
