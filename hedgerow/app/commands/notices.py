"""Commands about notices: who gets them, where, and whether they arrive."""

from __future__ import annotations

import json
import sys
import time
from typing import Annotated
from urllib.parse import quote

import typer
from rich.table import Table

from hedgerow.app.commands.options import JsonOption, StateOption, call_api, print_result
from hedgerow.app.commands.tables import add_row, print_table

app = typer.Typer(help="Notices: who gets them, where, and whether they arrive.", no_args_is_help=True)

Receiver = Annotated[str, typer.Argument(metavar="NAME", help="A receiver, as `notices` in the policy file names it.")]


@app.command(name="list")
def list_(state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show who gets notices, and what was sent of late."""
    told = call_api(state, "GET", "/notices")
    if as_json:
        print(json.dumps(told, ensure_ascii=False, indent=1))
        return
    receivers = Table("receiver", "about", "reached by", "waiting", "last sent", "problem")
    for row in told["receivers"]:
        sent = _when(row["last_sent"]) if row["last_sent"] else ""
        cells = (row["name"], ", ".join(row["about"]), row["service"] or "no address yet", str(row["waiting"]), sent, row["problem"])
        add_row(receivers, *cells)
    latest = Table("when", "to", "what", "times", "state", "problem")
    for row in told["latest"]:
        cells = (_when(row["at"]), row["receiver"], row["text"], str(row["count"]), row["state"], row["problem"])
        add_row(latest, *cells)
    print_table(receivers, "Nobody is told of anything: the policy has no `notices`.")
    if told["latest"]:
        print_table(latest, "")


@app.command(name="set")
def set_(name: Receiver, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Say where a receiver is reached. Asks for the address, or reads it from a pipe, so that it stands in no history."""
    address = typer.prompt("Address, such as mailto://… or ntfy://…", hide_input=True) if sys.stdin.isatty() else sys.stdin.readline()
    call_api(state, "PUT", f"/notices/{quote(name, safe='')}/address", address=address.strip())
    sentence = f"Kept. `hedgerow notices test {name}` shows whether it works." if address.strip() else f"{name} has no address now."
    print_result(as_json, {"receiver": name, "has_address": bool(address.strip())}, sentence)


@app.command(name="test")
def send_test(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Whom (default: all).")] = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send a notice now, to one receiver or to all. The exit status is 1 where one does not arrive."""
    path = f"/notices/{quote(name, safe='')}/test" if name is not None else "/notices/test"
    results = call_api(state, "POST", path)
    if as_json:
        print(json.dumps(results, ensure_ascii=False, indent=1))
    else:
        for row in results:
            print(f"{row['name']}: {row['problem'] or 'the service took it.'}")
        if not results:
            print("Nobody gets notices: name them under `notices` in the policy file.")
    if any(row["problem"] for row in results):
        raise typer.Exit(1)


def _when(instant: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(instant))
