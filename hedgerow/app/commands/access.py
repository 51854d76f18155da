"""Commands for the people in charge: who is here, what happened, hold and let go, grant and answer."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hedgerow.app.commands.options import JsonOption, StateOption, call_api, fail, print_result
from hedgerow.app.commands.tables import add_row, print_table, printable

TargetArgument = Annotated[
    str | None, typer.Argument(metavar="NAME", help="A person, a device or an address; nobody named means everybody.")
]


_AT_ONCE = 1000


class DurationOption(StrEnum):
    HOUR = "hour"
    TODAY = "today"
    GOOD = "good"


def devices(state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show the devices that were seen, whose they are and what they were answered in the last day."""
    rows = call_api(state, "GET", "/devices")
    if as_json:
        return _print_json(rows)
    table = Table("device", "calls itself", "address", "person", "profile", "last seen", "allowed", "blocked")
    for row in rows:
        who = (row["device"], row["name"], row["address"], row["person"] or "", row["profile"])
        add_row(table, *who, _when(row["last_seen"]), str(row["allowed"]), str(row["blocked"]))
    print_table(table, "No device has asked for anything yet.")
    return None


def log(
    state: StateOption = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what happens from now on.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many of the last decisions.")] = 50,
    device: Annotated[str | None, typer.Option(help="Only this device.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the last decisions, oldest first: allowed or blocked, what, and why."""
    query = {"limit": limit} | ({"device": device} if device else {})
    last, rows = 0, call_api(state, "GET", "/decisions", **query)["rows"]
    if not rows and not follow and not as_json:
        print("Nothing was decided yet.")
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            for row in reversed(rows):
                print(json.dumps(row, ensure_ascii=False), flush=True) if as_json else _print_decision(row)
            if not follow:
                return
            last = rows[0]["id"] if rows else last
            time.sleep(1)
            rows = _since(state, last, device)


def _since(state: Path | None, last: int, device: str | None) -> list[dict[str, Any]]:
    """What was decided after the decision `last`, the newest first, however much it is."""
    found: list[dict[str, Any]] = []
    query: dict[str, Any] = {"limit": _AT_ONCE} | ({"device": device} if device else {})
    while True:
        page = call_api(state, "GET", "/decisions", **query)
        found += [row for row in page["rows"] if row["id"] > last]
        if page["older"] is None or page["rows"][-1]["id"] <= last:
            return found
        query["cursor"] = page["older"]


def pause(
    name: TargetArgument = None,
    minutes: Annotated[float | None, typer.Option(min=1, help="For how long (default: until resumed).")] = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Stop the internet for a person, a device or everybody; helplines stay reachable."""
    held = call_api(state, "POST", "/pause", **_whom(state, name), **({"minutes": minutes} if minutes else {}))
    print_result(as_json, held, f"Paused for {name or 'everybody'}{f', for {minutes:g} minutes' if minutes else ', until resumed'}.")


def resume(name: TargetArgument = None, state: StateOption = None, as_json: JsonOption = False) -> None:
    """End a pause."""
    call_api(state, "POST", "/resume", **_whom(state, name))
    print_result(as_json, {"resumed": name}, f"Resumed for {name or 'everybody'}.")


def grant(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A person, a device or an address.")],
    subject: Annotated[str, typer.Argument(metavar="WHAT", help="A site, a service or a category.")],
    how_long: Annotated[DurationOption, typer.Option("--for", help="For how long.")] = DurationOption.HOUR,
    note: Annotated[str, typer.Option(help="Why, for those who see it.")] = "",
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Allow something for a while."""
    given = call_api(state, "POST", "/grants", subject=subject, how_long=how_long.value, note=note, **_whom(state, name))
    if as_json:
        return _print_json(given)
    end = f"until {_when(given['ends'])}" if given["ends"] else "permanently"
    print(f"Granted: {given['subject']} for {name}, {end} (grant {given['id']}).")
    return None


def requests(
    state: StateOption = None,
    approve: Annotated[int | None, typer.Option(metavar="ID", help="Say yes to this request.")] = None,
    deny: Annotated[int | None, typer.Option(metavar="ID", help="Say no to this request.")] = None,
    how_long: Annotated[DurationOption, typer.Option("--for", help="For how long a yes holds.")] = DurationOption.HOUR,
    as_json: JsonOption = False,
) -> None:
    """Show what was asked for on block pages; answer with --approve or --deny."""
    if approve is not None:
        given = call_api(state, "POST", f"/requests/{approve}/approve", how_long=how_long.value)
        print_result(as_json, given, f"Approved request {approve}.")
    if deny is not None:
        call_api(state, "POST", f"/requests/{deny}/deny")
        print_result(as_json, {"denied": deny}, f"Denied request {deny}.")
    if approve is not None or deny is not None:
        return None
    rows = call_api(state, "GET", "/requests")
    if as_json:
        return _print_json(rows)
    table = Table("id", "when", "who", "what", "why it was blocked", "note")
    for row in rows:
        who = row["person"] or row["device"]
        add_row(table, str(row["id"]), _when(row["last_at"]), who, row["url"] or row["host"], row["reason"], row["note"])
    print_table(table, "No requests are waiting.")
    return None


def password(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Whose (default: the first admin's).")] = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Set a password for the web pages: the first one, or a new one where it is forgotten. Asks for it, or reads it from a pipe."""
    accounts = call_api(state, "GET", "/accounts")
    name = name or next((row["name"] for row in accounts if row["role"] == "admin"), "parent")
    new = (
        typer.prompt(f"New password for {name}", hide_input=True, confirmation_prompt=True) if sys.stdin.isatty() else sys.stdin.readline()
    )
    new = new.rstrip("\n")
    is_new = all(row["name"] != name for row in accounts)
    if is_new:
        call_api(state, "POST", "/accounts", name=name, role="admin", password=new)
        sentence = f"{name} may sign in now, as an admin."
    else:
        call_api(state, "PUT", f"/accounts/{quote(name, safe='')}/password", password=new)
        sentence = f"{name} has a new password; all sessions of that account have ended."
    print_result(as_json, {"account": name, "new": is_new}, sentence)


def proxy_password(as_json: JsonOption = False) -> None:
    """Make the `proxy_password` of a device or seat that signs in to the proxy. Asks for the password, or reads it from a pipe."""
    new = typer.prompt("Password", hide_input=True, confirmation_prompt=True) if sys.stdin.isatty() else sys.stdin.readline()
    new = new.rstrip("\n")
    if not new:
        fail("An empty password would be none.")
    import argon2  # half of what this command needs to load, and no other does

    made = argon2.PasswordHasher().hash(new)
    print_result(as_json, {"proxy_password": made}, f'proxy_password: "{made}"')


def _whom(state: Path | None, name: str | None) -> dict[str, str]:
    """A name is a person's, or else a device's or an address."""
    if name is None:
        return {}
    people = call_api(state, "GET", "/status")["people"]
    return {"person": name} if name in people else {"device": name}


def _print_decision(row: dict[str, Any]) -> None:
    colour = {"block": "red", "rewrite": "yellow", "inspect": "cyan"}.get(row["verdict"], "green")
    times = f" ×{row['count']}" if row["count"] > 1 else ""
    who = row["person"] or row["device"]
    why = f"{row['reason']}{f': {row["what"]}' if row['what'] else ''}"
    what = printable(f"{who}: {row['url'] or row['host'] or '(private)'}{times} ({why})")
    Console(highlight=False).print(f"{_when(row['at'])} [{colour}]{row['verdict']:7}[/] {escape(what)}", soft_wrap=True)


def _when(instant: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(instant))


def _print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=1))
