"""Commands about time: minutes left, minutes on top, and the seats of a café."""

from __future__ import annotations

import json
import time
from enum import StrEnum
from typing import Annotated

import typer
from rich.table import Table

from hedgerow.app.commands.access import DurationOption
from hedgerow.app.commands.options import JsonOption, StateOption, call_api, fail, print_result
from hedgerow.app.commands.tables import add_row, print_table
from hedgerow.dashboards.audit import AuditRow, audit_csv

app = typer.Typer(help="Who sits at a café's seats, or is signed in at a device that several share.", no_args_is_help=True)

Seat = Annotated[str, typer.Argument(metavar="SEAT", help="A seat, or a device that several people share.")]


class Band(StrEnum):
    CHILD = "child"
    ADULT = "adult"


def budgets(state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show how many minutes everybody has used today, and how many are left."""
    rows = call_api(state, "GET", "/budgets")
    if as_json:
        print(json.dumps(rows, ensure_ascii=False, indent=1))
        return
    table = Table("who", "of what", "used", "left", "begins anew")
    for row in rows:
        left = "no limit today" if row["left"] is None else f"{row['left']} min of {row['limit']}"
        add_row(table, row["whose"], row["subject"] or "all use", f"{row['used']} min", left, _clock(row["until"]))
    print_table(table, "Nobody has a budget: the policy gives none.")


def bonus(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A person, or a device with a budget of its own.")],
    minutes: Annotated[int, typer.Argument(metavar="MINUTES", min=1, max=1440, help="How many more today.")],
    subject: Annotated[str, typer.Option("--for", metavar="WHAT", help="A category or service that has a budget of its own.")] = "",
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give minutes on top of today's budget."""
    given = call_api(state, "POST", "/bonus", name=name, minutes=minutes, subject=subject)
    print_result(as_json, given, f"{name} has {minutes} minutes more today{f', for {subject}' if subject else ''}.")


@app.command("open")
def open_seat(
    name: Seat,
    minutes: Annotated[float | None, typer.Option(min=1, max=1440, help="For how long (default: until ended).")] = None,
    band: Annotated[Band | None, typer.Option("--as", help="Who sits down at a seat.")] = None,
    person: Annotated[str | None, typer.Option(help="Who signs in at a device that several share.")] = None,
    guest: Annotated[str, typer.Option("--name", help="What the guest is called, if that should be known.")] = "",
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Begin a session; it ends the one before it."""
    if band is None and person is None:
        fail("Say who sits down: --as child, --as adult, or --person NAME")
    body = {"name": guest} | ({"minutes": minutes} if minutes else {})
    body |= {"band": band.value} if band is not None else {}
    sitting = call_api(state, "POST", f"/sittings/{name}", **body, **({"person": person} if person else {}))
    who = person or (f"an adult{f' ({guest})' if guest else ''}" if band is Band.ADULT else f"a child{f' ({guest})' if guest else ''}")
    print_result(as_json, sitting, f"{who} sits at {name}{f', for {minutes:g} minutes' if minutes else ', until ended'}.")


@app.command()
def extend(
    name: Seat,
    minutes: Annotated[float, typer.Argument(metavar="MINUTES", min=1, max=1440, help="In how many minutes from now it ends.")],
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a session end in so many minutes from now."""
    call_api(state, "POST", f"/sittings/{name}/end", minutes=minutes)
    print_result(as_json, {"seat": name, "minutes": minutes}, f"{name}: {minutes:g} minutes from now.")


@app.command()
def end(name: Seat, state: StateOption = None, as_json: JsonOption = False) -> None:
    """End a session now; the seat is a child's again."""
    call_api(state, "POST", f"/sittings/{name}/end")
    print_result(as_json, {"ended": name}, f"{name} is free.")


@app.command("list")
def list_seats(state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show the sessions that are open."""
    rows = call_api(state, "GET", "/sittings")
    if as_json:
        print(json.dumps(rows, ensure_ascii=False, indent=1))
        return
    table = Table("where", "who", "until")
    for row in rows:
        who = row["person"] or f"{row['profile']}{f' ({row["name"]})' if row['name'] else ''}"
        add_row(table, row["device"], who, _clock(row["ends"]) if row["ends"] else "ended by hand")
    print_table(table, "No session is open.")


@app.command()
def vouchers(
    count: Annotated[int, typer.Argument(metavar="COUNT", min=1, max=200, help="How many.")],
    minutes: Annotated[int, typer.Option(min=1, max=1440, help="How long each session is.")],
    band: Annotated[Band, typer.Option("--as", help="Who sits down with one.")],
    days: Annotated[int, typer.Option(min=1, max=366, help="Days within which they must be used.")] = 30,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make printed codes, each of which opens a seat once."""
    made = call_api(state, "POST", "/vouchers", count=count, minutes=minutes, band=band.value, valid_days=days)
    if as_json:
        print(json.dumps(made, ensure_ascii=False, indent=1))
        return
    for each in made["codes"]:
        print(each)


@app.command()
def audit(
    first: Annotated[str | None, typer.Option("--from", metavar="YYYY-MM-DD", help="The first day (default: a month of them).")] = None,
    last: Annotated[str | None, typer.Option("--to", metavar="YYYY-MM-DD", help="The last day (default: today).")] = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Count for an inspection what was blocked at the seats, day by day, without names (CSV)."""
    rows = call_api(state, "GET", "/audit", **{name: day for name, day in (("first", first), ("last", last)) if day})
    print(json.dumps(rows, indent=1) if as_json else audit_csv(AuditRow(**row) for row in rows), end="")


def code(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A person, or a device.")] = None,
    subject: Annotated[str, typer.Option("--open", metavar="WHAT", help="A site, service or category that it opens.")] = "",
    how_long: Annotated[DurationOption, typer.Option("--for", help="For how long that is open.")] = DurationOption.HOUR,
    minutes: Annotated[int | None, typer.Option(min=1, max=1440, help="Minutes on top of today's budget, instead.")] = None,
    of: Annotated[str, typer.Option(metavar="WHAT", help="What the minutes are of, where that has a budget of its own.")] = "",
    request: Annotated[int | None, typer.Option(metavar="ID", help="The request that it answers with a yes, instead of a name.")] = None,
    valid: Annotated[int, typer.Option(min=1, max=1440, help="Minutes within which it must be typed.")] = 15,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a code to read out over the phone: it is typed once, on the block page or the device's own page."""
    if (name is None) == (request is None) or (request is None and bool(subject) == bool(minutes)):
        fail("Say whom the code is for and either --open WHAT or --minutes N; or --request ID alone")
    body: dict[str, object] = {"how_long": how_long.value, "valid_minutes": valid}
    if request is not None:
        body["request"] = request
    else:
        is_person = name in call_api(state, "GET", "/status")["people"]
        body |= {"person" if is_person else "device": name, "subject": of if minutes else subject}
        body |= {"minutes": minutes} if minutes else {}
    made = call_api(state, "POST", "/codes", **body)
    if as_json:
        print(json.dumps(made, ensure_ascii=False, indent=1))
        return
    whose = made["code"]["person"] or made["code"]["device"]
    print(f"{made['digits'][:3]} {made['digits'][3:]}  for {whose}, to be typed until {_clock(made['code']['expires'])}.")


def _clock(instant: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(instant))
