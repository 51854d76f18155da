"""`hedgerow doctor` on the terminal."""

from __future__ import annotations

import json
from dataclasses import asdict

import typer
from rich.console import Console
from rich.markup import escape

from hedgerow.app.cli_options import AsJson, StateDir
from hedgerow.app.doctor import Finding, Health, examine
from hedgerow.app.settings import default_state

_SHOWN = {Health.GOOD: "[green]good[/]  ", Health.UNSURE: "[yellow]unsure[/]", Health.BAD: "[red]bad[/]   "}


def doctor(state: StateDir = None, as_json: AsJson = False) -> None:
    """Look at everything that has to be right here, and say how to mend what is not. The exit status is 1 where something is bad."""
    findings = examine((state or default_state()).absolute())
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], ensure_ascii=False, indent=1))
    else:
        _print(findings)
    if any(finding.health is Health.BAD for finding in findings):
        raise typer.Exit(1)


def _print(findings: list[Finding]) -> None:
    console = Console(highlight=False)
    for finding in findings:
        console.print(f"{_SHOWN[finding.health]} {escape(finding.what)}: {escape(finding.found)}", soft_wrap=True)
        if finding.mend:
            console.print(f"       → {escape(finding.mend)}", soft_wrap=True)
