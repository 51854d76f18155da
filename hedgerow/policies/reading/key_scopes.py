"""Keys of a policy that are reserved for admins, as the schema declares them.

Of a mapping with named entries, and of a list, whole entries may be removed by whoever manages the policy, so what is
reserved inside them can only be added or changed by an admin. All other reserved keys can't be removed either.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from hedgerow.policies.reading.schema import RawPolicy
from hedgerow.policies.reading.schema_types import KeyScope, RawModel
from hedgerow.policies.text.yaml_tree import read_tree

type KeyPath = tuple[str, ...]
"""Keys from the top of a policy. In those of the schema, `*` is any name, and `[]` any item of a list."""

_DATES = re.compile(r"\d{4}-\d\d-\d\d(\.\.\d{4}-\d\d-\d\d)?")
_URL = re.compile("(https?|webcal)://", re.IGNORECASE)
"""Entries of `holidays` that name no file: dates, and calendars from URLs.

With a space before it, a URL is the name of a file.
"""


def scope_of(key: FieldInfo) -> KeyScope:
    """Return the scope that a key of the schema declares."""
    assert isinstance(key.json_schema_extra, KeyScope)  # `RawModel` refuses others
    return key.json_schema_extra


def policy_keys(model: type[RawModel] = RawPolicy, prefix: KeyPath = ()) -> Iterator[tuple[KeyPath, FieldInfo]]:
    """Yield the path of every key of a policy with its declaration, in the order of the schema."""
    for name, key in model.model_fields.items():
        path = (*prefix, name)
        yield path, key
        for step, inner in _inner_models(key.annotation):
            yield from policy_keys(inner, (*path, step) if step else path)


def _inner_models(annotation: Any) -> Iterator[tuple[str, type[RawModel]]]:
    """Yield the models that a value may have inside, each after the step that leads there: none, `*` or `[]`."""
    arguments = get_args(annotation)
    match get_origin(annotation):
        case None if isinstance(annotation, type) and issubclass(annotation, RawModel):
            yield "", annotation
        case origin if origin is Annotated:
            yield from _inner_models(arguments[0])
        case origin if origin in (Union, UnionType):
            for each in arguments:
                yield from _inner_models(each)
        case origin if origin in (dict, list):
            yield from (("*" if origin is dict else "[]", model) for _, model in _inner_models(arguments[-1]))


@cache
def _reserved_keys(model: type[RawModel]) -> Mapping[str, tuple[KeyScope, tuple[tuple[str, type[RawModel]], ...]]]:
    """Return the keys of a model that are reserved or have reserved keys inside, with their scopes and the models
    inside.
    """
    found = {name: (scope_of(key), tuple(_inner_models(key.annotation))) for name, key in model.model_fields.items()}
    return {
        name: (scope, models)
        for name, (scope, models) in found.items()
        if scope is not KeyScope.MANAGE or any(_reserved_keys(inner) for _, inner in models)
    }


def is_open(path: KeyPath) -> bool:
    """Return True if no key is reserved at a path in a policy or beneath it. Unknown keys are none that are open.

    >>> is_open(("people", "mia", "bedtime")), is_open(("people", "mia")), is_open(("network", "tunnel", "port"))
    (True, False, False)
    """
    model: type[RawModel] = RawPolicy
    steps = iter(path)
    for name in steps:
        if name not in _reserved_keys(model):
            return name in model.model_fields
        _scope, models = _reserved_keys(model)[name]
        if not models:
            return False
        step, model = models[0]
        if step and next(steps, None) is None:
            return False
    return False


class UnreadableText(ValueError):
    """A text that is not YAML, which no reader of policies accepts."""


@dataclass(slots=True)
class _Reserved:
    """The values of reserved keys, with the keys' dotted paths: those of single keys, those inside entries by name of
    the key, and those that belong to one entry, by their paths. `names` are the paths of entries.
    """

    settings: dict[tuple[str, str], str] = field(default_factory=dict)
    entries: dict[tuple[str, str], str] = field(default_factory=dict)
    of_one: dict[tuple[KeyPath, str], str] = field(default_factory=dict)
    names: set[KeyPath] = field(default_factory=set)

    def add_texts(self, texts: Iterable[str], *, must_be_yaml: bool) -> None:
        for text in texts:
            tree = read_tree(text.encode(), "")
            if isinstance(tree.value, Mapping):
                self._add(tree.value, RawPolicy, (), is_entry=False)
            elif must_be_yaml and tree.problems:
                raise UnreadableText(str(tree.problems[0].message))

    def _add(self, values: Mapping[str, Any], model: type[RawModel], prefix: KeyPath, *, is_entry: bool) -> None:
        for name, (scope, models) in _reserved_keys(model).items():
            path, given = (*prefix, name), values.get(name)
            if given is None:
                continue
            for step, inner in models:
                if step == "" and isinstance(given, Mapping):
                    self._add(given, inner, path, is_entry=is_entry)
                elif step == "*" and isinstance(given, Mapping):
                    for key, entry in given.items():
                        self.names.add((*path, str(key)))
                        if isinstance(entry, Mapping):
                            self._add(entry, inner, (*path, str(key)), is_entry=True)
                elif step == "[]" and isinstance(given, list):
                    for entry in given:
                        if isinstance(entry, Mapping):
                            self._add(entry, inner, path, is_entry=True)
            if not models:
                self._add_value(path, given, scope, is_entry=is_entry)

    def _add_value(self, path: KeyPath, given: Any, scope: KeyScope, *, is_entry: bool) -> None:
        dotted, items = ".".join(path), given if isinstance(given, list) else [given]
        if scope is KeyScope.MANAGE_DATES:
            self.entries |= {(path[-1], _text(each)): dotted for each in items if _is_file(each)}
        elif is_entry and path[-1] in _OF_ONE_ENTRY:
            self.of_one[path, _text(items)] = dotted
        elif is_entry:
            self.entries[path[-1], _text(items)] = dotted
        else:
            self.settings[dotted, _text(items)] = dotted


_OF_ONE_ENTRY = frozenset({"upstream"})
"""Keys whose value is meant for its entry alone: another entry must not take it over."""


def _is_file(entry: Any) -> bool:
    if isinstance(entry, str):
        return not (_URL.match(entry) or _DATES.fullmatch(entry.replace(" ", "")))
    return entry is not None


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def reserved_changes(before: Iterable[str], after: Iterable[str]) -> tuple[str, ...]:
    """Return the dotted paths of the reserved keys in which the texts of policy files differ, sorted.

    Included files are not opened: they are among the texts. Values of another shape than the schema's are ignored, as
    such a policy is never put in force. Raises `UnreadableText` for a text of `after` that is not YAML.
    """
    old, new = _Reserved(), _Reserved()
    old.add_texts(before, must_be_yaml=False)
    new.add_texts(after, must_be_yaml=True)
    changed = {(old.settings | new.settings)[key] for key in old.settings.keys() ^ new.settings.keys()}
    changed |= {new.of_one[key] for key in new.of_one.keys() - old.of_one.keys()}
    # One that goes together with its entry is not a change.
    changed |= {old.of_one[key] for key in old.of_one.keys() - new.of_one.keys() if key[0][:-1] in new.names}
    return tuple(sorted(changed | {new.entries[key] for key in new.entries.keys() - old.entries.keys()}))
