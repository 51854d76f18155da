"""Commands for notices: their receivers, the addresses, and a test."""

from __future__ import annotations

import sys
from typing import Annotated
from urllib.parse import quote

import typer

from hedgerow.app.commands.options import (
    JsonOption,
    StateOption,
    call_api,
    format_time,
    print_json,
    print_result,
    print_rows,
)

app = typer.Typer(help="Manage the receivers of notices.", no_args_is_help=True)

Receiver = Annotated[str, typer.Argument(metavar="NAME", help="A receiver, as `notices` in the policy file names it.")]


@app.command(name="list")
def list_(state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show the receivers of notices and the latest notices."""
    notices = call_api(state, "GET", "/notices")
    receivers = (
        (
            row["name"],
            ", ".join(row["about"]),
            row["service"] or "no address yet",
            str(row["waiting"]),
            format_time(row["last_sent"]) if row["last_sent"] else "",
            row["problem"],
        )
        for row in notices["receivers"]
    )
    latest = (
        (format_time(row["at"]), row["receiver"], row["text"], str(row["count"]), row["state"], row["problem"])
        for row in notices["latest"]
    )
    titles = ("receiver", "topics", "service", "waiting", "last sent", "problem")
    nothing = "Nobody receives notices: the policy has no `notices`."
    print_rows(notices, titles, receivers, nothing, as_json=as_json)
    if notices["latest"] and not as_json:
        print_rows(notices, ("when", "to", "what", "times", "state", "problem"), latest, as_json=False)


@app.command(name="set")
def set_(name: Receiver, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Set the address of a receiver. Prompts for it, or reads it from a pipe, so that no shell history holds it."""
    address = (
        typer.prompt("Address, such as mailto://… or ntfy://…", hide_input=True)
        if sys.stdin.isatty()
        else sys.stdin.readline()
    )
    call_api(state, "PUT", f"/notices/{quote(name, safe='')}/address", address=address.strip())
    sentence = (
        f"Saved. Test it with `hedgerow notices test {name}`." if address.strip() else f"{name} has no address now."
    )
    print_result(as_json, {"receiver": name, "has_address": bool(address.strip())}, sentence)


@app.command(name="test")
def send_test(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="The receiver (default: all).")] = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send a test notice to one receiver or to all. The exit status is 1 if one does not arrive."""
    path = f"/notices/{quote(name, safe='')}/test" if name is not None else "/notices/test"
    results = call_api(state, "POST", path)
    if as_json:
        print_json(results)
    else:
        for row in results:
            print(f"{row['name']}: {row['problem'] or 'accepted by the service.'}")
        if not results:
            print("Nobody receives notices: name receivers under `notices` in the policy file.")
    if any(row["problem"] for row in results):
        raise typer.Exit(1)
