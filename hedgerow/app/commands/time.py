"""Commands for time: budgets, bonus minutes, homework, a later bedtime, codes, and the seats of a café."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer
from rich.table import Table

from hedgerow.app.commands.actions import clock_time, command_of, target_of
from hedgerow.app.commands.options import (
    JsonOption,
    StateOption,
    add_row,
    call_api,
    fail,
    print_json,
    print_result,
    print_table,
)
from hedgerow.dashboards.actions import access, sessions
from hedgerow.policies.model import GrantDuration

app = typer.Typer(help="Manage sessions at a café's seats and at shared devices.", no_args_is_help=True)

Seat = Annotated[str, typer.Argument(metavar="SEAT", help="A seat, or a device that several people share.")]


def budgets(state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show how many minutes of each budget are used today, and how many are left."""
    rows = call_api(state, "GET", "/budgets")
    if as_json:
        print_json(rows)
        return
    table = Table("who", "for", "used", "left", "resets")
    for row in rows:
        left = "no limit today" if row["left"] is None else f"{row['left']} min of {row['limit']}"
        add_row(table, row["whose"], row["subject"] or "all use", f"{row['used']} min", left, clock_time(row["until"], state))
    print_table(table, "The policy has no time budgets.")


bonus = command_of(sessions.bonus)


homework = command_of(access.pause, access.HOMEWORK)
later = command_of(access.postpone_bedtime)


