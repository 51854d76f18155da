"""Commands for policies: check a file, compare it with the one in force, and list the services."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter
from rich.console import Console
from rich.table import Table

from hedgerow.app.commands.options import (
    JsonOption,
    StateOption,
    add_row,
    fail,
    print_json,
    print_table,
    state_directory,
)
from hedgerow.app.snapshot import Snapshot
from hedgerow.blocklists.rules import Problem
from hedgerow.codec import encode
from hedgerow.policies.host_facts import Service, Services, service_ages
from hedgerow.policies.reading.load import PolicyError, inherited_values, load_policy
from hedgerow.policies.review import PolicyReport, report_mistakes, report_policy


def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The policy file.")],
    diff: Annotated[
        bool,
        typer.Option(
            "--diff", help="Also show what it would change, and for whom, compared with the running Hedgerow."
        ),
    ] = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Explain every mistake in a policy file, with its line."""
    try:
        policy = load_policy(file.absolute())
    except PolicyError as error:
        _print_mistakes(error, as_json)
        raise typer.Exit(1) from None
    report = report_policy(policy, time.time(), _running(state).policy if diff else None)
    above = inherited_values(file.absolute())
    if as_json:
        levels = {"inherited": [asdict(each) for each in above]} if above else {}
        print(json.dumps(_REPORT.dump_python(report, exclude_none=True) | levels, ensure_ascii=False))
        return
    console = Console(highlight=False)
    counts = (
        _counted(len(policy.people), "person", "people"),
        _counted(len(policy.devices), "device"),
        _counted(len(policy.lists), "list"),
    )
    console.print(f"[green]{file} is good[/]: {', '.join(counts)}.")
    for sentence in report.mind:
        console.print(f"Warning: {sentence}.", soft_wrap=True, markup=False)
    for value in above:
        locked = ", locked" if value.is_locked else ""
        console.print(f"From the {value.level}, line {value.line}{locked}: {value.keys}", soft_wrap=True, markup=False)
    if diff and not report.changes:
        console.print("It changes nothing.")
    for change in report.changes or ():
        console.print(f"{change.whose}: {change.sentence}", soft_wrap=True, markup=False)


_WIDTH, _BEFORE = 120, 40  # columns shown of a long line, and of them before the mistake
_REPORT = TypeAdapter(PolicyReport)


def _counted(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def _running(state: Path | None) -> Snapshot:
    folder = state_directory(state)
    try:
        return Snapshot.in_force(folder)
    except (OSError, ValueError) as error:
        fail(f"No Hedgerow has run with the state directory {folder}, so there is nothing to compare with: {error}.")


def _print_mistakes(error: PolicyError, as_json: bool) -> None:
    if as_json:
        print_json(asdict(report_mistakes(error.problems)))
        return
    for problem in error.problems:
        print(problem, *_line_of(problem), sep="\n", file=sys.stderr)
    print(f"{len(error.problems)} mistake{'s' if len(error.problems) != 1 else ''}", file=sys.stderr)


def _line_of(problem: Problem) -> tuple[str, ...]:
    """The line from the file, with a mark below the mistake."""
    if problem.line is None or problem.column is None or not problem.text:
        return ()
    try:
        line = Path(problem.source).read_text(encoding="utf-8-sig").splitlines()[problem.line - 1].expandtabs(1)
    except (OSError, UnicodeDecodeError, IndexError):
        return ()
    start = max(0, problem.column - 1 - _BEFORE) if problem.column > _WIDTH else 0
    return (f"    {line[start : start + _WIDTH]}", " " * (4 + problem.column - 1 - start) + "^")


def services(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A service or a group of services (default: all).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the services that a policy can name, with their domains and pages."""
    known = Services.load().by_id
    chosen = [service for service in known.values() if name is None or name in (service.id, service.group)]
    if not chosen:
        fail(f"There is no service or group called '{name}'.")
    if as_json:
        print_json(json.loads(encode(chosen)))
    elif len(chosen) == 1:
        _print_service(chosen[0])
    else:
        table = Table("group", "name", "title", "domains")
        for service in chosen:
            add_row(table, service.group, service.id, service.title, ", ".join([*service.domains, *service.urls]))
        print_table(table, "")


def _print_service(service: Service) -> None:
    print(f"{service.title} ({service.id}), {service.group}")
    for title, names in (
        ("domains", service.domains),
        ("pages", service.urls),
        ("also needs, and never blocks", service.shared),
    ):
        if names:
            print(f"{title}: {', '.join(names)}")
    age = service_ages()[service.id]
    print(f"open without a rule of yours: {f'from {age.open_from}' if age.open_from else 'at every age'}. {age.why}")
    if service.part_of:
        print(f"part of: {service.part_of}")
    for other, names in Services.load().needed_by(service.id).items():
        remedy = f"; `allow: [{other}]` beside the block keeps it working" if set(names) <= set(service.yields) else ""
        print(f"needed by {other}, and blocked for it too: {', '.join(names)}{remedy}")
    if service.note:
        print(f"note: {service.note}")
