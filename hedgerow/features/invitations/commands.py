"""Commands of invitations, and of the accounts that they make."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated
from urllib.parse import quote, urlencode

import typer

from hedgerow.app.commands.actions import command_of
from hedgerow.app.commands.options import (
    JsonOption,
    StateOption,
    call_api,
    fail,
    format_time,
    print_json,
    print_result,
    print_rows,
)
from hedgerow.app.commands.setup import is_reachable, terminal_qr
from hedgerow.dashboards.actions.accounts import remove_account
from hedgerow.features.invitations.orders import InvitedRole
from hedgerow.features.invitations.roles import set_role

_SHOWN = 12
"""Characters of an id that are shown."""
_EndOption = Annotated[str, typer.Option("--end", metavar="ID", help="End this one: its id, or how it begins.")]

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


@app.command()
def sessions(end: _EndOption = "", state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show where people are signed in to the web pages, or end one of these sessions."""
    rows = call_api(state, "GET", "/web-sessions")
    if end:
        _end(state, "/web-sessions", _only(rows, end), as_json=as_json)
        return
    cells = (
        (row["id"][:_SHOWN], row["account"], row["device"], row["address"], format_time(row["seen_at"])) for row in rows
    )
    titles = ("id", "account", "device", "address", "last used")
    print_rows({"sessions": rows}, titles, cells, "Nobody is signed in.", as_json=as_json)


@app.command()
def tokens(end: _EndOption = "", state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show the tokens of scripts, or revoke one."""
    rows = call_api(state, "GET", "/tokens")
    if end:
        _end(state, "/tokens", _only(rows, end), as_json=as_json)
        return
    cells = (
        (
            row["id"][:_SHOWN],
            row["name"],
            row["scopes"],
            format_time(row["used_at"]) if row["used_at"] else "",
            row["used_from"],
        )
        for row in rows
    )
    titles = ("id", "name", "scopes", "last used", "from")
    print_rows({"tokens": rows}, titles, cells, "There are no tokens.", as_json=as_json)


def _only(rows: list[dict[str, str]], start: str) -> str:
    """Return the one id that begins so."""
    found = [row["id"] for row in rows if row["id"].startswith(start)]
    if len(found) != 1:
        fail(f"'{start}' is the beginning of {len(found)} ids.")
    return found[0]


def _end(state: Path | None, path: str, id: str, *, as_json: bool) -> None:
    call_api(state, "DELETE", f"{path}/{id}")
    print_result(as_json, {"ended": id}, f"{id[:_SHOWN]} has ended.")
