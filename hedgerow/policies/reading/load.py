"""From a YAML file to a Policy, or to all mistakes in it at once.

Three stages: `yaml_tree` reads the text, `schema` checks keys and types, `resolve` looks up every name. A stage goes on with what the one
before it could make sense of, so that one report names the mistakes of all three.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from hedgerow.blocklists.rules import Problem
from hedgerow.policies.garbage import no_collections
from hedgerow.policies.model import Policy
from hedgerow.policies.reading import includes, yaml_tree
from hedgerow.policies.reading.resolve import resolve
from hedgerow.policies.reading.schema import RawPolicy
from hedgerow.policies.reading.schema_words import plain_words
from hedgerow.policies.reading.yaml_tree import Plain, Tree


class PolicyError(Exception):
    """The policy file has mistakes: all of them, in the order of the file."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


def load_policy(path: Path | None, calendars: Path | None = None) -> Policy:
    """The policy of a file; None gives the built-in one, which is what an empty file means: everybody is filtered as a child of 8 to 12.

    Raises PolicyError with every mistake, or with the one that the file cannot be read.
    """
    if path is None:
        return parse_policy(b"", None)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PolicyError((Problem(str(path), None, None, f"cannot be read: {error.strerror}"),)) from error
    with no_collections():
        return parse_policy(data, path, calendars)


def parse_policy(
    data: bytes, path: Path | None, calendars: Path | None = None, texts: Mapping[str, bytes] = MappingProxyType({})
) -> Policy:
    """As `load_policy`, of bytes in memory. `path` is where they are from: lists given by a relative path lie beside it.

    `texts` stand for included files, by their absolute path, that would have these bytes.
    """
    tree = yaml_tree.read_tree(data, str(path) if path is not None else "built-in policy")
    if tree.problems and tree.value is None:
        raise PolicyError(tuple(tree.problems))
    included = includes.include(tree, path.parent if path is not None else Path(), texts)
    policy = resolve(read_model(tree, RawPolicy), tree, path, included, calendars)
    if tree.problems:
        files = {source: number for number, source in enumerate((tree.source, *included))}
        order = sorted(set(tree.problems), key=lambda each: (files.get(each.source, 0), each.line or 0, each.column or 0, each.message))
        raise PolicyError(tuple(order))
    return policy


def read_model[Model: BaseModel](tree: Tree, model: type[Model]) -> Model:
    """The tree as `model`. What does not fit is added to the tree's problems and left out."""
    value: Plain = {} if tree.value is None else tree.value
    left_out: set[tuple[int | str, ...]] = set()
    while True:
        try:
            return model.model_validate(value)
        except ValidationError as error:
            faults = [(_known_path(tree, detail), detail) for detail in error.errors(include_url=False)]
            # The last first: when an item of a list is left out, the places of those before it stay right.
            for path, detail in sorted(faults, key=lambda fault: [(isinstance(step, int), step) for step in fault[0]], reverse=True):
                is_told = path in tree.unreadable or (detail["type"] == "missing" and detail["loc"] in left_out)
                if not is_told:
                    tree.add_problem(path, plain_words(detail, model), key=detail["type"] == "extra_forbidden")
                value = _without(value, path)
                left_out.add(path)
                if path:
                    tree.forget(path)


def _known_path(tree: Tree, detail: ErrorDetails) -> yaml_tree.Path:
    path = tuple(detail["loc"])
    while path and path not in tree.places:
        path = path[:-1]
    return path


def _without(value: Plain, path: yaml_tree.Path) -> Plain:
    """A copy of `value` without what is at `path`; nothing of it where `path` is empty."""
    if not path:
        return {}
    first, rest = path[0], path[1:]
    if isinstance(value, dict) and isinstance(first, str) and first in value:
        if rest:
            return {**value, first: _without(value[first], rest)}
        return {key: item for key, item in value.items() if key != first}
    if isinstance(value, list) and isinstance(first, int) and first < len(value):
        changed = [_without(value[first], rest)] if rest else []
        return [*value[:first], *changed, *value[first + 1 :]]
    return value
