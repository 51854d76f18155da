"""Commands for the certificate authority of inspected devices."""

from __future__ import annotations

import contextlib
import sys
import time
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.exc import DatabaseError, IntegrityError

from hedgerow.app.commands.options import JsonOption, StateOption, fail, print_json, state_directory
from hedgerow.app.ipc import restart_inspectors
from hedgerow.app.sealed_authority import seal_authority
from hedgerow.app.settings import STORE_PASSWORD, Settings
from hedgerow.files import chown_to_owner
from hedgerow.journal.authorities import AuthorityStore
from hedgerow.journal.database import open_journal
from hedgerow.journal.store import JournalError, StoreAddress
from hedgerow.proxy.certificate_authority import (
    CertificateAuthority,
    CertificateAuthorityError,
    CertificateFormat,
    export_certificate,
    format_for_name,
    load_ca,
    rotate_ca,
)

app = typer.Typer(help="Manage the certificate authority of inspected devices.", no_args_is_help=True)


@app.command()
def show(state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show the certificate's name, fingerprint and expiry."""
    authority = _authority(state)
    facts = {"name": authority.name, "sha256": authority.fingerprint, "expires": authority.expires.isoformat()}
    if as_json:
        print_json(facts)
        return
    for name, value in facts.items():
        print(f"{name}: {value}")


@app.command()
def export(
    out: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="The output file (default: standard output).")
    ] = None,
    form: Annotated[
        CertificateFormat | None,
        typer.Option(
            "--format",
            help=(
                "pem; der for Android and Windows; mobileconfig for Apple devices (default: by the name of FILE, else"
                " pem)."
            ),
        ),
    ] = None,
    state: StateOption = None,
) -> None:
    """Write the certificate to install on devices. It does not contain the private key."""
    data = export_certificate(_authority(state), form or format_for_name(out.name if out else "")).data
    try:
        if out is None:
            sys.stdout.buffer.write(data)
        else:
            out.write_bytes(data)
    except OSError as error:
        fail(f"Can't write {out or 'the certificate'}: {error.strerror}.")


@app.command()
def rotate(
    state: StateOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    here: Annotated[
        bool, typer.Option("--here", help="Replace it on this machine only; others that share the store keep theirs.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Replace the certificate authority by a new one. Every inspected device must then install the new certificate."""
    folder = state_directory(state)
    _authority(state)
    if not yes and not typer.confirm("Every inspected device will have to install the new certificate. Continue?"):
        raise typer.Exit(1)
    try:
        old, new = rotate_ca(folder / "ca", (lambda _old, _new: None) if here else partial(_share, folder))
        chown_to_owner(folder, (folder / "ca").iterdir())
    except (OSError, CertificateAuthorityError) as error:
        fail(f"The certificate authority can't be replaced: {getattr(error, 'strerror', None) or error}.")
    restarted = restart_inspectors(folder)
    if as_json:
        print_json({"old": old.fingerprint, "new": new.fingerprint, "restarted": restarted})
        return
    print(f"{new.name} has replaced {old.name}.")
    print(f"Install it (hedgerow ca export) on inspected devices, and remove {old.name} from them.")


def _share(state: Path, old: CertificateAuthority, new: CertificateAuthority) -> None:
    """Tell the site's other machines of the new authority, if they share a store. Ends the command if that fails."""
    try:
        settings = Settings.load(state)
        if not settings.store:
            return
        with contextlib.closing(
            open_journal(StoreAddress(settings.store, state / STORE_PASSWORD, settings.site))
        ) as store:
            AuthorityStore(store).add(time.time(), old.fingerprint, seal_authority(old, new))
    except FileNotFoundError:
        return  # no Hedgerow has run here
    except IntegrityError:
        fail("Another machine of this site has just replaced it: this one follows within a minute.", 1)
    except (JournalError, DatabaseError, ValueError) as error:
        fail(
            f"The store can't tell the site's other machines, so nothing was replaced: {error}. With --here, only this"
            " machine changes.",
            1,
        )


def _authority(state: Path | None) -> CertificateAuthority:
    folder = state_directory(state) / "ca"
    try:
        return load_ca(folder)
    except (OSError, CertificateAuthorityError) as error:
        fail(f"There is no certificate authority in {folder}: {getattr(error, 'strerror', None) or error}.")
