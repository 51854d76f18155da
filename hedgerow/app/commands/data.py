"""Commands for data: the weekly report, personal data, a live view, backup and restore."""

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

from hedgerow.app.backup import BackupError, ExistingFilesError, back_up, files_elsewhere
from hedgerow.app.backup import restore as restore_backup
from hedgerow.app.commands.options import (
    JsonOption,
    StateOption,
    add_row,
    call_api,
    call_api_text,
    fail,
    find_policy,
    format_time,
    print_json,
    print_problems,
    print_result,
    state_directory,
)
from hedgerow.app.settings import Settings
from hedgerow.journal.store import StoreAddress
from hedgerow.policies.reading.load import PolicyError, load_policy
from hedgerow.policies.text.locales import LANGUAGES

_ROWS = 12


def report(
    out: Annotated[Path, typer.Argument(metavar="FILE", help="The output file.")] = Path("hedgerow-report.html"),
    language: Annotated[str, typer.Option("--language", help=f"The language: {', '.join(LANGUAGES)}.")] = "en",
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the weekly report: time by topic, blocked sites, requests, and questions to start a conversation."""
    if language not in LANGUAGES:
        fail(f"There is no report in '{language}': choose one of {', '.join(LANGUAGES)}.")
    if as_json:
        print_json(call_api(state, "GET", "/report/people", language=language))
        return
    try:
        out.write_text(call_api_text(state, "/report", language=language), encoding="utf-8")
    except OSError as error:
        fail(f"Can't write {out}: {error.strerror}.")
    print(f"Wrote {out.absolute()}.")


def kept(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A person or a device, also one that the policy no longer names.")
    ],
    state: StateOption = None,
) -> None:
    """Show all data about a person or a device, one JSON object per line."""
    rows = call_api_text(state, "/kept", name=name)
    print(rows, end="")
    if not rows:
        print(f"There is no data about {name}.", file=sys.stderr)


def erase(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A person or a device, also one that the policy no longer names.")
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Erase the data about a person or a device for good.

    Rules, open grants, this week's minutes, and devices with their protections and last use stay.
    """
    if not yes:
        typer.confirm(f"Erase the data about {name}? This can't be undone.", abort=True, err=True)
    result = call_api(state, "POST", "/kept/erase", name=name)
    if as_json:
        print(json.dumps(result, ensure_ascii=False))
    else:
        counts = ", ".join(f"{number} {kind}" for kind, number in result["rows"].items())
        print(f"Erased about {name}: {counts}." if counts else f"There was no data about {name}.")
    if result["problem"]:
        fail(f"It is erased, but traces of it may remain in the journal's file. {result['problem']}")


def top(
    state: StateOption = None,
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between updates.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Show it once and exit.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Watch processes, devices and the last decisions live."""
    if as_json:
        print(json.dumps(_collect(state), ensure_ascii=False))
        return
    if once:
        Console().print(_render(_collect(state)))
        return
    with (
        contextlib.suppress(KeyboardInterrupt),
        Live(_render(_collect(state)), screen=True, auto_refresh=False) as live,
    ):
        while True:
            time.sleep(every)
            live.update(_render(_collect(state)), refresh=True)


def backup(
    out: Annotated[Path, typer.Argument(metavar="FILE", help="The output file, such as hedgerow.tar.gz.")],
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Save journal, policy file and certificate authority to one file, also while Hedgerow runs.

    The file contains secrets.
    """
    folder = state_directory(state)
    store = None
    try:
        settings = Settings.load(folder)
        policy = settings.policy
        if settings.store:
            store = StoreAddress(settings.store, settings.store_password, settings.site)
    except (OSError, ValueError):
        policy = find_policy(None)
    try:
        names = back_up(folder, policy, out, store)
    except BackupError as error:
        fail(str(error))
    if as_json:
        print(json.dumps({"file": str(out), "holds": names}))
        return
    print(f"Saved {len(names)} files to {out.absolute()}. It contains secrets: store it safely.")


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file written by `hedgerow backup`.")],
    state: StateOption = None,
    policy: Annotated[
        Path, typer.Option(metavar="FILE", help="Where to restore the policy file, unless one exists there.")
    ] = Path("hedgerow.yaml"),
    elsewhere: Annotated[
        bool,
        typer.Option(
            "--elsewhere", help="Also restore files of the policy that lie outside its directory, unless they exist."
        ),
    ] = False,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Replace what is there without asking. It is kept in a folder with the date."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Restore a backup.

    Hedgerow must not be running. What a restore replaces in the state directory is kept there. The exit status is 1 if
    the policy can't be used, or files of it are missing.
    """
    folder, is_left = state_directory(state), policy.exists()
    try:
        try:
            done = restore_backup(file, folder, policy.absolute(), elsewhere=elsewhere, replace=replace)
        except ExistingFilesError as error:
            if not sys.stdin.isatty():
                raise
            typer.confirm(f"{error} Replace them?", abort=True, err=True)
            done = restore_backup(file, folder, policy.absolute(), elsewhere=elsewhere, replace=True)
        missing = [str(path) for path in files_elsewhere(file) if not path.exists()]
    except BackupError as error:
        fail(str(error))
    facts = {"file": str(file), "restored": done.names, "kept": str(done.kept) if done.kept is not None else None}
    kept = [f"What was there before is in {done.kept}."] if done.kept is not None else []
    kept += [f"{policy} was there already, and is as it was."] if is_left else []
    print_result(as_json, facts, f"Restored {', '.join(done.names)}.", *kept)
    if missing:
        fail(
            f"Not restored, since they lie outside the policy's directory: {', '.join(missing)}. --elsewhere "
            f"restores them too.",
            1,
        )
    try:
        load_policy(policy.absolute() if policy.exists() else None)
    except PolicyError as error:
        print_problems(error.problems)
        fail(f"{policy} can't be used yet.", 1)


def _collect(state: Path | None) -> dict[str, Any]:
    status = call_api(state, "GET", "/status")
    decisions = call_api(state, "GET", "/decisions", limit=_ROWS)["rows"]
    return {
        "status": status,
        "devices": call_api(state, "GET", "/devices")[:_ROWS],
        "decisions": decisions,
        "requests": call_api(state, "GET", "/requests"),
    }


def _render(data: dict[str, Any]) -> Group:
    workers = Table(
        "process",
        "state",
        "restarts",
        title=f"Hedgerow {data['status']['version']} · {len(data['requests'])} requests waiting",
    )
    for row in data["status"]["workers"]:
        add_row(workers, row["name"], row["state"], str(row["restarts"]))
    devices = Table("device", "person", "last seen", "allowed", "blocked", title="Devices, counts of the last day")
    for row in data["devices"]:
        cells = (
            row["device"],
            row["person"] or "",
            format_time(row["last_seen"], "%H:%M:%S"),
            str(row["allowed"]),
            str(row["blocked"]),
        )
        add_row(devices, *cells)
    decisions = Table("when", "who", "verdict", "what", "why", title="Last decisions")
    for row in data["decisions"]:
        why = f"{row['reason']}{f': {row["what"]}' if row['what'] else ''}"
        cells = (
            format_time(row["at"], "%H:%M:%S"),
            row["person"] or row["device"],
            row["verdict"],
            row["host"] or "(private)",
            why,
        )
        add_row(decisions, *cells, style="red" if row["verdict"] == "block" else "")
    return Group(workers, devices, decisions)
