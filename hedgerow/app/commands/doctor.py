"""`hedgerow doctor`: findings of the checks, on the terminal."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from hedgerow.app.commands.options import JsonOption, StateOption, fail, print_json, state_directory
from hedgerow.app.doctor.bypasses import UnknownDevice, check_device
from hedgerow.app.doctor.checks import run_checks
from hedgerow.app.doctor.findings import Finding, Health
from hedgerow.network.gateway import GatewayError

_SHOWN = {Health.GOOD: "[green]good[/]  ", Health.UNSURE: "[yellow]unsure[/]", Health.BAD: "[red]bad[/]   "}


def doctor(
    device: Annotated[
        str | None, typer.Argument(metavar="DEVICE", help="Check each known bypass of the filter for this device.")
    ] = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check this installation and print how to fix each problem. The exit status is 1 if something is bad."""
    report(_find(state_directory(state), device), as_json=as_json)


def report(findings: list[Finding], *, as_json: bool) -> None:
    """Print findings. The exit status is 1 if something is bad."""
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        _print(findings)
    if any(finding.health is Health.BAD for finding in findings):
        raise typer.Exit(1)


def _find(state: Path, device: str | None) -> list[Finding]:
    if device is None:
        return run_checks(state)
    try:
        return check_device(state, device)
    except (UnknownDevice, GatewayError) as error:
        fail(str(error))
    except (OSError, ValueError):
        fail(f"No Hedgerow has run with the state directory {state}, or you may not read it.")


def _print(findings: list[Finding]) -> None:
    console = Console(highlight=False)
    for finding in findings:
        console.print(f"{_SHOWN[finding.health]} {escape(finding.what)}: {escape(finding.found)}", soft_wrap=True)
        if finding.mend:
            console.print(f"       → {escape(finding.mend)}", soft_wrap=True)
