"""The commands of a café's members, `hedgerow members`."""

from __future__ import annotations

import typer

from hedgerow.app.commands.actions import command_of
from hedgerow.app.commands.options import JsonOption, StateOption, call_api, print_rows
from hedgerow.features.cafe import member_actions
from hedgerow.features.cafe.cash import amount_text

app = typer.Typer(help="Manage the members of a café and their balances.", no_args_is_help=True)
app.command("add")(command_of(member_actions.add_member))
app.command("deposit")(command_of(member_actions.deposit))
app.command("charge")(command_of(member_actions.charge))
app.command("remove")(command_of(member_actions.remove_member))


@app.command("list")
def list_members(state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show the members and their balances."""
    rows = call_api(state, "GET", "/members")
    cells = ((str(row["number"]), row["name"], amount_text(row["balance"], row["currency"])) for row in rows)
    print_rows(rows, ("number", "name", "balance"), cells, "There are no members.", as_json=as_json)
