"""Loading of a policy file and the files that it includes, such as `include: people/*.yaml`.

An included file adds people, devices, seats, profiles and lists. Settings of the whole network belong to the main file,
or to a level above it (`levels`).
"""

from __future__ import annotations

import gc
import glob
import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from hedgerow.blocklists.rules import Problem
from hedgerow.files import read_named_file
from hedgerow.policies.model import Policy
from hedgerow.policies.reading.levels import Inherited, add_levels, inherited
from hedgerow.policies.reading.resolve import resolve
from hedgerow.policies.reading.schema import FEATURE_KEYS, RawPolicy
from hedgerow.policies.reading.schema_errors import error_sentence
from hedgerow.policies.text import yaml_tree
from hedgerow.policies.text.yaml_tree import YamlTree, YamlValue

MAPPING_SECTIONS = ("people", "devices", "seats", "profiles")
LISTS_SECTION = "lists"
_MAY_BE_WRONG = {key.settings.KEY for key in FEATURE_KEYS if key.may_be_wrong}
MAX_INCLUDED_FILES = 500
_LONG_SECTIONS = ("people", "devices")
ENTRIES_AT_A_TIME = 500
MANY_ENTRIES = 1000


def included_files(data: bytes, folder: Path) -> list[Path]:
    """Return the files that a main file in `folder` includes, in order; none if it is not YAML."""
    value = yaml_tree.read_tree(data, "").value
    return list(dict.fromkeys(file for _, files in _include_patterns(value, folder) for file in files))[
        :MAX_INCLUDED_FILES
    ]


def add_included_files(tree: YamlTree, base: Path, texts: Mapping[str, bytes]) -> list[str]:
    """Add the files that `include` names to `tree`, with problems at their place.

    Return the files that were read, in order.

    `texts` replace the content of files.
    """
    read: list[str] = []
    for (place, pattern), files in _include_patterns(tree.value, base):
        if not files:
            tree.add_problem(place, f"no file matches '{pattern}' in {base.absolute()}")
        for file in map(str, files):
            if len(read) >= MAX_INCLUDED_FILES:
                tree.add_problem(place, f"more than {MAX_INCLUDED_FILES} included files")
                return read
            if file not in read:
                read.append(file)
                _add_file(tree, Path(file), place, texts.get(file))
    return read


def _include_patterns(value: YamlValue, base: Path) -> Iterator[tuple[tuple[yaml_tree.KeyPath, str], list[Path]]]:
    """Yield each pattern of `include` with its place and its files. The schema reports what is not text."""
    include = value.get("include") if isinstance(value, dict) else None
    for index, pattern in enumerate(
        [include] if isinstance(include, str) else include if isinstance(include, list) else []
    ):
        if isinstance(pattern, str):
            # Path.glob does not take absolute patterns.
            found = sorted(glob.glob(str((base / pattern).absolute()), recursive=True))  # noqa: PTH207
            yield (
                (("include", index) if isinstance(include, list) else ("include",), pattern),
                [Path(file) for file in found],
            )


def _add_file(tree: YamlTree, file: Path, place: yaml_tree.KeyPath, data: bytes | None) -> None:
    try:
        data = read_named_file(file) if data is None else data
    except OSError as error:
        tree.add_problem(place, f"'{file}' cannot be read: {error.strerror}")
        return
    part = yaml_tree.read_tree(data, str(file))
    if part.value is None:
        tree.empty.append(part.source)
    elif not isinstance(part.value, dict):
        part.add_problem((), "a policy is a mapping of keys to values")
    else:
        places = _Places(part)
        for key, value in part.value.items():
            _add_section(tree, part, places, key, value)
    tree.problems += part.problems


def _add_section(tree: YamlTree, part: YamlTree, places: _Places, key: str, value: YamlValue) -> None:
    assert isinstance(tree.value, dict)
    if key == LISTS_SECTION and isinstance(value, list):
        own = tree.value.setdefault(LISTS_SECTION, [])
        if isinstance(own, list):
            for index, item in enumerate(value):
                places.move(tree, (LISTS_SECTION, index), (LISTS_SECTION, len(own)))
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
                    part.add_problem((key, name), f"'{name}' is given twice: first in {other}, line {line}", key=True)
                    continue
                places.move(tree, (key, name), (key, name))
                own[name] = entry
    elif value is not None:
        part.add_problem(
            (key,),
            f"'{key}' is not allowed in an included file: only {', '.join((*MAPPING_SECTIONS, LISTS_SECTION))}",
            key=True,
        )


class _Places:
    """The positions of an included file by the entry in which they are, so that thousands of entries are taken over in
    one pass.
    """

    def __init__(self, part: YamlTree) -> None:
        self._part = part
        self._places, self._keys = _by_entry(part.places), _by_entry(part.keys)
        self._unreadable = _by_entry(part.unreadable)

    def move(self, tree: YamlTree, old: yaml_tree.KeyPath, new: yaml_tree.KeyPath) -> None:
        """Take over the positions of everything beneath an entry."""
        part = self._part
        tree.included[new] = (part.source, part.lines)
        for known, paths, added in ((tree.places, self._places, part.places), (tree.keys, self._keys, part.keys)):
            known.update({(*new, *at[len(old) :]): added[at] for at in paths.get(old, ())})
        tree.unreadable |= {(*new, *at[len(old) :]) for at in self._unreadable.get(old, ())}


def _by_entry(paths: Iterable[yaml_tree.KeyPath]) -> Mapping[yaml_tree.KeyPath, list[yaml_tree.KeyPath]]:
    found: dict[yaml_tree.KeyPath, list[yaml_tree.KeyPath]] = {}
    for path in paths:
        found.setdefault(path[:2], []).append(path)
    return found


