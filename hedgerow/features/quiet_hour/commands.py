"""Commands of the quiet hour."""

from __future__ import annotations

import typer

from hedgerow.app.commands.actions import command_of
from hedgerow.features.quiet_hour.actions import begin_quiet_hour, end_quiet_hour

app = typer.Typer(help="Close the internet for all children for a while.", no_args_is_help=True)
app.command("begin")(command_of(begin_quiet_hour))
app.command("end")(command_of(end_quiet_hour))
