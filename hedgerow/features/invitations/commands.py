"""Commands of invitations, and of the accounts that they make."""

from __future__ import annotations

import sys
from typing import Annotated
from urllib.parse import quote, urlencode

import typer

from hedgerow.app.commands.actions import command_of
from hedgerow.app.commands.options import (
    JsonOption,
    StateOption,
    call_api,
    format_time,
    print_json,
    print_rows,
)
from hedgerow.app.commands.setup import is_reachable, terminal_qr
from hedgerow.dashboards.actions.accounts import remove_account
from hedgerow.features.invitations.orders import InvitedRole
from hedgerow.features.invitations.roles import set_role

app = typer.Typer(help="Manage the accounts of the web pages.", no_args_is_help=True)


@app.command()
def invite(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the person, as in the policy.")],
    role: Annotated[InvitedRole, typer.Option("--role", help="The role of the account.")] = InvitedRole.PARENT,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Make an open invitation invalid.")] = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Invite somebody to manage the network with a code that works once, within two days."""
    if withdraw:
        call_api(state, "DELETE", f"/invitations/{quote(name, safe='')}")
        print_json({"withdrawn": name}) if as_json else print(f"The invitation of {name} is invalid.")
        return
    made = call_api(state, "POST", "/invitations", name=name, role=role.value)
    page = f"{call_api(state, 'GET', '/setup')['url']}/invitation"
    link = f"{page}?{urlencode({'name': made['name']})}#{made['code']}"
    if as_json:
        print_json(made | {"url": page, "link": link})
        return
    print(f"on the phone of {made['name']}:  {page}", f"code:  {made['code']}", sep="\n")
    print(f"It works once, until {format_time(made['expires'])}, and is not shown again.")
    if sys.stdout.isatty() and is_reachable(page):
        print(terminal_qr(link), end="")


app.command("role")(command_of(set_role))
app.command("remove")(command_of(remove_account))


@app.command("list")
def list_accounts(state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show who can sign in to the web pages, and who is invited."""
    accounts, invited = call_api(state, "GET", "/accounts"), call_api(state, "GET", "/invitations")
    ends = {row["name"]: format_time(row["expires"]) for row in invited}
    cells = ((row["name"], row["role"], format_time(row["created_at"]), ends.get(row["name"], "")) for row in accounts)
    facts, titles = {"accounts": accounts, "invitations": invited}, ("name", "role", "since", "invited until")
    print_rows(facts, titles, cells, "Nobody has a password yet.", as_json=as_json)
