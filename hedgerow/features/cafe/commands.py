"""The commands of a café's counter, below `hedgerow seat`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from hedgerow.app.commands.actions import clock_time, command_of
from hedgerow.app.commands.options import JsonOption, StateOption, call_api, call_api_text, print_json, print_rows
from hedgerow.features.cafe import actions, sale_pages, screen_actions
from hedgerow.features.cafe.cash import amount_text

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

    `seat count` records what is there. It takes the numbers in the last column; with `--json`, all amounts are like
    these, in the smallest unit of the currency.
    """
    found = call_api(state, "GET", "/counter/till", **({} if currency is None else {"currency": currency}))
    cells = (
        ("left by the last count", amount_text(found["left"], found["currency"]), f"--last {found['last']}"),
        *((f"taken by {name}", amount_text(amount, found["currency"]), "") for name, amount in found["by"].items()),
        ("expected", amount_text(found["expected"], found["currency"]), f"--expected {found['expected']}"),
        *(("also expected", amount_text(rest, other), "") for other, rest in found["others"].items()),
    )
    print_rows(found, ("what", "amount", "for seat count"), cells, as_json=as_json)


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

    It has sessions, vouchers and takings. With `--json`, amounts are in the currency's smallest unit.
    """
    choice = {"first": first, "last": last, "person": person}
    found = call_api(state, "GET", "/counter/report", **{name: value for name, value in choice.items() if value})
    numbers = ("vouchers_used", "adult_sessions", "early_ends", "undone", "credits", "wrong_pins", "outage_minutes")
    own = call_api(state, "GET", "/counter/till")["currency"]
    cells = (
        *(
            (f"{what}, {row['kind']}", str(row["count"]), str(row["minutes"]), amount_text(row["value"], own))
            for what in ("sessions", "vouchers")
            for row in found[what]
        ),
        *((row["article"], str(row["count"]), "", amount_text(row["value"], own)) for row in found["articles"]),
        *((name.replace("_", " "), str(found[name]), "", "") for name in numbers),
        *(
            (what, "", "", amount_text(amount, currency))
            for name, what in (
                ("takings", "takings"),
                ("paid_in", "of that paid into balances"),
                ("from_balances", "beside that paid from balances"),
            )
            for currency, amount in found[name].items()
        ),
        *(
            (f"unpaid, {row['seat']} ({row['actor']})", "", "", amount_text(row["amount"], row["currency"]))
            for row in found["unpaid"]
        ),
        *(
            (
                f"till counted by {row['actor']}, expected {amount_text(row['expected'], row['currency'])}, "
                f"difference {amount_text(row['difference'], row['currency'])}",
                "",
                "",
                amount_text(row["counted"], row["currency"]),
            )
            for row in found["counts"]
        ),
    )
    print_rows(found, ("what", "number", "minutes", "value"), cells, as_json=as_json)
