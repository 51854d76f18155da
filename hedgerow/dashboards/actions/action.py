"""Declaration of an action: its function, whose signature is the typed input, and the ways by which it is reached."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any, ClassVar, get_type_hints

from hedgerow.dashboards.scopes import AccessScope

if TYPE_CHECKING:
    from hedgerow.dashboards.accounts import Principal


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Base class of orders: the body of a request, and the fields of a form. Unknown keys are errors."""

    __pydantic_config__: ClassVar[Mapping[str, object]] = {"extra": "forbid"}


@dataclass(frozen=True, slots=True)
class Shown:
    """A field of an order as people meet it. `least` is the smallest number for them, where programs may use less.

    Commands take the field as an argument, or as the `option` if that is set.
    """

    help: str = ""
    metavar: str | None = None
    option: str | None = None
    least: int | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """The account or script that asks for an action, from `address`. `key` marks a request to do once.

    `actor` is the name in which it acts: by default that of the account or token.
    """

    principal: Principal
    actor: str
    address: str = ""
    key: str = ""

    @property
    def name(self) -> str:
        """The name of the account or token."""
        return self.principal.name


@dataclass(frozen=True, slots=True)
class UndoForm:
    """The form that undoes another: its path, and names of that one's input by those of its own fields."""

    path: str
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class FormOf:
    """A form at the address `path` of the pages. The page from which it came follows.

    Arguments:
        names: names of the form's fields, by those of the input, where they differ.
        says: a message with what was done. Its values are those of the input, and of an answer that is a mapping. It is
            empty where a page receives the form, which says it.
        undo: the form that undoes it, if one does.
    """

    path: str
    names: Mapping[str, str] = field(default_factory=dict)
    says: str = ""
    undo: UndoForm | None = None


@dataclass(frozen=True, slots=True)
class CommandOf:
    """A command. It takes the fields of the input that are `Shown`.

    Arguments:
        says: makes the sentences of success of those values that its parameters name: what was typed, the `answer` of
            the API, and `clock`, a function that writes an instant as people read it.
        facts: what `--json` prints: what was typed, by its name there. Without any, what the API answers.
        help: what the command does, if it is not the description of the action.
        target: the argument `name` for the device or the person of the input.
        needs_target: the target is required.
        fixed: values of the input that are always the same.
        defaults: values of fields that people may leave out, but programs may not.
    """

    says: Callable[..., str | Iterable[str]]
    facts: Mapping[str, str] = field(default_factory=dict)
    help: str = ""
    target: Shown | None = None
    needs_target: bool = False
    fixed: Mapping[str, object] = field(default_factory=dict)
    defaults: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Action:
    """An action, at `path` of the API. `run` takes the core and the caller, then the names in `path` and an `order`.

    Its annotations are the types of this input and of the result, and its docstring describes it in the API. What it
    raises is said in the same words by page, API and command.

    Arguments:
        status: the status of a success.
        is_once: a request that is repeated with the same `Idempotency-Key`, or by the same form, has its effect once.
    """

    run: Callable[..., Awaitable[Any]]
    method: str
    path: str
    access: AccessScope = AccessScope.OPERATE
    status: int = 204
    is_once: bool = False
    form: FormOf | None = None
    command: CommandOf | None = None

    @property
    def input(self) -> dict[str, Any]:
        """The types of the input, by name: those of the names in `path`, and of the order."""
        hints = _types_of(self.run)
        return {name: hints[name] for name in list(signature(self.run).parameters)[2:]}

    @property
    def fields(self) -> list[Parameter]:
        """The single fields of the input, those of the order included, as parameters that are passed by name."""
        kinds = self.input
        order = kinds.pop("order", Order)
        kinds |= _types_of(order)
        defaults = {
            each.name: each.default for each in dataclasses.fields(order) if each.default is not dataclasses.MISSING
        }
        names = [*self.names, *(each.name for each in dataclasses.fields(order))]
        return [keyword(name, kinds[name], defaults.get(name, Parameter.empty)) for name in names]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the input that are in `path`."""
        return tuple(name for name in self.input if name != "order")

    def input_of(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the input that has the values of these fields."""
        found = {name: values[name] for name in self.names}
        order = self.input.get("order")
        return (
            found
            if order is None
            else found | {"order": order(**{name: values[name] for name in values if name not in found})}
        )


@cache
def _types_of(declared: Callable[..., Any]) -> Mapping[str, Any]:
    """Return the types in the annotations of a function or class, which name types of other modules."""
    return get_type_hints(declared, include_extras=True)


def keyword(name: str, kind: Any, default: Any = Parameter.empty) -> Parameter:
    """Return a parameter that is passed by name. Without a default it is required."""
    return Parameter(name, Parameter.KEYWORD_ONLY, annotation=kind, default=default)


def action(method: str, path: str, **options: Any) -> Callable[[Callable[..., Awaitable[Any]]], Action]:
    """Declare the decorated function as an `Action`, with its other fields as `options`. Tuples name all actions."""
    return lambda run: Action(run, method, path, **options)
