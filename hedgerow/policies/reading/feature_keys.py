"""Keys of the policy file that features own, and how their values are read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Annotated, Any, Protocol, cast

from pydantic import BaseModel, BeforeValidator, create_model
from pydantic.fields import FieldInfo

from hedgerow.codec import encode
from hedgerow.policies.content import ScoreRule
from hedgerow.policies.feature_settings import FeatureSettings, WorkerReport
from hedgerow.policies.model import Policy
from hedgerow.policies.reading.schema_types import managed, switch_is_enabled
from hedgerow.policies.text.yaml_tree import KeyPath, YamlTree


class AmountReader(Protocol):
    """Reader of times in a policy file. Mistakes become problems of the tree."""

    def earned(self, raw: object, path: KeyPath) -> tuple[str, int] | None:
        """Read minutes that are added to a budget, with its subject: of all use, or as `{games: 20m}`; `none` is 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyReader:
    """The place of a value in a policy file, for the function that reads it: mistakes become problems of the tree.

    `policy` is that of the file but for the settings of features.
    """

    tree: YamlTree
    path: KeyPath
    policy: Policy
    amounts: AmountReader
    found: Mapping[type[FeatureSettings], FeatureSettings]

    def add_problem(self, *steps: str | int, text: str, key: bool = False) -> None:
        """Report a mistake at a place below the value; with `key`, at the key instead of its value."""
        self.tree.add_problem((*self.path, *steps), text, key=key)

    def settings[Kind: FeatureSettings](self, kind: type[Kind]) -> Kind | None:
        """Return the settings of a key that was read before; None if the file has none."""
        value = self.found.get(kind)
        return value if isinstance(value, kind) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureKey:
    """A key of the policy file that a feature owns, at the place that `settings.KEY` names. A `*` there is any entry.

    `kind` is the type of its value as people write it, and `declaration` what `managed` or `reserved` return: its
    default, description and scope. `read` returns the settings of a value, or None if there are none. With a `*`, it
    gets the values by entry, and the path before it.

    If it `may_be_wrong`, a file that has mistakes only in such keys still filters as it would without them. `reports`
    are what workers report while there are settings.

    `facts` returns the settings as texts, by which two policies are compared under the `title` of the key; by default
    its values. `warnings` returns sentences about what is probably a mistake.
    """

    settings: type[FeatureSettings]
    kind: Any
    declaration: FieldInfo
    read: Callable[[Any, KeyReader], FeatureSettings | None]
    may_be_wrong: bool = False
    reports: tuple[WorkerReport, ...] = ()
    title: str = ""
    facts: Callable[[Policy], frozenset[str]] | None = None
    warnings: Callable[[Policy], Iterable[str]] = lambda _policy: ()

    def facts_of(self, policy: Policy) -> frozenset[str]:
        """Return the settings in a policy as texts."""
        if self.facts is not None:
            return self.facts(policy)
        return frozenset(_values(json.loads(policy.features.get(self.settings.KEY, "{}"))))

    @property
    def path(self) -> tuple[str, ...]:
        """The keys that lead to it from the top of the file."""
        return tuple(self.settings.KEY.split("."))


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreKey:
    """A key of the rules of every scope: a switch for the scores that a scanner of a feature gives bodies, and their
    limit.

    `kind` is the model of its value, with the fields `enabled` and `limit`. `profiles` are the limits of built-in
    profiles. `title` says in their table what is limited.
    """

    name: str
    kind: type[BaseModel]
    description: str
    title: str
    profiles: Mapping[str, int]


def with_scores[Model: BaseModel](model: type[Model], keys: Sequence[ScoreKey]) -> type[Model]:
    """Return the model of rules with the keys of features' scanners, after its own."""
    added: dict[str, Any] = {
        each.name: (
            Annotated[each.kind, BeforeValidator(switch_is_enabled)] | None,
            managed(None, description=each.description),
        )
        for each in keys
    }
    return (
        create_model(model.__name__, __base__=model, __module__=model.__module__, __doc__=model.__doc__, **added)
        if added
        else model
    )


def read_scores(raw: BaseModel, keys: Sequence[ScoreKey]) -> tuple[ScoreRule, ...]:
    """Return the rules for scores of one scope."""
    values = {each.name: getattr(raw, each.name) for each in keys}
    return tuple(ScoreRule(name, value.enabled, value.limit) for name, value in values.items() if value is not None)


def extended[Model: BaseModel](model: type[Model], place: tuple[str, ...], keys: Sequence[FeatureKey]) -> type[Model]:
    """Return a model with the keys of features at a place, after its own."""
    added: dict[str, Any] = {each.path[-1]: (each.kind, each.declaration) for each in keys if each.path[:-1] == place}
    return (
        create_model(model.__name__, __base__=model, __module__=model.__module__, __doc__=model.__doc__, **added)
        if added
        else model
    )


def read_feature_keys(
    raw: BaseModel, tree: YamlTree, keys: Sequence[FeatureKey], policy: Policy, amounts: AmountReader
) -> dict[str, str]:
    """Return the settings of features as JSON, by their keys. Mistakes become problems of the tree."""
    found: dict[type[FeatureSettings], FeatureSettings] = {}
    for key in keys:
        path, value = _place_and_value(key.path, raw)
        reader = KeyReader(tree=tree, path=path, policy=policy, amounts=amounts, found=found)
        settings = None if value is None else key.read(value, reader)
        if settings is not None:
            found[key.settings] = settings
    return {kind.KEY: encode(settings).decode() for kind, settings in found.items()}


def reports_for(texts: Mapping[str, str], keys: Sequence[FeatureKey]) -> tuple[WorkerReport, ...]:
    """Return what workers report for the features that have settings."""
    return tuple(dict.fromkeys(report for key in keys if key.settings.KEY in texts for report in key.reports))


def _values(value: Any, place: str = "") -> Iterator[str]:
    """Yield a text for each value below a place, with the keys that lead to it.

    >>> list(_values({"people": {"mia": [{"name": "dishes", "minutes": 10}]}, "url": "https://a.example"}))
    ['people.mia: dishes, 10', 'url: https://a.example']
    """
    match value:
        case dict():
            for key, each in value.items():
                yield from _values(each, f"{place}.{key}" if place else key)
        case list():
            for each in value:
                yield f"{place}: {', '.join(map(str, each.values() if isinstance(each, dict) else [each]))}"
        case _:
            yield f"{place}: {value}"


def _place_and_value(path: tuple[str, ...], raw: BaseModel) -> tuple[KeyPath, Any]:
    """Return where a key's value is, and the value; or of a path with `*`, the part before it and the
    values by entry.
    """
    if "*" not in path:
        return path, reduce(getattr, path, cast(Any, raw))
    place = path[: path.index("*")]
    entries = reduce(getattr, place, cast(Any, raw))
    return place, {name: reduce(getattr, path[len(place) + 1 :], entry) for name, entry in entries.items()}
