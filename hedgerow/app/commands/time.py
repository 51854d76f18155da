"""Commands for time: budgets, bonus minutes, homework, a later bedtime, codes, and sessions."""

from __future__ import annotations

from typing import Annotated

import typer

from hedgerow.app.commands.actions import clock_time, command_of, target_of
from hedgerow.app.commands.options import (
    JsonOption,
    OnlyAddressOption,
    StateOption,
    SureOption,
    call_api,
    fail,
    print_json,
    print_result,
    print_rows,
)
from hedgerow.dashboards.actions import access, sessions
from hedgerow.dashboards.actions.orders import PaymentWay
from hedgerow.policies.model import GrantDuration

app = typer.Typer(help="Manage sessions at a café's seats and at shared devices.", no_args_is_help=True)

Seat = Annotated[str, typer.Argument(metavar="SEAT", help="A seat, or a device that several people share.")]


def budgets(state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show how many minutes of each budget are used today, and how many are left."""
    rows = call_api(state, "GET", "/budgets")
    cells = (
        (
            row["whose"],
            row["subject"] or "all use",
            f"{row['used']} min",
            "no limit today" if row["left"] is None else f"{row['left']} min of {row['limit']}",
            clock_time(row["until"], state),
        )
        for row in rows
    )
    print_rows(
        rows, ("who", "for", "used", "left", "resets"), cells, "The policy has no time budgets.", as_json=as_json
    )


bonus = command_of(sessions.bonus)


homework = command_of(access.pause, access.HOMEWORK)
later = command_of(access.postpone_bedtime)


@app.command("open")
def open_seat(
    name: Seat,
    minutes: Annotated[
        float | None, typer.Option(min=1, max=1440, help="How long the session lasts (default: until ended).")
    ] = None,
    band: Annotated[
        str | None,
        typer.Option("--as", metavar="KIND", help="The kind of session at a seat: child, adult, or your own."),
    ] = None,
    person: Annotated[str | None, typer.Option(help="The person who signs in at a shared device.")] = None,
    guest: Annotated[str, typer.Option("--name", help="The guest's name (default: none).")] = "",
    pays: Annotated[
        PaymentWay | None, typer.Option(help="How the guest pays (default: as the policy says, or by --member).")
    ] = None,
    member: Annotated[
        int | None, typer.Option(metavar="NUMBER", min=1, help="The member from whose balance it is paid.")
    ] = None,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="End the session that is at the seat. Without it, a taken seat is refused."),
    ] = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Begin a session."""
    if band is None and person is None:
        fail("Name the guest: --as child, --as adult, or --person NAME")
    chosen = {"minutes": minutes, "band": band, "pays": pays, "member": member, "person": person}
    body = {"name": guest} | {name: value for name, value in chosen.items() if value}
    if replace:
        here = (each["id"] for each in reversed(call_api(state, "GET", "/sessions")) if each["device"] == name)
        body |= {"replaces": next(here, "")}
    session = call_api(state, "POST", f"/sessions/{name}", **body)
    who = person or f"{'an' if (band or '')[:1] in 'aeiou' else 'a'} {band}{f' ({guest})' if guest else ''}"
    print_result(
        as_json, session, f"{who} sits at {name}{f', for {minutes:g} minutes' if minutes else ', until ended'}."
    )


app.command("extend")(command_of(sessions.extend_session))
app.command("pause")(command_of(sessions.pause_session))
app.command("resume")(command_of(sessions.resume_session))
app.command("end")(command_of(sessions.end_session))


def code(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A person, or a device.")] = None,
    subject: Annotated[
        str, typer.Option("--open", metavar="WHAT", help="The site, service or category that it opens.")
    ] = "",
    how_long: Annotated[GrantDuration, typer.Option("--for", help="For how long it opens that.")] = GrantDuration.HOUR,
    minutes: Annotated[
        int | None, typer.Option(min=1, max=1440, help="Extra minutes on top of today's budget, instead of --open.")
    ] = None,
    of: Annotated[
        str, typer.Option(metavar="WHAT", help="The category or service whose budget gets the minutes.")
    ] = "",
    request: Annotated[
        int | None, typer.Option(metavar="ID", help="The request that it approves, instead of NAME.")
    ] = None,
    valid: Annotated[int, typer.Option(min=1, max=1440, help="Minutes until the code expires.")] = 15,
    only_address: OnlyAddressOption = False,
    sure: SureOption = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a code to read out over the phone. It works once, on the block page or the device's own page."""
    if (name is None) == (request is None) or (request is None and bool(subject) == bool(minutes)):
        fail("Give a NAME and either --open WHAT or --minutes N; or --request ID alone")
    body: dict[str, object] = {
        "how_long": how_long.value,
        "valid_minutes": valid,
        "only_address": only_address,
        "sure": sure,
    }
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
    print(
        f"{made['digits'][:3]} {made['digits'][3:]}  for {owner}, valid until {clock_time(made['code']['expires'], state)}."  # noqa: E501
    )