class PolicyError(Exception):
    """All mistakes of a policy file, in the order of the file.

    `usable` is the policy without them if it filters as it would with them: only keys of features that may be wrong
    are. An upgrade to a version that takes fewer places for logs, and can't read the last good policy, then starts with
    it.
    """

    def __init__(self, problems: tuple[Problem, ...], usable: Policy | None = None) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems
        self.usable = usable


def load_policy(path: Path | None, calendars: Path | None = None) -> Policy:
    """Load the policy of a file.

    None gives the built-in policy, like an empty file: everybody is filtered as a child of 8 to 12.

    `calendars` is the folder with copies of downloaded calendars. Raises PolicyError with every mistake.
    """
    if path is None:
        return parse_policy(b"", None)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PolicyError((Problem(str(path), None, None, f"cannot be read: {error.strerror}"),)) from error
    return parse_policy(data, path, calendars)


def parse_policy(
    data: bytes,
    path: Path | None,
    calendars: Path | None = None,
    texts: Mapping[str, bytes] = MappingProxyType({}),
    *,
    is_elsewhere: bool = False,
) -> Policy:
    """Parse a policy from bytes. `path` is their file, from whose folder relative paths of lists begin.

    `texts` replace the content of included files, by absolute path. With `is_elsewhere`, the files that the policy
    names are another machine's, and are not looked for.
    """
    was_enabled = gc.isenabled()
    gc.collect(1)  # what is garbage now would stay after the freeze
    gc.disable()  # none of the objects of a policy is garbage yet: scanning them doubles the time
    try:
        policy = _parse_policy(data, path, calendars, texts, is_elsewhere=is_elsewhere)
        if len(policy.devices) + len(policy.people) > MANY_ENTRIES:
            gc.freeze()  # a look at each of its objects would hold up all threads; it has no cycles
        return policy
    finally:
        if was_enabled:
            gc.enable()


def _parse_policy(
    data: bytes, path: Path | None, calendars: Path | None, texts: Mapping[str, bytes], *, is_elsewhere: bool
) -> Policy:
    tree = yaml_tree.read_tree(data, str(path) if path is not None else "built-in policy")
    if tree.problems and tree.value is None:
        raise PolicyError(tuple(tree.problems))
    tree.empty += [tree.source] if tree.value is None else []
    included = add_included_files(tree, path.parent if path is not None else Path(), texts)
    included += add_levels(tree, path, RawPolicy.model_fields, texts) if path is not None else []
    policy = resolve(_read_policy(tree), tree, path, included, calendars, is_elsewhere=is_elsewhere)
    if tree.problems:
        files = {source: number for number, source in enumerate((tree.source, *included))}
        order = sorted(
            set(tree.problems),
            key=lambda each: (files.get(each.source, 0), each.line or 0, each.column or 0, each.message),
        )
        raise PolicyError(tuple(order), policy if all(each.path in _MAY_BE_WRONG for each in order) else None)
    return policy


def inherited_values(path: Path) -> tuple[Inherited, ...]:
    """Return the values that a valid policy file has from the levels above it. Raises OSError."""
    tree = yaml_tree.read_tree(path.read_bytes(), str(path))
    add_included_files(tree, path.parent, {})
    add_levels(tree, path, RawPolicy.model_fields, {})
    return inherited(tree, path)


def _read_policy(tree: YamlTree) -> RawPolicy:
    """Read a tree as `read_model` does, but a valid one in pieces: validation does not let other threads run."""
    if not isinstance(tree.value, dict):
        return read_model(tree, RawPolicy)
    sections = {key: value for key, value in tree.value.items() if key in _LONG_SECTIONS and isinstance(value, dict)}
    try:
        raw = RawPolicy.model_validate({key: {} if key in sections else value for key, value in tree.value.items()})
        for key, entries in sections.items():
            for some in itertools.batched(entries.items(), ENTRIES_AT_A_TIME):
                getattr(raw, key).update(getattr(RawPolicy.model_validate({key: dict(some)}), key))
    except ValidationError:
        return read_model(tree, RawPolicy)
    return raw


MAX_FAULTS = 200
"""Mistakes that are left out one by one. The work for each grows with the file, and nobody reads more of them."""


def read_model[Model: BaseModel](tree: YamlTree, model: type[Model]) -> Model:
    """Return the tree as `model`. What does not fit is left out and added to the tree's problems."""
    value: YamlValue = {} if tree.value is None else tree.value
    left_out: set[tuple[int | str, ...]] = set()
    while True:
        try:
            return model.model_validate(value)
        except ValidationError as error:
            faults = [(_known_path(tree, detail), detail) for detail in error.errors(include_url=False)]
            if len(faults) > MAX_FAULTS:
                for path, detail in faults[:MAX_FAULTS]:
                    tree.add_problem(path, error_sentence(detail, model), key=detail["type"] == "extra_forbidden")
                tree.add_problem((), f"{len(faults) - MAX_FAULTS} more mistakes are not shown")
                return model.model_validate({})
            # The last first, so that leaving out an item does not move those before it.
            for path, detail in sorted(
                faults, key=lambda fault: [(isinstance(step, int), step) for step in fault[0]], reverse=True
            ):
                is_reported = path in tree.unreadable or (detail["type"] == "missing" and detail["loc"] in left_out)
                if not is_reported:
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
    """Return a copy of `value` without the value at `path`; an empty mapping for an empty path."""
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
