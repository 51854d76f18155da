"""Commands for the people in charge: devices, decisions, pauses, grants, requests and passwords."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console
from rich.markup import escape

from hedgerow.app.commands.actions import command_of, target_of
from hedgerow.app.commands.options import (
    JsonOption,
    OnlyAddressOption,
    StateOption,
    SureOption,
    call_api,
    fail,
    format_time,
    print_result,
    print_rows,
    printable,
)
from hedgerow.dashboards.actions import access as actions
from hedgerow.policies.model import GrantDuration

TargetArgument = Annotated[
    str | None, typer.Argument(metavar="NAME", help="A person, a device or an address (default: everybody).")
]

_PAGE_SIZE = 1000


def devices(state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show the devices on the network, what of them is filtered, their owners, and their decisions of the last day."""
    rows = [row for page in _pages(state, "/devices") for row in page]
    titles = ("device", "host name", "address", "person", "profile", "uses", "last seen", "allowed", "blocked")
    cells = (
        (
            row["device"],
            row["name"],
            row["address"],
            row["person"] or "",
            row["profile"],
            ", ".join(sorted({*row["protections"]} - {"refused-certificate"})) or "nothing yet",
            format_time(row["last_seen"]),
            str(row["allowed"]),
            str(row["blocked"]),
        )
        for row in rows
    )
    print_rows(rows, titles, cells, "No device has been seen yet.", as_json=as_json)


def _pages(state: Path | None, path: str) -> Iterator[list[dict[str, Any]]]:
    """Yield all pages of a list."""
    for offset in count(0, _PAGE_SIZE):
        yield (page := call_api(state, "GET", path, limit=_PAGE_SIZE, offset=offset))
        if len(page) < _PAGE_SIZE:
            return


