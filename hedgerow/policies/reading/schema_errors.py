"""Sentences for values that do not fit the schema."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from hedgerow.policies.reading.profiles import BUILTIN_PROFILE_NAMES
from hedgerow.policies.reading.schema import RawDevice, RawList, RawNamedDevice, RawPerson, RawProfile, RawRules
from hedgerow.policies.text.addresses import parse_mac, parse_network
from hedgerow.policies.text.suggestions import did_you_mean, guess_days, suggest, with_hint

_MANY_KEYS = 12
_OWNERS = {"owner", "person", "people", "user", "users", "owned_by", "belongs_to"}


def error_sentence(detail: ErrorDetails, model: type[BaseModel]) -> str:
    """Return a sentence for an error of pydantic, with a suggestion."""
    path, given = detail["loc"], detail["input"]
    match detail["type"]:
        case "extra_forbidden":
            return _unknown_key(str(path[-1]), given, _keys_at(model, path[:-1]), path[:-1])
        case "missing":
            return f"'{path[-1]}' is missing"
        case "enum" | "literal_error":
            expected = str(detail["ctx"]["expected"]).replace("'", "")
            return (
                f"'{path[-1]}' must be {expected}, not"
                f" {_shown(given)}.{suggest(str(given), re.split(r', | or ', expected))}"
            )
        case "string_type":
            return f"{_shown(given)} is not text" + (": put it in quotes" if isinstance(given, int) else "")
        case "list_type":
            if isinstance(given, int) and path[-1] != "ports":
                return f"{_shown(given)} is not text: put it in quotes"
            meant = f"[{given}]" if isinstance(given, int) else None
            return with_hint(f"'{path[-1]}' must be a list, such as [a, b], not {_shown(given)}", did_you_mean(meant))
        case "dict_type" | "model_type" | "model_attributes_type":
            return _no_mapping(path, given, model)
        case "int_type":
            return f"{_shown(given)} is not a whole number.{_guess_number(path, given)}"
        case "bool_type" | "bool_parsing":
            return f"'{path[-1]}' must be true or false, not {_shown(given)}"
        case "greater_than_equal" | "less_than_equal":
            return (
                f"{_shown(given)} is not a valid {path[-1]}:"
                f" {detail['msg'].lower().replace('input should be', 'use a number')}"
            )
        case _:
            return detail["msg"]


def _unknown_key(key: str, given: object, keys: list[str], place: tuple[int | str, ...]) -> str:
    if "bedtime" in keys and (days := guess_days(key)):
        return f"unknown key '{key}': {days} belongs beneath bedtime, budget or the `when` of a schedule"
    if "mac" in keys and key.lower() in _OWNERS:
        return f"unknown key '{key}': list the device under `devices` of its owner"
    hint = suggest(key, keys)
    section = None if place or hint else _section_of(given)
    if section:
        return f"unknown key '{key}': indent it further, beneath {section}"
    if not hint or len(keys) <= _MANY_KEYS:
        hint += f" Keys here: {', '.join(sorted(keys))}."
    return f"unknown key '{key}'.{hint}"


def _section_of(given: object) -> str | None:
    """Return the section that an entry at the top level belongs to, by its keys.

    >>> (_section_of({"age": 9, "bedtime": "20:30-07:00"}), _section_of({"mac": "aa:bb:cc:dd:ee:ff"}),
    ...  _section_of({"allow": ["x.example"]}))
    ('people', 'devices', None)
    """
    keys = set(given) if isinstance(given, dict) else set()
    everywhere = set(RawRules.model_fields)
    sections: dict[str, type[BaseModel]] = {"people": RawPerson, "devices": RawNamedDevice, "profiles": RawProfile}
    return next(
        (name for name, model in sections.items() if keys & (set(model.model_fields) - everywhere - {"profile"})), None
    )


def _no_mapping(path: tuple[int | str, ...], given: object, model: type[BaseModel]) -> str:
    if isinstance(given, str) and (pair := re.fullmatch(r"([a-z_-]+):((?!//)\S.*)", given)):
        return f"'{given}' has no space after its colon.{did_you_mean(f'{pair[1]}: {pair[2]}')}"
    name = "a policy" if not path else "each entry" if isinstance(path[-1], int) else repr(path[-1])
    message = f"{name} must be a mapping of keys to values, not {_shown(given)}"
    entry, is_named = _model_at(model, path[:-1])
    if isinstance(given, list):
        return f"{message}: remove the dashes, and put a colon after each name"
    if not is_named or entry is None:
        return message
    if path[-1] in entry.model_fields:
        return f"{message}: indent it further, beneath a name"
    return with_hint(message, did_you_mean(_guess_entry(entry, given)))


def _guess_entry(entry: type[BaseModel], given: object) -> str | None:
    """Return the mapping that a single value means, such as the address of a device or the age of a person."""
    if issubclass(entry, RawDevice) and isinstance(given, str):
        return next((meant for word in given.split() if (meant := _guess_device(word))), None)
    if issubclass(entry, RawList) and isinstance(given, str):
        return f'{{category: adult, {"url" if "://" in given else "path"}: "{given}"}}'
    return f"{{age: {given}}}" if issubclass(entry, RawPerson) and isinstance(given, int) else None


def _guess_device(given: str) -> str | None:
    if parse_mac(given):
        return f'{{mac: "{given}"}}'
    network = parse_network(given)
    return None if network is None else f"{{{'ip' if network.num_addresses == 1 else 'cidr'}: {given}}}"


def _guess_number(path: tuple[int | str, ...], given: object) -> str:
    """
    >>> _guess_number(("age",), "12 ans"), _guess_number(("age",), "adult"), _guess_number(("age",), "nine")
    (' Did you mean 12?', ' Did you mean profile: adult?', ' Write it in digits.')
    """
    digits = re.findall(r"\d+", str(given))
    if len(digits) == 1:
        return did_you_mean(digits[0])
    if path[-1:] == ("age",) and given in BUILTIN_PROFILE_NAMES:
        return did_you_mean(f"profile: {given}")
    return " Write it in digits."


def _shown(value: object) -> str:
    match value:
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case _:
            return repr(value)


def _keys_at(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """Return the keys of the mapping at `path`."""
    found, _ = _model_at(model, path)
    return list(found.model_fields) if found is not None else []


def _model_at(model: type[BaseModel], path: tuple[int | str, ...]) -> tuple[type[BaseModel] | None, bool]:
    """Return the model at `path`; or, with True, the model of each named or listed entry there."""
    current: type[BaseModel] | None = model
    is_named = False
    for step in path:
        if is_named:
            is_named = False
        elif current is not None and isinstance(step, str) and step in current.model_fields:
            annotation = current.model_fields[step].annotation
            current, is_named = next(_models_in(annotation), None), typing.get_origin(annotation) in {dict, list}
    return current, is_named


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if (
        isinstance(annotation, type)
        and not isinstance(annotation, types.GenericAlias)
        and issubclass(annotation, BaseModel)
    ):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _models_in(argument)
