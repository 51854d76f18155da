"""The commands of a café's counter, below `hedgerow seat`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from hedgerow.app.commands.actions import clock_time, command_of
from hedgerow.app.commands.options import JsonOption, StateOption, call_api, call_api_text, print_json, print_rows
from hedgerow.features.cafe import actions, sale_pages, screen_actions

move = command_of(actions.move_session)
lock = command_of(screen_actions.lock_screen)
unlock = command_of(screen_actions.unlock_screen)
message = command_of(screen_actions.message_screen)
shutdown = command_of(screen_actions.shut_down_seat)
wake = command_of(screen_actions.wake_seat)
sell = command_of(sale_pages.sell)
pay = command_of(actions.pay)
count = command_of(actions.count_till)


def till(
    currency: Annotated[
        str | None, typer.Option(metavar="EUR", help="The currency (default: that of the policy).")
    ] = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what should be in the till now: what the last count left there, and what was taken since, by whom.

    Amounts are in the smallest unit of the currency. `seat count` records what is there.
    """
    found = call_api(state, "GET", "/counter/till", **({} if currency is None else {"currency": currency}))
    cells = (
        ("left by the last count", str(found["left"])),
        *((f"taken by {name}", str(amount)) for name, amount in found["by"].items()),
        ("expected", str(found["expected"])),
        *((f"also expected, {other or 'without a currency'}", str(rest)) for other, rest in found["others"].items()),
        ("last count", str(found["last"])),
    )
    print_rows(found, ("what", found["currency"]), cells, as_json=as_json)


def program(
    server: Annotated[str, typer.Argument(metavar="URL", help="Hedgerow's pages, such as http://192.168.60.1:8053.")],
    state: StateOption = None,
) -> None:
    """Print the program for the screens of the seats, which knows the address and the site's key."""
    print(call_api_text(state, "/screens/program", server=server.rstrip("/")), end="")


def list_seats(state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show the open sessions."""
    rows = call_api(state, "GET", "/sessions")
    traffic = {each["seat"]: each for each in call_api(state, "GET", "/counter/traffic")}
    facts = [row | {"traffic": traffic.get(row["device"])} for row in rows]
    cells = (
        (
            row["device"],
            row["person"] or f"{row['profile']}{f' ({row["name"]})' if row['name'] else ''}",
            clock_time(row["ends"], state) if row["ends"] else "ended manually",
            *(_megabits(row["traffic"], direction) for direction in ("down", "up")),
        )
        for row in facts
    )
    titles = ("seat or device", "who", "until", "Mbit/s to it", "Mbit/s from it")
    print_rows(facts, titles, cells, "No session is open.", as_json=as_json)


def _megabits(traffic: Mapping[str, float | None] | None, direction: str) -> str:
    """Return what a seat receives or sends, with its limit, in Mbit/s; empty where nothing counts it."""
    if traffic is None:
        return ""
    limit = traffic[f"{direction}_limit"]
    return f"{(traffic[direction] or 0) / 1e6:.1f}{f' of {limit / 1e6:g}' if limit else ''}"


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


def report(
    first: Annotated[
        str | None, typer.Option("--from", metavar="YYYY-MM-DD", help="The first day (default: the last).")
    ] = None,
    last: Annotated[
        str | None, typer.Option("--to", metavar="YYYY-MM-DD", help="The last day (default: today).")
    ] = None,
    person: Annotated[
        str | None, typer.Option("--by", metavar="NAME", help="Only what this person did at the counter.")
    ] = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the counter's report of a day or several.

    It has sessions, vouchers, and takings in the currency's smallest unit.
    """
    choice = {"first": first, "last": last, "person": person}
    found = call_api(state, "GET", "/counter/report", **{name: value for name, value in choice.items() if value})
    numbers = ("vouchers_used", "adult_sessions", "early_ends", "credits", "wrong_pins", "outage_minutes")
    cells = (
        *(
            (f"{what}, {row['kind']}", str(row["count"]), str(row["minutes"]), str(row["value"]))
            for what in ("sessions", "vouchers")
            for row in found[what]
        ),
        *((row["article"], str(row["count"]), "", str(row["value"])) for row in found["articles"]),
        *((name.replace("_", " "), str(found[name]), "", "") for name in numbers),
        *(
            (f"{what}, {currency}", "", "", str(amount))
            for name, what in (
                ("takings", "takings"),
                ("paid_in", "of that paid into balances"),
                ("from_balances", "beside that paid from balances"),
            )
            for currency, amount in found[name].items()
        ),
        *((f"unpaid, {row['seat']} ({row['actor']})", "", "", str(row["amount"])) for row in found["unpaid"]),
        *(
            (
                f"till counted by {row['actor']}, expected {row['expected']}, difference {row['difference']:+}",
                "",
                "",
                str(row["counted"]),
            )
            for row in found["counts"]
        ),
    )
    print_rows(found, ("what", "number", "minutes", "value"), cells, as_json=as_json)