def log(
    state: StateOption = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing new decisions.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many of the last decisions to show.")] = 50,
    device: Annotated[str | None, typer.Option(help="Show this device only.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the last decisions, oldest first: allowed or blocked, what, and why."""
    query = {"limit": limit} | ({"device": device} if device else {})
    last, rows = 0, call_api(state, "GET", "/decisions", **query)["rows"]
    if not rows and not follow and not as_json:
        print("There are no decisions yet.")
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            for row in reversed(rows):
                print(json.dumps(row, ensure_ascii=False), flush=True) if as_json else _print_decision(row)
            if not follow:
                return
            last = rows[0]["id"] if rows else last
            time.sleep(1)
            rows = _decisions_since(state, last, device)


def _decisions_since(state: Path | None, last: int, device: str | None) -> list[dict[str, Any]]:
    """All decisions after the decision `last`, newest first."""
    rows: list[dict[str, Any]] = []
    query: dict[str, Any] = {"limit": _PAGE_SIZE} | ({"device": device} if device else {})
    while True:
        page = call_api(state, "GET", "/decisions", **query)
        rows += [row for row in page["rows"] if row["id"] > last]
        if page["older"] is None or page["rows"][-1]["id"] <= last:
            return rows
        query["cursor"] = page["older"]


def pause(
    name: TargetArgument = None,
    everybody: Annotated[
        bool, typer.Option("--everybody", help="Everybody, without an exception; not with NAME.")
    ] = False,
    minutes: Annotated[float | None, typer.Option(min=1, help="For how long (default: until resumed).")] = None,
    spared: Annotated[
        str | None,
        typer.Option("--except", metavar="NAME", help="Who stays open while everybody is paused."),
    ] = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Pause the internet for a person, a device or everybody; helplines stay reachable."""
    if everybody and (name or spared):
        fail("--everybody means everybody: leave NAME and --except out")
    more: dict[str, object] = {f"except_{kind}": known for kind, known in target_of(state, spared).items()}
    more |= ({"minutes": minutes} if minutes else {}) | ({"me_too": True} if everybody else {})
    row = call_api(state, "POST", "/pause", **(target_of(state, name) if name else {"everybody": True}), **more)
    whom = f"{name or 'everybody'}{f' except {spared}' if spared else ''}"
    print_result(as_json, row, f"Paused for {whom}{f', for {minutes:g} minutes' if minutes else ', until resumed'}.")


resume = command_of(actions.resume)
grant = command_of(actions.give)


def _what(request: dict[str, Any]) -> str:
    """Return what a request is about, with the address from which it was asked."""
    title, address = actions.service_title(request["subject"]), request["url"] or request["host"]
    return title if address in ("", title) else f"{title} ({address})"


def requests(
    state: StateOption = None,
    approve: Annotated[int | None, typer.Option(metavar="ID", help="Approve this request.")] = None,
    deny: Annotated[int | None, typer.Option(metavar="ID", help="Deny this request.")] = None,
    why: Annotated[str, typer.Option(help="What to say to the person who asked, with --deny.")] = "",
    how_long: Annotated[
        GrantDuration, typer.Option("--for", help="For how long an approval holds.")
    ] = GrantDuration.HOUR,
    only_address: OnlyAddressOption = False,
    only_device: Annotated[bool, typer.Option(help="Only on the device from which it was asked.")] = False,
    sure: SureOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show the open requests from block pages, and what is reported as done; answer one with --approve or --deny."""
    if approve is not None:
        order = {"how_long": how_long.value, "only_address": only_address, "only_device": only_device, "sure": sure}
        row = call_api(state, "POST", f"/requests/{approve}/approve", **order)
        print_result(
            as_json, row, actions.opened_sentence(row, format_time) if "ends" in row else f"Approved request {approve}."
        )
    if deny is not None:
        call_api(state, "POST", f"/requests/{deny}/deny", why=why)
        print_result(as_json, {"denied": deny}, f"Denied request {deny}.")
    if approve is not None or deny is not None:
        return
    rows = call_api(state, "GET", "/requests")
    titles = ("id", "when", "who", "what", "why it was blocked", "note")
    cells = (
        (
            str(row["id"]),
            format_time(row["last_at"]),
            row["person"] or row["device"],
            _what(row),
            row["reason"],
            row["note"],
        )
        for row in rows
    )
    print_rows(rows, titles, cells, "No requests are waiting.", as_json=as_json)


def password(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="The account (default: the first admin).")] = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Set a password for the web pages, either the first one or a new one. Prompts for it, or reads it from a pipe."""
    accounts = call_api(state, "GET", "/accounts")
    name = name or next((row["name"] for row in accounts if row["role"] == "admin"), "parent")
    new = _read_password(f"New password for {name}")
    is_new = all(row["name"] != name for row in accounts)
    if is_new:
        call_api(state, "POST", "/accounts", name=name, role="admin", password=new)
        sentence = f"{name} can now sign in as an admin."
    else:
        call_api(state, "PUT", f"/accounts/{quote(name, safe='')}/password", password=new)
        sentence = f"{name} has a new password; all sessions of that account have ended."
    print_result(as_json, {"account": name, "new": is_new}, sentence)


def proxy_password(as_json: JsonOption = False) -> None:
    """Make the `proxy_password` of a device or seat that signs in to the proxy.

    Prompts for the password, or reads it from a pipe.
    """
    new = _read_password("Password")
    if not new:
        fail("The password is empty.")
    import argon2  # takes half of this command's start-up time

    encoded = argon2.PasswordHasher().hash(new)
    print_result(as_json, {"proxy_password": encoded}, f'proxy_password: "{encoded}"')


def _read_password(prompt: str) -> str:
    text = (
        typer.prompt(prompt, hide_input=True, confirmation_prompt=True) if sys.stdin.isatty() else sys.stdin.readline()
    )
    return str(text).rstrip("\n")


def _print_decision(row: dict[str, Any]) -> None:
    colour = {"block": "red", "rewrite": "yellow", "inspect": "cyan"}.get(row["verdict"], "green")
    times = f" ×{row['count']}" if row["count"] > 1 else ""
    who = row["person"] or row["device"]
    why = f"{row['reason']}{f': {row["what"]}' if row['what'] else ''}"
    what = printable(f"{who}: {row['url'] or row['host'] or '(private)'}{times} ({why})")
    Console(highlight=False).print(
        f"{format_time(row['at'])} [{colour}]{row['verdict']:7}[/] {escape(what)}", soft_wrap=True
    )
