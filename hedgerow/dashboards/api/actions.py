"""JSON routes of actions, made of their declarations."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from inspect import Parameter, Signature, signature
from typing import Annotated, Any, get_type_hints

from fastapi import Depends, Request

from hedgerow.dashboards.actions.action import Action, Caller, keyword
from hedgerow.dashboards.api.schema import RequestKey
from hedgerow.dashboards.guard import peer_address
from hedgerow.dashboards.routes import ScopedRouter

_NO_CONTENT = 204


def caller_of(request: Request, key: str = "") -> Caller:
    """Return the signed-in account that makes a request. `key` is that of a request that has its effect once."""
    return Caller(
        request.state.principal, request.app.state.actor_of(request.state.principal), peer_address(request.scope), key
    )


def _caller(request: Request) -> Caller:
    return caller_of(request)


def _caller_once(request: Request, key: RequestKey) -> Caller:
    return caller_of(request, key)


def add_actions(api: ScopedRouter, actions: Iterable[Action], core: object) -> None:
    """Add the routes. `core` is what the actions' functions get."""
    for action in actions:
        api.serve(action.method, action.path, action.access, status_code=action.status)(_endpoint(action, core))


def _endpoint(action: Action, core: object) -> Callable[..., Awaitable[Any]]:
    async def endpoint(caller: Caller, **values: Any) -> Any:
        result = await action.run(core, caller, **values)
        return None if action.status == _NO_CONTENT else result

    caller = keyword("caller", Annotated[Caller, Depends(_caller_once if action.is_once else _caller)])
    result = None if action.status == _NO_CONTENT else get_type_hints(action.run)["return"]
    endpoint.__name__, endpoint.__doc__ = action.run.__name__, action.run.__doc__
    declared = signature(action.run).parameters
    own = (keyword(name, kind, declared[name].default) for name, kind in action.input.items())
    return describe(endpoint, [caller, *own], result)


def describe[F: Callable[..., Any]](endpoint: F, parameters: Sequence[Parameter], result: Any) -> F:
    """Give an endpoint its parameters, by which FastAPI reads a request, and the type of its result."""
    endpoint.__signature__ = Signature(parameters, return_annotation=result)  # type: ignore[attr-defined]
    return endpoint
