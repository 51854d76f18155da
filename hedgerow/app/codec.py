"""Frozen dataclasses as JSON and back, for files that one process writes and others read.

pydantic would do it too and weigh ten megabytes in every worker. What goes in: dataclasses, tuples, dictionaries with text as keys, text,
numbers, booleans, None, enums of text, and what is read from its own text: paths, dates, networks.
"""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import date
from enum import Enum
from functools import cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

from hedgerow.policies.text.gc_pause import paused_gc

type Read = Callable[[Any], Any]

_FROM_TEXT: dict[object, Callable[[str], object]] = {
    Path: Path,
    date: date.fromisoformat,
    frozenset((IPv4Network, IPv6Network)): ip_network,
}


def encode(value: Any) -> bytes:
    """A dataclass as one object. What has its default is left out: most of a policy has, and `decode` puts it there again."""
    return json.dumps(value, default=_plain, separators=(",", ":")).encode()


def _plain(value: Any) -> object:
    if not is_dataclass(value):
        return str(value)
    told = ((name, getattr(value, name), default) for name, default in _defaults(value.__class__))
    return {name: each for name, each, default in told if each is not default and each != default}


@cache
def _defaults(noun: type) -> tuple[tuple[str, object], ...]:
    return tuple((field.name, field.default) for field in fields(noun))


def decode[T](noun: type[T], data: bytes) -> T:
    """What `encode` made of a `noun`. Raises ValueError for everything else: a field missing, unknown or of another type."""
    kind: Any = noun
    read = _reader(kind)
    try:
        with paused_gc():
            found: T = read(json.loads(data))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a {noun.__name__}: {error}") from error
    return found


@cache
def _reader(wanted: Any) -> Read:
    """How a value of this type is read; TypeError for a type that is not among those above."""
    if isinstance(wanted, typing.TypeAliasType):
        return _reader(wanted.__value__)
    if isinstance(wanted, typing.NewType):
        return _reader(wanted.__supertype__)
    if typing.get_origin(wanted) in (types.UnionType, typing.Union):
        return _union_reader(typing.get_args(wanted))
    if wanted in _FROM_TEXT:
        return _text_reader(_FROM_TEXT[wanted])
    if is_dataclass(wanted):
        return _dataclass_reader(wanted)
    if isinstance(wanted, type) and issubclass(wanted, Enum):
        return wanted
    inside = typing.get_args(wanted)
    if typing.get_origin(wanted) is tuple:
        return _tuple_reader(inside)
    if typing.get_origin(wanted) is dict:
        return _dict_reader(_reader(inside[1]))
    if wanted in (str, int, float, bool):
        return _plain_reader(wanted)
    raise TypeError(f"{wanted} cannot be read from JSON")


def _dataclass_reader(noun: Any) -> Read:
    hints = typing.get_type_hints(noun)
    readers = {field.name: _reader(hints[field.name]) for field in fields(noun)}
    needed = {field.name for field in fields(noun) if field.default is MISSING and field.default_factory is MISSING}

    def read(value: Mapping[str, Any]) -> Any:
        if missing := needed - value.keys():
            raise KeyError(f"{noun.__name__} has no {missing.pop()}")
        return noun(**{name: readers[name](each) for name, each in value.items()})

    return read


def _union_reader(kinds: Iterable[Any]) -> Read:
    """Of something or None, or of networks: there are no other unions."""
    some = tuple(kind for kind in kinds if kind is not types.NoneType)
    read = _reader(some[0]) if len(some) == 1 else _text_reader(_FROM_TEXT[frozenset(some)])
    return lambda value: None if value is None else read(value)


def _tuple_reader(kinds: tuple[Any, ...]) -> Read:
    if kinds[-1] is Ellipsis:
        each = _reader(kinds[0])
        return lambda value: tuple(map(each, _checked(value, list)))
    readers = tuple(map(_reader, kinds))
    return lambda value: tuple(read(item) for read, item in zip(readers, _checked(value, list), strict=True))


def _dict_reader(each: Read) -> Read:
    return lambda value: {key: each(item) for key, item in value.items()}


def _text_reader(parse: Callable[[str], object]) -> Read:
    return lambda value: parse(_checked(value, str))


def _plain_reader(kind: type) -> Read:
    if kind is float:
        return lambda value: float(value) if type(value) is int else _checked(value, float)
    return lambda value: value if type(value) is kind else _checked(value, kind)


def _checked[T](value: Any, kind: type[T]) -> T:
    if type(value) is not kind:
        raise TypeError(f"{value!r:.60} is no {kind.__name__}")
    return value
