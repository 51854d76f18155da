"""Commands for the certificate authority of inspected devices: show it, hand out its certificate, replace it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from hedgerow.app.commands.options import JsonOption, StateOption, fail
from hedgerow.app.files import chown_to_owner
from hedgerow.app.ipc import restart_inspectors
from hedgerow.app.settings import default_state
from hedgerow.proxy.certificate_authority import (
    CertificateAuthority,
    CertificateAuthorityError,
    CertificateFormat,
    export_certificate,
    format_for_name,
    load_ca,
    rotate_ca,
)

app = typer.Typer(help="The certificate authority of inspected devices.", no_args_is_help=True)


@app.command()
def show(state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show the certificate's name, fingerprint and expiry."""
    authority = _authority(state)
    facts = {"name": authority.name, "sha256": authority.fingerprint, "expires": authority.expires.isoformat()}
    if as_json:
        print(json.dumps(facts, ensure_ascii=False, indent=1))
        return
    for name, value in facts.items():
        print(f"{name}: {value}")


@app.command()
def export(
    out: Annotated[Path | None, typer.Argument(metavar="FILE", help="Where to write (default: standard output).")] = None,
    form: Annotated[
        CertificateFormat | None,
        typer.Option("--format", help="pem; der for Android and Windows; mobileconfig for Apple's (default: as FILE is named, else pem)."),
    ] = None,
    state: StateOption = None,
) -> None:
    """Write the certificate to install on devices. The private key never leaves the state directory."""
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
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask first.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Put a new certificate authority in place of the old one. Devices that trust the old one have to install the new certificate."""
    folder = (state or default_state()).absolute()
    _authority(state)
    if not yes and not typer.confirm("Every inspected device will have to install the new certificate. Go on?"):
        raise typer.Exit(1)
    try:
        old, new = rotate_ca(folder / "ca")
        chown_to_owner(folder, (folder / "ca").iterdir())
    except (OSError, CertificateAuthorityError) as error:
        fail(f"The certificate authority can't be replaced: {getattr(error, 'strerror', None) or error}.")
    restarted = restart_inspectors(folder)
    if as_json:
        print(json.dumps({"old": old.fingerprint, "new": new.fingerprint, "restarted": restarted}, indent=1))
        return
    print(f"{new.name} is in place of {old.name}.")
    print(f"Install it (hedgerow ca export) on inspected devices, and remove {old.name} from them.")


def _authority(state: Path | None) -> CertificateAuthority:
    folder = (state or default_state()).absolute() / "ca"
    try:
        return load_ca(folder)
    except (OSError, CertificateAuthorityError) as error:
        fail(f"There is no certificate authority in {folder}: {getattr(error, 'strerror', None) or error}.")
