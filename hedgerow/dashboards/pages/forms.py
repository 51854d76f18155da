"""Forms that are shown again, with what was typed and the problem beside its field, when they cannot be fulfilled."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request
from starlette.responses import Response

from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.words.languages import language_of

UNPROCESSABLE = 422
MAX_VALUES, MAX_LENGTH = 400, 300


@dataclass(frozen=True, slots=True)
class TypedForm:
    """A form's values as they were typed. `problem` is a sentence about the field `field`; `form` identifies the form on its page."""

    form: str = ""
    fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    field: str = ""
    problem: str = ""

    def value(self, form: str, name: str, saved: object = "") -> object:
        """Return what was typed into a field of a form, or the saved value."""
        return next(iter(self.fields.get(name, ())), "") if form == self.form else saved

    def values(self, form: str, name: str, saved: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Return what was chosen in a field with several values, or the saved ones."""
        return self.fields.get(name, ()) if form == self.form else saved

    def problem_of(self, form: str, name: str) -> str:
        """Return the problem of a field, or an empty text."""
        return self.problem if (form, name) == (self.form, self.field) else ""


NOTHING_TYPED = TypedForm()


@contextlib.contextmanager
def at_field(name: str) -> Iterator[None]:
    """Attribute invalid input inside the block to a field of the form."""
    try:
        yield
    except InvalidInput as error:
        error.at(name)
        raise


type Handler = Callable[..., Awaitable[Response]]
"""A method of a page group that receives a form: the request by keyword, then the fields."""

type ShowAgain = Callable[[Any, Request, TypedForm, dict[str, Any]], Awaitable[Response]]
"""Renders a page with a typed form, given the page group and the handler's other arguments."""


def keeps_input(form: str, field: str, show: ShowAgain) -> Callable[[Handler], Handler]:
    """Decorate the handler of a form: invalid input shows the page again with the form as it was typed.

    Arguments:
        form: identifies the form on its page. A field `form` of the form itself takes precedence, where a page has several of a kind.
        field: the field that a problem belongs to, if it names none.
    """

    def decorate(handler: Handler) -> Handler:
        @functools.wraps(handler)
        async def handle(group: object, request: Request, **values: Any) -> Response:
            try:
                return await handler(group, request, **values)
            except InvalidInput as error:
                typed = await _typed(request, form, error.field or field, language_of(request).gettext(error.text, **error.values))
            return await show(group, request, typed, values)

        return handle

    return decorate


async def _typed(request: Request, form: str, field: str, problem: str) -> TypedForm:
    fields: dict[str, tuple[str, ...]] = {}
    for name, value in (await request.form()).multi_items()[:MAX_VALUES]:
        fields[name] = (*fields.get(name, ()), str(value)[:MAX_LENGTH])
    return TypedForm(next(iter(fields.get("form", ())), form), fields, field, problem)
