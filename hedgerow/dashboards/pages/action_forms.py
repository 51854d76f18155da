"""Forms of actions, made of their declarations. A page may ask something before, or show more afterwards."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from annotated_types import Ge
from fastapi import Form, Path, Request
from starlette.responses import Response

from hedgerow.dashboards.actions.action import Action, FormOf, Shown, keyword
from hedgerow.dashboards.api.actions import caller_of, describe

type Handler = Callable[..., Awaitable[Response]]
"""Takes the request, the caller and the action's input."""


def form(action: Action, form: FormOf | None = None) -> Callable[[Handler], Handler]:
    """Mark a method of a page group as what receives an action's form, or another `form` of the same action."""

    def mark(handler: Handler) -> Handler:
        handler.form_of = (action, form or action.form)  # type: ignore[attr-defined]
        return handler

    return mark


def form_endpoint(action: Action, form: FormOf, handler: Handler) -> Handler:
    """Return an endpoint that reads the action's input from a form and calls `handler` with it.

    The field `once` is new with each page, so that the same form has its effect once.
    """

    async def endpoint(request: Request, once: str, **typed: Any) -> Response:
        values = action.input_of({name.removesuffix("_"): value for name, value in typed.items()})
        return await handler(
            request, caller_of(request, f"{request.state.principal.name}\n{once}" if once else ""), **values
        )

    fields = [
        each.replace(
            name=f"{each.name}_", annotation=_typed(each.annotation, form.names.get(each.name, each.name), form.path)
        )
        for each in action.fields
    ]
    once = keyword("once", Annotated[str, Form(max_length=40)], "")
    return describe(endpoint, [keyword("request", Request), *fields, once], Response)


def _typed(kind: Any, name: str, path: str) -> Any:
    """Return the annotation of the field `name` of a form, or of the part of its address that is called so."""
    least = next(
        (
            each.least
            for each in getattr(kind, "__metadata__", ())
            if isinstance(each, Shown) and each.least is not None
        ),
        None,
    )
    limited = kind if least is None else Annotated[kind, Ge(least)]
    return Annotated[limited, Path(alias=name) if f"{{{name}}}" in path else Form(alias=name)]