@app.command("open")
def open_seat(
    name: Seat,
    minutes: Annotated[float | None, typer.Option(min=1, max=1440, help="How long the session lasts (default: until ended).")] = None,
    band: Annotated[
        str | None, typer.Option("--as", metavar="KIND", help="The kind of session at a seat: child, adult, or your own.")
    ] = None,
    person: Annotated[str | None, typer.Option(help="The person who signs in at a shared device.")] = None,
    guest: Annotated[str, typer.Option("--name", help="The guest's name (default: none).")] = "",
    replace: Annotated[
        bool, typer.Option("--replace", help="End the session that is at the seat. Without it, a taken seat is refused.")
    ] = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Begin a session."""
    if band is None and person is None:
        fail("Name the guest: --as child, --as adult, or --person NAME")
    body = {"name": guest} | ({"minutes": minutes} if minutes else {})
    body |= {"band": band} if band is not None else {}
    if replace:
        here = (each["id"] for each in reversed(call_api(state, "GET", "/sessions")) if each["device"] == name)
        body |= {"replaces": next(here, "")}
    session = call_api(state, "POST", f"/sessions/{name}", **body, **({"person": person} if person else {}))
    who = person or f"{'an' if (band or '')[:1] in 'aeiou' else 'a'} {band}{f' ({guest})' if guest else ''}"
    print_result(as_json, session, f"{who} sits at {name}{f', for {minutes:g} minutes' if minutes else ', until ended'}.")


app.command("extend")(command_of(sessions.extend_session))
app.command("move")(command_of(sessions.move_session))
app.command("pause")(command_of(sessions.pause_session))
app.command("resume")(command_of(sessions.resume_session))
app.command("end")(command_of(sessions.end_session))


@app.command("list")
def list_seats(state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show the open sessions."""
    rows = call_api(state, "GET", "/sessions")
    traffic = {each["seat"]: each for each in call_api(state, "GET", "/counter/traffic")}
    if as_json:
        print_json([row | {"traffic": traffic.get(row["device"])} for row in rows])
        return
    table = Table("seat or device", "who", "until", "Mbit/s to it", "Mbit/s from it")
    for row in rows:
        who = row["person"] or f"{row['profile']}{f' ({row["name"]})' if row['name'] else ''}"
        rates = [_megabits(traffic.get(row["device"]), direction) for direction in ("down", "up")]
        add_row(table, row["device"], who, clock_time(row["ends"], state) if row["ends"] else "ended manually", *rates)
    print_table(table, "No session is open.")


def _megabits(traffic: Mapping[str, float | None] | None, direction: str) -> str:
    """Return what a seat receives or sends, with its limit, in Mbit/s; empty where nothing counts it."""
    if traffic is None:
        return ""
    limit = traffic[f"{direction}_limit"]
    return f"{(traffic[direction] or 0) / 1e6:.1f}{f' of {limit / 1e6:g}' if limit else ''}"


@app.command()
def vouchers(
    count: Annotated[int, typer.Argument(metavar="COUNT", min=1, max=200, help="How many codes.")],
    minutes: Annotated[int, typer.Option(min=1, max=1440, help="Length of each session in minutes.")],
    band: Annotated[str, typer.Option("--as", metavar="KIND", help="The kind of session: child, adult, or your own.")],
    days: Annotated[int, typer.Option(min=1, max=366, help="Days until the codes expire.")] = 30,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make vouchers: codes to print, each of which opens a seat once."""
    made = call_api(state, "POST", "/vouchers", count=count, minutes=minutes, band=band, valid_days=days)
    if as_json:
        print_json(made)
        return
    for voucher in made["codes"]:
        print(voucher)


@app.command()
def report(
    first: Annotated[str | None, typer.Option("--from", metavar="YYYY-MM-DD", help="The first day (default: the last).")] = None,
    last: Annotated[str | None, typer.Option("--to", metavar="YYYY-MM-DD", help="The last day (default: today).")] = None,
    person: Annotated[str | None, typer.Option("--by", metavar="NAME", help="Only what this person did at the counter.")] = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the counter's report of a day or several: sessions, vouchers, and takings in the currency's smallest unit."""
    choice = {"first": first, "last": last, "person": person}
    found = call_api(state, "GET", "/counter/report", **{name: value for name, value in choice.items() if value})
    if as_json:
        print_json(found)
        return
    table = Table("what", "number", "minutes", "value")
    for what in ("sessions", "vouchers"):
        for row in found[what]:
            add_row(table, f"{what}, {row['kind']}", str(row["count"]), str(row["minutes"]), str(row["value"]))
    for name in ("vouchers_used", "adult_sessions", "early_ends", "credits", "wrong_pins"):
        add_row(table, name.replace("_", " "), str(found[name]), "", "")
    for currency, amount in found["takings"].items():
        add_row(table, f"takings, {currency}", "", "", str(amount))
    print_table(table, "")


def code(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A person, or a device.")] = None,
    subject: Annotated[str, typer.Option("--open", metavar="WHAT", help="The site, service or category that it opens.")] = "",
    how_long: Annotated[GrantDuration, typer.Option("--for", help="For how long it opens that.")] = GrantDuration.HOUR,
    minutes: Annotated[int | None, typer.Option(min=1, max=1440, help="Extra minutes on top of today's budget, instead of --open.")] = None,
    of: Annotated[str, typer.Option(metavar="WHAT", help="The category or service whose budget gets the minutes.")] = "",
    request: Annotated[int | None, typer.Option(metavar="ID", help="The request that it approves, instead of NAME.")] = None,
    valid: Annotated[int, typer.Option(min=1, max=1440, help="Minutes until the code expires.")] = 15,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a code to read out over the phone. It works once, on the block page or the device's own page."""
    if (name is None) == (request is None) or (request is None and bool(subject) == bool(minutes)):
        fail("Give a NAME and either --open WHAT or --minutes N; or --request ID alone")
    body: dict[str, object] = {"how_long": how_long.value, "valid_minutes": valid}
    if request is not None:
        body["request"] = request
    else:
        body |= target_of(state, name) | {"subject": of if minutes else subject}
        body |= {"minutes": minutes} if minutes else {}
    made = call_api(state, "POST", "/codes", **body)
    if as_json:
        print_json(made)
        return
    owner = made["code"]["person"] or made["code"]["device"]
    print(f"{made['digits'][:3]} {made['digits'][3:]}  for {owner}, valid until {clock_time(made['code']['expires'], state)}.")
