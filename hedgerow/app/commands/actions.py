"""Commands made of the declarations of actions: they call the API, and print the sentence of success."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import cache, partial
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, get_args
from urllib.parse import quote
from zoneinfo import ZoneInfo

import typer
from annotated_types import Ge, Le

from hedgerow.app.commands.options import JsonOption, StateOption, call_api, print_result
from hedgerow.dashboards.actions.action import Action, CommandOf, Shown, keyword


def command_of(action: Action, declared: CommandOf | None = None) -> Callable[..., None]:
    """Return the function of an action's command, or of another one that is `declared` for the same action,
    for typer.
    """
    declared = declared or action.command
    assert declared is not None, action.path
    says = declared.says

    def command(**typed: Any) -> None:
        state, as_json = typed.pop("state"), typed.pop("as_json")
        body = dict(typed)
        if declared.target is not None:
            body |= target_of(state, body.pop("name"))
        path = action.path.format_map({name: quote(str(body.pop(name)), safe="") for name in action.names})
        answer = call_api(state, action.method, path, **body, **declared.fixed)
        known = typed | {"answer": answer, "clock": partial(clock_time, state=state)}
        told = says(**{name: known[name] for name in signature(says).parameters})
        facts = {name: typed[field] for name, field in declared.facts.items()} or answer
        print_result(as_json, facts, *([told] if isinstance(told, str) else told))

    parameters = [*_parameters(action, declared), keyword("state", StateOption, None)]
    parameters.append(keyword("as_json", JsonOption, False))
    command.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    command.__doc__ = declared.help or action.run.__doc__
    return command


def _parameters(action: Action, declared: CommandOf) -> list[Parameter]:
    """Return the parameters of a command: its target, and the fields of the input that are `Shown`."""
    found = []
    if declared.target is not None:
        kind: Any = str if declared.needs_target else str | None
        unnamed = Parameter.empty if declared.needs_target else None
        found.append(keyword("name", _option("name", Annotated[kind, declared.target]), unnamed))
    for field in action.fields:
        if field.name not in declared.fixed and any(isinstance(each, Shown) for each in get_args(field.annotation)):
            default = declared.defaults.get(field.name, field.default)
            found.append(keyword(field.name, _option(field.name, field.annotation), default))
    return found


def _option(name: str, annotated: Any) -> Any:
    """Return the annotation of a parameter as typer reads it."""
    kind, *limits = get_args(annotated)
    shown = next(each for each in limits if isinstance(each, Shown))
    least: Any = next((each.ge for each in limits if isinstance(each, Ge)), shown.least)
    most: Any = next((each.le for each in limits if isinstance(each, Le)), None)
    if shown.option is None:
        metavar = shown.metavar or name.upper()
        return Annotated[kind, typer.Argument(metavar=metavar, help=shown.help, min=least, max=most)]
    return Annotated[kind, typer.Option(shown.option, metavar=shown.metavar, help=shown.help, min=least, max=most)]


def target_of(state: Path | None, name: str | None) -> dict[str, str]:
    """Return the API's field for a name: a person, otherwise a device or an address."""
    if name is None:
        return {}
    people = call_api(state, "GET", "/status")["people"]
    return {"person": name} if name in people else {"device": name}


def clock_time(instant: float, state: Path | None) -> str:
    """Format an instant in the time zone of the policy."""
    return f"{datetime.fromtimestamp(instant, _zone(state)):%Y-%m-%d %H:%M}"


@cache
def _zone(state: Path | None) -> ZoneInfo:
    return ZoneInfo(call_api(state, "GET", "/status")["timezone"])
