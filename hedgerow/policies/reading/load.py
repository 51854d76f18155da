"""Puts a policy together from several files: `include: people/*.yaml` beside the file that says so.

An included file adds people, devices, seats, profiles and lists. What holds for the whole network is said in one place, the main file.
"""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from hedgerow.blocklists.rules import Problem
from hedgerow.policies.model import Policy
from hedgerow.policies.reading.resolve import resolve
from hedgerow.policies.reading.schema import RawPolicy
from hedgerow.policies.reading.schema_errors import error_sentence
from hedgerow.policies.text import yaml_tree
from hedgerow.policies.text.gc_pause import paused_gc
from hedgerow.policies.text.yaml_tree import YamlTree, YamlValue

MAPPING_SECTIONS = ("people", "devices", "seats", "profiles")
LISTS_SECTION = "lists"
MAX_INCLUDED_FILES = 500


def included_files(data: bytes, folder: Path) -> list[Path]:
    """The files that a main file in `folder` includes, in order; none where it cannot be read as YAML."""
    value = yaml_tree.read_tree(data, "").value
    return list(dict.fromkeys(file for _, files in _include_patterns(value, folder) for file in files))[:MAX_INCLUDED_FILES]


def add_included_files(tree: YamlTree, base: Path, texts: Mapping[str, bytes]) -> list[str]:
    """Adds to `tree` what its `add_included_files` names; returns the files that were read, in order. What is wrong becomes a problem
    at its place.

    `texts` stand for files that would have these bytes.
    """
    read: list[str] = []
    for (place, pattern), files in _include_patterns(tree.value, base):
        if not files:
            tree.add_problem(place, f"no file is called '{pattern}' in {base.absolute()}")
        for file in map(str, files):
            if len(read) >= MAX_INCLUDED_FILES:
                tree.add_problem(place, f"more than {MAX_INCLUDED_FILES} files are included")
                return read
            if file not in read:
                read.append(file)
                _add_file(tree, Path(file), place, texts.get(file))
    return read


def _include_patterns(value: YamlValue, base: Path) -> Iterator[tuple[tuple[yaml_tree.KeyPath, str], list[Path]]]:
    """What `add_included_files` says, each with its place and the files that it stands for. What is no text the schema tells of."""
    said = value.get("include") if isinstance(value, dict) else None
    for index, pattern in enumerate([said] if isinstance(said, str) else said if isinstance(said, list) else []):
        if isinstance(pattern, str):
            # Path.glob takes no absolute pattern.
            found = sorted(glob.glob(str((base / pattern).absolute()), recursive=True))  # noqa: PTH207
            yield (("include", index) if isinstance(said, list) else ("include",), pattern), [Path(file) for file in found]


def _add_file(tree: YamlTree, file: Path, place: yaml_tree.KeyPath, data: bytes | None) -> None:
    try:
        data = file.read_bytes() if data is None else data
    except OSError as error:
        tree.add_problem(place, f"'{file}' cannot be read: {error.strerror}")
        return
    part = yaml_tree.read_tree(data, str(file))
    if part.value is not None and not isinstance(part.value, dict):
        part.add_problem((), "a policy is a mapping of keys to values")
    elif part.value is not None:
        for key, value in part.value.items():
            _add_section(tree, part, key, value)
    tree.problems += part.problems


def _add_section(tree: YamlTree, part: YamlTree, key: str, value: YamlValue) -> None:
    assert isinstance(tree.value, dict)
    if key == LISTS_SECTION and isinstance(value, list):
        own = tree.value.setdefault(LISTS_SECTION, [])
        if isinstance(own, list):
            for index, item in enumerate(value):
                _move_places(tree, part, (LISTS_SECTION, index), (LISTS_SECTION, len(own)))
                own.append(item)
    elif key in MAPPING_SECTIONS and isinstance(value, dict):
        own = tree.value.get(key)
        if own is None:
            own = tree.value[key] = {}
        if isinstance(own, dict):
            for name, entry in value.items():
                if name in own:
                    other, _ = tree.text_of((key, name))
                    line, _ = tree.place_of((key, name), key=True)
                    part.add_problem((key, name), f"'{name}' stands here twice: the first is in {other}, line {line}", key=True)
                    continue
                _move_places(tree, part, (key, name), (key, name))
                own[name] = entry
    elif value is not None:
        part.add_problem(
            (key,), f"'{key}' cannot be said in an included file: only {', '.join((*MAPPING_SECTIONS, LISTS_SECTION))}", key=True
        )


def _move_places(tree: YamlTree, part: YamlTree, old: yaml_tree.KeyPath, new: yaml_tree.KeyPath) -> None:
    """Takes over where everything beneath `old` stands."""
    tree.included[new] = (part.source, part.lines)
    for known, added in ((tree.places, part.places), (tree.keys, part.keys)):
        known.update({(*new, *at[len(old) :]): place for at, place in added.items() if at[: len(old)] == old})
    tree.unreadable |= {(*new, *at[len(old) :]) for at in part.unreadable if at[: len(old)] == old}


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
    with paused_gc():
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
    included = add_included_files(tree, path.parent if path is not None else Path(), texts)
    policy = resolve(read_model(tree, RawPolicy), tree, path, included, calendars)
    if tree.problems:
        files = {source: number for number, source in enumerate((tree.source, *included))}
        order = sorted(set(tree.problems), key=lambda each: (files.get(each.source, 0), each.line or 0, each.column or 0, each.message))
        raise PolicyError(tuple(order))
    return policy


def read_model[Model: BaseModel](tree: YamlTree, model: type[Model]) -> Model:
    """The tree as `model`. What does not fit is added to the tree's problems and left out."""
    value: YamlValue = {} if tree.value is None else tree.value
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
                    tree.add_problem(path, error_sentence(detail, model), key=detail["type"] == "extra_forbidden")
                value = _without(value, path)
                left_out.add(path)
                if path:
                    tree.forget(path)


def _known_path(tree: YamlTree, detail: ErrorDetails) -> yaml_tree.KeyPath:
    path = tuple(detail["loc"])
    while path and path not in tree.places:
        path = path[:-1]
    return path


def _without(value: YamlValue, path: yaml_tree.KeyPath) -> YamlValue:
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
