"""Commands for devices away from home."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from hedgerow.app.commands.options import StateOption, call_api_bytes, fail
from hedgerow.dashboards.away import AwayFile

app = typer.Typer(help="Let devices keep their rules away from home.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Let devices keep their rules away from home."""


@app.command()
def dns(
    device: Annotated[str, typer.Argument(metavar="DEVICE", help="A device of the policy that has a client_id.")],
    form: Annotated[
        AwayFile, typer.Option("--for", help="The system: a profile, policies for a browser, or a script for Windows 11.")
    ] = AwayFile.APPLE,
    home_wifi: Annotated[
        list[str] | None, typer.Option("--home-wifi", metavar="NAME", help="A Wi-Fi network in which an Apple device does not use it.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="The output file (default: standard output).")] = None,
    state: StateOption = None,
) -> None:
    """Write a file by which a device asks Hedgerow over encrypted DNS everywhere. It has the device's id: hand it to nobody else."""
    data = call_api_bytes(state, f"/devices/{quote(device, safe='')}/away/{form.value}", home_wifi=home_wifi or [])
    try:
        if out is None:
            sys.stdout.buffer.write(data)
        else:
            out.touch(0o600)
            out.write_bytes(data)
    except OSError as error:
        fail(f"Can't write {out or 'the file'}: {error.strerror}.")
