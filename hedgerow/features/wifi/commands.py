"""Commands for the children's Wi-Fi."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from hedgerow.app.announcements import notify_systemd
from hedgerow.app.commands.options import (
    JsonOption,
    PolicyOption,
    StateOption,
    fail,
    find_policy,
    print_json,
    print_problems,
    print_result,
    state_directory,
)
from hedgerow.app.commands.setup import terminal_qr
from hedgerow.app.doctor.findings import Installation
from hedgerow.app.logs import start_logs
from hedgerow.app.snapshot import SnapshotWatch
from hedgerow.dashboards.edits.yaml_text import apply_edits
from hedgerow.features.wifi.preset import PresetError, parse_preset
from hedgerow.features.wifi.report import RUNTIME, WifiReport, join_code, read_password
from hedgerow.features.wifi.settings import WifiSettings
from hedgerow.files import write_atomically
from hedgerow.policies.reading.load import PolicyError, parse_policy

STEP_S = 2.0

app = typer.Typer(help="The children's own Wi-Fi, opened by a radio of this machine.", no_args_is_help=True)


@app.command()
def run(
    state: StateOption = None,
    runtime: Annotated[Path, typer.Option(metavar="DIR", help="Directory for the files of a run.")] = RUNTIME,
) -> None:
    """Open the Wi-Fi of the policy and keep it open, as a service of its own.

    It needs a radio that can be an access point, hostapd, dnsmasq, iw and the capabilities of its unit.
    """
    from hedgerow.features.wifi.keeper import WifiKeeper, wanted_by

    folder = state_directory(state)
    start_logs("wifi", "info", as_json=False)
    signal.signal(signal.SIGTERM, _end)
    watch, keeper, view, last = SnapshotWatch(folder), WifiKeeper(folder, runtime), None, ""
    try:
        while True:
            view = watch.open_if_new() or view
            report = keeper.step(wanted_by(view), time.monotonic())
            report.save(runtime)
            notify_systemd("READY=1\nWATCHDOG=1")
            text = f"{report.state} {report.reason}".strip()
            if text != last:
                print(f"Wi-Fi: {text}", file=sys.stderr, flush=True)
            last = text
            time.sleep(STEP_S)
    finally:
        keeper.close()


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)


@app.command()
def show(state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show the Wi-Fi's name, password and state, with a QR code by which phones join it."""
    folder = state_directory(state)
    policy = Installation.of(folder).policy
    settings = policy.settings(WifiSettings) if policy is not None else None
    if settings is None:
        fail("The policy has no Wi-Fi: add `wifi` with a `name` under `network`.")
    report, password = WifiReport.load(time.time()), read_password(folder)
    shown = report.state.value if report is not None else "its process does not run"
    if as_json:
        print_json({"name": settings.name, "password": password, "state": shown})
        return
    print(f"name:      {settings.name}", f"password:  {password}", f"state:     {shown}", sep="\n")
    if sys.stdout.isatty():
        print(terminal_qr(join_code(settings.name, password)), end="")


@app.command()
def preset(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The preset file, hedgerow.txt.")],
    policy: PolicyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put the country and the Wi-Fi of a preset file into the policy file, and print the rest of it.

    A file with a mistake changes nothing, and neither does one whose policy would have one.
    """
    try:
        chosen = parse_preset(file.read_bytes())
        place = find_policy(policy)
        if place is None:
            fail("There is no policy file: name it with --policy.")
        before = place.read_text(encoding="utf-8")
        after = apply_edits(before, chosen.edits())
        if after != before:
            parse_policy(after.encode(), place)
            write_atomically(place, after.encode(), place.stat().st_mode & 0o777)
    except (PresetError, PolicyError) as error:
        print_problems(f"{file.name}: {problem}" for problem in error.problems)
        raise typer.Exit(1) from None
    except ValueError as error:
        fail(str(error))
    facts = {"hostname": chosen.hostname, "admin_key": chosen.admin_key}
    lines = (f"{name}={value}" for name, value in facts.items() if value)
    print_result(as_json, facts, *lines)
