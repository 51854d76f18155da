"""Commands of agreements."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import typer

from hedgerow.app.commands.actions import command_of
from hedgerow.app.commands.options import JsonOption, StateOption, call_api, format_time, print_result, print_rows
from hedgerow.features.agreement.actions import say_yes, set_next_look

app = typer.Typer(help="Read and sign the rules that you have agreed on with a child.", no_args_is_help=True)
app.command("yes")(command_of(say_yes))
app.command("look")(command_of(set_next_look))

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The child.")]


@app.command("show")
def show_agreement(name: NameArgument, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show the rules of a child in words, who has said yes to them, and the next look."""
    found = call_api(state, "GET", f"/agreements/{quote(name, safe='')}")
    words = {True: "yes", False: "not yet"}
    said = f"{name}: {words[found['child_said_yes']]}; parents: {words[found['parent_said_yes']]}."
    look = f"Next look: {format_time(found['look_at'])}." if found["look_at"] else "There is no next look yet."
    print_result(as_json, found, *found["terms"], said, look, f"Terms: {found['seen']}")


@app.command("list")
def list_agreements(state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show which children have agreed on their rules with their parents."""
    rows = call_api(state, "GET", "/agreements")
    cells = ((row["person"], _standing(row), format_time(row["look_at"]) if row["look_at"] else "") for row in rows)
    titles = ("who", "agreement", "next look")
    print_rows({"agreements": rows}, titles, cells, "There are no children in the policy.", as_json=as_json)


def _standing(row: dict[str, bool]) -> str:
    if row["is_due"]:
        return "to look at again"
    if row["is_agreed"]:
        return "both have said yes"
    if row["child_said_yes"] or row["parent_said_yes"]:
        return "waits for the child" if row["parent_said_yes"] else "waits for the parents"
    return "changed since" if row["is_changed"] else "not agreed yet"
