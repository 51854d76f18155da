"""Comparison of the private parts of libraries with those that Hedgerow was built on.

A library whose private names Hedgerow uses is pinned to an exact version. Another version is refused with a text that names the difference,
before anything goes wrong silently. Targets are written as "module:qualified name".
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from types import CodeType
from typing import Any


class IncompatibleLibraryError(Exception):
    """An installed library is not the one that Hedgerow was built on. The text says which, and how to mend it."""


def require(purpose: str, tested: Mapping[str, str], differences: Sequence[str]) -> None:
    """Raise IncompatibleLibraryError if there are differences. `tested` maps libraries to versions, `purpose` completes "cannot …"."""
    if differences:
        installed = " and ".join(f"{name} {_installed(name)}" for name in tested)
        wanted = " ".join(f"{name}=={number}" for name, number in tested.items())
        raise IncompatibleLibraryError(
            f"Hedgerow cannot {purpose} with {installed}: {'; '.join(differences)}. Install the versions it was made for: {wanted}."
        )


def resolve(target: str) -> Any:
    """Return what a target names. Raises ImportError or AttributeError."""
    module, _, path = target.partition(":")
    value: Any = import_module(module)
    for name in filter(None, path.split(".")):
        value = getattr(value, name)
    return value


def differences(parameters: Mapping[str, str | None], attributes: Mapping[str, str]) -> Iterator[str]:
    """Yield what differs. `parameters` are those of callables (None: only existence), `attributes` those that a class's code must use."""
    for target, expected in [*parameters.items(), *attributes.items()]:
        try:
            value = resolve(target)
        except (ImportError, AttributeError):
            yield f"{target} is missing"
            continue
        if target in attributes:
            used = {name for each in value.__mro__ for code in _codes_of(each) for name in code.co_names}
            yield from (f"{target} has no attribute {name}" for name in attributes[target].split() if name not in used | set(dir(value)))
        elif expected is not None and (actual := " ".join(inspect.signature(value).parameters)) != expected:
            yield f"{target} takes ({actual.replace(' ', ', ')}) instead of ({expected.replace(' ', ', ')})"


def _codes_of(kind: type) -> Iterator[CodeType]:
    for member in vars(kind).values():
        function = getattr(member, "__func__", member)
        function = getattr(function, "fget", function) or function
        code = getattr(inspect.unwrap(function), "__code__", None) if callable(function) else None
        if code is not None:
            yield code


def _installed(name: str) -> str:
    from importlib.metadata import PackageNotFoundError, version  # a megabyte that only the refusal needs

    try:
        return version(name)
    except PackageNotFoundError:
        return "(not installed)"
