"""`hedgerow explain`: the steps that lead to a decision."""

from __future__ import annotations

import asyncio
import contextlib
import re
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import typer
from pydantic import TypeAdapter
from rich.console import Console
from rich.markup import escape

from hedgerow.app.commands.options import (
    JsonOption,
    PolicyOption,
    StateOption,
    fail,
    find_policy,
    print_problems,
    state_directory,
)
from hedgerow.app.control.lists.list_jobs import CompileError
from hedgerow.app.control.lists.list_sources import source_location
from hedgerow.app.control.lists.updater import prepare_generation
from hedgerow.app.snapshot import LoadedSnapshot, Snapshot
from hedgerow.network.neighbours import neighbours_of_this_machine
from hedgerow.policies.explain import Explanation, find_device
from hedgerow.policies.explain import explain as explain_request
from hedgerow.policies.model import Device, Policy, Verdict
from hedgerow.policies.reading.levels import SITE, level_of
from hedgerow.policies.reading.load import PolicyError, load_policy
from hedgerow.policies.text.suggestions import suggest


def explain(
    device: Annotated[str, typer.Argument(metavar="DEVICE", help="A device's name, address or MAC, or a person.")],
    target: Annotated[str, typer.Argument(metavar="HOST-OR-URL", help="The host or URL that it requests.")],
    policy: PolicyOption = None,
    state: StateOption = None,
    at: Annotated[
        str | None, typer.Option(metavar="TIME", help="The time, such as 20:45 or 2026-01-31T20:45 (default: now).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Explain why a device may or may not open a site: every step of the decision, with file and line."""
    with _view_to_explain(find_policy(policy), state_directory(state), asks_past=at is not None) as view:
        _explain(view, device, target, at, as_json)


def _explain(view: LoadedSnapshot, device: str, target: str, at: str | None, as_json: bool) -> None:
    found = _device_to_explain(view, device)
    zone = view.rulesets.zone_of(found)
    try:
        moment = parse_moment(at, datetime.now(zone)) if at else datetime.now(zone)
        explanation = explain_request(view.rulesets, view.catalogue, found, target, moment.timestamp())
    except ValueError as error:
        fail(f"{error}.")
    if as_json:
        print(TypeAdapter(Explanation).dump_json(explanation, indent=1).decode())
    else:
        _print_explanation(explanation, view.policy, zone)


def _device_to_explain(view: LoadedSnapshot, name: str) -> Device:
    """The named device, or the first of a person's; the explanation says which."""
    devices = view.policy.devices
    found = find_device(view.rulesets, name, neighbours_of_this_machine())
    found = found or next((each for each in devices.values() if name in (each.person, *each.sharers)), None)
    if found is None and name in view.policy.people:
        fail(f"{name} has no device yet.")
    if found is None:
        known = [*devices, *view.policy.people]
        fail(f"There is no device '{name}', and it is not an address of this network.{suggest(name, known)}")
    return found


def parse_moment(text: str, now: datetime) -> datetime:
    """Parse a date and time, or a time of today, in `now`'s zone unless it names another.

    Raises ValueError with a plain sentence.

    >>> now = datetime(2026, 11, 25, 8)
    >>> str(parse_moment("20:45", now)), str(parse_moment("2026-12-24 18:00", now))
    ('2026-11-25 20:45:00', '2026-12-24 18:00:00')
    """
    try:
        moment = datetime.fromisoformat(f"{now:%Y-%m-%d} {text:0>5}" if re.fullmatch(r"\d{1,2}:\d{2}", text) else text)
    except ValueError:
        raise ValueError(f"'{text}' is not a time, such as 20:45 for today or 2026-01-31T20:45") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=now.tzinfo)


@contextlib.contextmanager
def _view_to_explain(policy: Path | None, state: Path, *, asks_past: bool) -> Iterator[LoadedSnapshot]:
    """The snapshot in force in `state`, which does not trust a clock that is behind unless it `asks_past`.

    If another policy is asked for, or nothing has run, that policy over freshly compiled lists.
    """
    try:
        snapshot = Snapshot.in_force(state)
    except (OSError, ValueError):
        snapshot = None
    if snapshot is not None and (policy is None or snapshot.policy.path == str(policy)):
        yield LoadedSnapshot(snapshot, asks_past=asks_past)
        return
    try:
        wanted = load_policy(policy)
        with tempfile.TemporaryDirectory(prefix="hedgerow-") as folder:
            generation = asyncio.run(prepare_generation(wanted, Path(folder)))
            yield LoadedSnapshot(Snapshot(0, 0.0, wanted, generation))
    except PolicyError as error:
        print_problems(error.problems)
        fail(f"{policy} has mistakes.")
    except CompileError as error:
        fail(str(error))


def _print_explanation(explanation: Explanation, policy: Policy, zone: ZoneInfo) -> None:
    console = Console(highlight=False)
    age = f", {explanation.age} years old" if explanation.age is not None else ""
    console.print(
        f"{explanation.device} ({explanation.person or 'no person'}{age}, {explanation.profile}) at"
        f" {_clock(explanation.at, zone)}"
    )
    if explanation.upstream:
        console.print(f"resolvers: {escape(', '.join(explanation.upstream))}, instead of the network's", soft_wrap=True)
    for point in explanation.points:
        console.print(
            f"\n[bold]{point.request.kind.value}[/] {escape(point.request.url or point.request.host)}", soft_wrap=True
        )
        for step in point.steps:
            mark = "[bold]→[/]" if step.decided else " "
            console.print(f" {mark} {step.name}: {escape(step.why)}", soft_wrap=True)
    decision = explanation.decision
    what, rule = (f" ({decision.what})" if decision.what else ""), (f", rule {decision.rule}" if decision.rule else "")
    until = f", until {_clock(decision.until, zone)}" if decision.until is not None else ""
    console.print(
        f"\n[{'red' if decision.verdict is Verdict.BLOCK else 'green'}]{decision.verdict.value}[/]:"
        f" {decision.reason.value}{escape(f'{what}{rule}{until}')}",
        soft_wrap=True,
    )
    if decision.note:
        console.print(f"note: {decision.note}", soft_wrap=True, markup=False)
    if decision.rule is not None and (place := source_location(decision.rule.source, policy)):
        console.print(
            f"in {place}{f': {decision.rule.text}' if decision.rule.line else ''}", soft_wrap=True, markup=False
        )
    if decision.rule is not None and (level := level_of(decision.rule.source)) != SITE:
        console.print(f"from the {level}'s policy")


def _clock(instant: float, zone: ZoneInfo) -> str:
    return f"{datetime.fromtimestamp(instant, zone):%a %Y-%m-%d %H:%M}"
