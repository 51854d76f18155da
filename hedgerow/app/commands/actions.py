"""Commands made of the declarations of actions: they call the API, and print the sentence of success."""

from __future__ import annotations

from collections.abc import Callable
from inspect import Signature
from typing import Annotated, Any, get_args
from urllib.parse import quote

import typer
from annotated_types import Ge, Le

from hedgerow.app.commands.options import JsonOption, StateOption, call_api, print_result
from hedgerow.dashboards.actions.action import Action, Shown, keyword


def command_of(action: Action) -> Callable[..., None]:
    """Return the function of an action's command, for typer. Its parameters are the fields of the input, each of which is `Shown`."""
    declared = action.command
    assert declared is not None, action.path

    def command(**typed: Any) -> None:
        state, as_json = typed.pop("state"), typed.pop("as_json")
        path = action.path.format_map({name: quote(typed[name], safe="") for name in action.names})
        answer = call_api(state, action.method, path, **{name: typed[name] for name in typed if name not in action.names})
        facts = {name: typed[field] for name, field in declared.facts.items()} or answer
        print_result(as_json, facts, declared.says(**typed))

    parameters = [each.replace(annotation=_option(each.name, each.annotation)) for each in action.fields]
    parameters += [keyword("state", StateOption, None), keyword("as_json", JsonOption, False)]
    command.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    command.__doc__ = action.run.__doc__
    return command


def _option(name: str, annotated: Any) -> Any:
    """Return the annotation of a parameter as typer reads it."""
    kind, *limits = get_args(annotated)
    shown = next(each for each in limits if isinstance(each, Shown))
    least: Any = next((each.ge for each in limits if isinstance(each, Ge)), shown.least)
    most: Any = next((each.le for each in limits if isinstance(each, Le)), None)
    if shown.option is None:
        return Annotated[kind, typer.Argument(metavar=shown.metavar or name.upper(), help=shown.help, min=least, max=most)]
    return Annotated[kind, typer.Option(shown.option, metavar=shown.metavar, help=shown.help, min=least, max=most)]
