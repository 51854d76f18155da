"""Commands for the accounts of the web pages. Features add invitations, roles and a list."""

from __future__ import annotations

import typer

from hedgerow.app.commands.actions import command_of
from hedgerow.dashboards.actions import accounts

app = typer.Typer(help="Manage the accounts of the web pages.", no_args_is_help=True)

app.command("remove")(command_of(accounts.remove_account))
