"""Puts a policy together from several files: `include: people/*.yaml` beside the file that says so.

An included file adds people, devices, seats, profiles and lists. What holds for the whole network is said in one place, the main file.
"""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping
from pathlib import Path

from hedgerow.policies.reading import yaml_tree
from hedgerow.policies.reading.yaml_tree import Plain, Tree

SECTIONS = ("people", "devices", "seats", "profiles")
LISTS = "lists"
MAX_FILES = 500


def included_files(data: bytes, folder: Path) -> list[Path]:
    """The files that a main file in `folder` includes, in order; none where it cannot be read as YAML."""
    value = yaml_tree.read_tree(data, "").value
    return list(dict.fromkeys(file for _, files in _named(value, folder) for file in files))[:MAX_FILES]


def include(tree: Tree, base: Path, texts: Mapping[str, bytes]) -> list[str]:
    """Adds to `tree` what its `include` names; returns the files that were read, in order. What is wrong becomes a problem at its place.

    `texts` stand for files that would have these bytes.
    """
    read: list[str] = []
    for (place, pattern), files in _named(tree.value, base):
        if not files:
            tree.add_problem(place, f"no file is called '{pattern}' in {base.absolute()}")
        for file in map(str, files):
            if len(read) >= MAX_FILES:
                tree.add_problem(place, f"more than {MAX_FILES} files are included")
                return read
            if file not in read:
                read.append(file)
                _add_file(tree, Path(file), place, texts.get(file))
    return read


def _named(value: Plain, base: Path) -> Iterator[tuple[tuple[yaml_tree.Path, str], list[Path]]]:
    """What `include` says, each with its place and the files that it stands for. What is no text the schema tells of."""
    said = value.get("include") if isinstance(value, dict) else None
    for index, pattern in enumerate([said] if isinstance(said, str) else said if isinstance(said, list) else []):
        if isinstance(pattern, str):
            # Path.glob takes no absolute pattern.
            found = sorted(glob.glob(str((base / pattern).absolute()), recursive=True))  # noqa: PTH207
            yield (("include", index) if isinstance(said, list) else ("include",), pattern), [Path(file) for file in found]


def _add_file(tree: Tree, file: Path, place: yaml_tree.Path, data: bytes | None) -> None:
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


def _add_section(tree: Tree, part: Tree, key: str, value: Plain) -> None:
    assert isinstance(tree.value, dict)
    if key == LISTS and isinstance(value, list):
        own = tree.value.setdefault(LISTS, [])
        if isinstance(own, list):
            for index, item in enumerate(value):
                _move(tree, part, (LISTS, index), (LISTS, len(own)))
                own.append(item)
    elif key in SECTIONS and isinstance(value, dict):
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
                _move(tree, part, (key, name), (key, name))
                own[name] = entry
    elif value is not None:
        part.add_problem((key,), f"'{key}' cannot be said in an included file: only {', '.join((*SECTIONS, LISTS))}", key=True)


def _move(tree: Tree, part: Tree, old: yaml_tree.Path, new: yaml_tree.Path) -> None:
    """Takes over where everything beneath `old` stands."""
    tree.included[new] = (part.source, part.lines)
    for known, added in ((tree.places, part.places), (tree.keys, part.keys)):
        known.update({(*new, *at[len(old) :]): place for at, place in added.items() if at[: len(old)] == old})
    tree.unreadable |= {(*new, *at[len(old) :]) for at in part.unreadable if at[: len(old)] == old}
