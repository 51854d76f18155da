"""`hedgerow doctor` on the terminal."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from hedgerow.app.commands.options import JsonOption, StateOption, fail
from hedgerow.app.doctor.bypasses import UnknownDevice, check_device
from hedgerow.app.doctor.checks import Finding, Health, run_checks
from hedgerow.app.settings import default_state
from hedgerow.network.gateway import GatewayError

_SHOWN = {Health.GOOD: "[green]good[/]  ", Health.UNSURE: "[yellow]unsure[/]", Health.BAD: "[red]bad[/]   "}


def doctor(
    device: Annotated[
        str | None, typer.Argument(metavar="DEVICE", help="Say of each known way round the filter whether it is closed to this device.")
    ] = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look at everything that has to be right here, and say how to mend what is not. The exit status is 1 where something is bad."""
    findings = _examined((state or default_state()).absolute(), device)
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], ensure_ascii=False, indent=1))
    else:
        _print(findings)
    if any(finding.health is Health.BAD for finding in findings):
        raise typer.Exit(1)


def _examined(state: Path, device: str | None) -> list[Finding]:
    if device is None:
        return run_checks(state)
    try:
        return check_device(state, device)
    except (UnknownDevice, GatewayError) as error:
        fail(str(error))
    except (OSError, ValueError):
        fail(f"No Hedgerow has run with the state directory {state}, or it may not be read.")


def _print(findings: list[Finding]) -> None:
    console = Console(highlight=False)
    for finding in findings:
        console.print(f"{_SHOWN[finding.health]} {escape(finding.what)}: {escape(finding.found)}", soft_wrap=True)
        if finding.mend:
            console.print(f"       → {escape(finding.mend)}", soft_wrap=True)
