"""Commands that keep and look: the weekly report, what is kept about somebody, a live view, backup and restore."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from hedgerow.app.backup import BackupError, back_up
from hedgerow.app.backup import restore as restore_backup
from hedgerow.app.commands.options import JsonOption, StateOption, call_api, call_api_text, fail, find_policy
from hedgerow.app.commands.tables import add_row
from hedgerow.app.settings import Settings, default_state
from hedgerow.policies.reading.load import PolicyError, load_policy
from hedgerow.policies.text.locales import LANGUAGES

_ROWS = 12


def report(
    out: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write.")] = Path("hedgerow-report.html"),
    language: Annotated[str, typer.Option("--language", help=f"One of {', '.join(LANGUAGES)}.")] = "en",
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the weekly report: time by topic, what was closed, what was asked for, and questions to begin a talk with."""
    if language not in LANGUAGES:
        fail(f"Reports are written in {', '.join(LANGUAGES)}, not in '{language}'.")
    if as_json:
        print(json.dumps(call_api(state, "GET", "/report/people", language=language), ensure_ascii=False, indent=1))
        return
    try:
        out.write_text(call_api_text(state, "/report", language=language), encoding="utf-8")
    except OSError as error:
        fail(f"Can't write {out}: {error.strerror}.")
    print(f"Wrote {out.absolute()}.")


def kept(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A person or a device, also one that the policy knows no longer.")],
    state: StateOption = None,
) -> None:
    """Show all that is kept about somebody, a row of JSON a line."""
    rows = call_api_text(state, "/kept", name=name)
    print(rows, end="")
    if not rows:
        print(f"Nothing is kept about {name}.", file=sys.stderr)


def erase(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A person or a device, also one that the policy knows no longer.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask first.")] = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Erase what is kept about somebody, for good; what holds now stays: rules, open grants, this week's minutes."""
    if not yes:
        typer.confirm(f"Erase what is kept about {name}? It cannot be brought back.", abort=True, err=True)
    done = call_api(state, "POST", "/kept/erase", name=name)
    if as_json:
        print(json.dumps(done, ensure_ascii=False))
    else:
        told = ", ".join(f"{number} {kind}" for kind, number in done["rows"].items())
        print(f"Erased of {name}: {told}." if told else f"Nothing was kept about {name}.")
    if done["problem"]:
        fail(f"It is erased, but traces of it may be left in the journal's file. {done['problem']}")


def top(
    state: StateOption = None,
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between looks.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Look once and end.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Watch it live: processes, devices, and what was decided last."""
    if as_json:
        print(json.dumps(_collect(state), ensure_ascii=False))
        return
    if once:
        Console().print(_view(_collect(state)))
        return
    with contextlib.suppress(KeyboardInterrupt), Live(_view(_collect(state)), screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(every)
            live.update(_view(_collect(state)), refresh=True)


def backup(
    out: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write, such as hedgerow.tar.gz.")],
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Save journal, policy file and certificate authority into one file, also while Hedgerow runs. It holds secrets."""
    folder = (state or default_state()).absolute()
    try:
        policy = Settings.load(folder).policy
    except (OSError, ValueError):
        policy = find_policy(None)
    try:
        names = back_up(folder, policy, out)
    except BackupError as error:
        fail(str(error))
    beside = _external_files(policy, folder)
    if as_json:
        print(json.dumps({"file": str(out), "holds": names, "keep_too": beside}))
        return
    print(f"Saved {len(names)} files in {out.absolute()}. Keep it as safe as a key.")
    if beside:
        print(f"The policy also reads files that are not in it, so keep them too: {', '.join(beside)}.")


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `hedgerow backup` wrote.")],
    state: StateOption = None,
    policy: Annotated[Path, typer.Option(metavar="FILE", help="Where the policy file goes, if none is there.")] = Path("hedgerow.yaml"),
    as_json: JsonOption = False,
) -> None:
    """Bring a backup back. Hedgerow must not be running."""
    try:
        names = restore_backup(file, (state or default_state()).absolute(), policy.absolute())
    except BackupError as error:
        fail(str(error))
    if as_json:
        print(json.dumps({"file": str(file), "restored": names}))
    else:
        print(f"Restored {', '.join(names)}.")


def _external_files(policy: Path | None, state: Path) -> list[str]:
    """Files that a policy is made of beside its own: included ones, lists, calendars. Copies of what comes from a URL come again."""
    try:
        read = load_policy(policy)
    except PolicyError:
        return []
    named = (*read.files, *read.phrase_lists, *(item.path for item in read.lists if item.path is not None))
    return sorted({str(file) for file in named if not Path(file).is_relative_to(state)})


def _collect(state: Path | None) -> dict[str, Any]:
    status = call_api(state, "GET", "/status")
    decisions = call_api(state, "GET", "/decisions", limit=_ROWS)["rows"]
    return {
        "status": status,
        "devices": call_api(state, "GET", "/devices")[:_ROWS],
        "decisions": decisions,
        "requests": call_api(state, "GET", "/requests"),
    }


def _view(look: dict[str, Any]) -> Group:
    workers = Table(
        "process", "state", "restarts", title=f"Hedgerow {look['status']['version']} · {len(look['requests'])} requests waiting"
    )
    for row in look["status"]["workers"]:
        add_row(workers, row["name"], row["state"], str(row["restarts"]))
    devices = Table("device", "person", "last seen", "allowed", "blocked", title="Devices, counts of a day")
    for row in look["devices"]:
        cells = (row["device"], row["person"] or "", _when(row["last_seen"]), str(row["allowed"]), str(row["blocked"]))
        add_row(devices, *cells)
    decisions = Table("when", "who", "verdict", "what", "why", title="Last decisions")
    for row in look["decisions"]:
        why = f"{row['reason']}{f': {row["what"]}' if row['what'] else ''}"
        cells = (_when(row["at"]), row["person"] or row["device"], row["verdict"], row["host"] or "(private)", why)
        add_row(decisions, *cells, style="red" if row["verdict"] == "block" else "")
    return Group(workers, devices, decisions)


def _when(instant: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(instant))
