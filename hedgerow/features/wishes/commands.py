"""Commands of wishes."""

from __future__ import annotations

import typer

from hedgerow.app.commands.actions import command_of
from hedgerow.app.commands.options import JsonOption, StateOption, call_api, format_time, print_rows
from hedgerow.features.wishes.actions import close_wish, deny_wish, grant_wish, talk_about_wish, undo_wish

app = typer.Typer(help="Answer what children ask for.", no_args_is_help=True)
app.command("grant")(command_of(grant_wish))
app.command("deny")(command_of(deny_wish))
app.command("talk")(command_of(talk_about_wish))
app.command("close")(command_of(close_wish))
app.command("undo")(command_of(undo_wish))


@app.command("list")
def list_wishes(state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show what children ask for and nobody has answered."""
    rows = call_api(state, "GET", "/wishes")
    cells = (
        (str(row["id"]), row["person"], row["kind"], str(row["minutes"] or row["subject"]), format_time(row["last_at"]))
        for row in rows
    )
    titles = ("wish", "who", "what", "minutes or rule", "asked")
    print_rows({"wishes": rows}, titles, cells, "Nobody has asked for anything.", as_json=as_json)
