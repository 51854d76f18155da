"""Levels above a policy file: the base policy of an organisation and that of a group of sites, which the site's own
file refines.

They are next to the main file, in the folder `organisation`. A lower level's value replaces a higher one's, key by key.
`lists`, `allow` and `block` add up; what a lower level allows or blocks is left out of what higher ones do. A higher
level keeps keys to itself with `locked`, such as `locked: [network.upstream, "profiles.*.allow"]`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath

from hedgerow.files import read_named_file
from hedgerow.policies.text.suggestions import suggest
from hedgerow.policies.text.yaml_tree import KeyPath, YamlTree, YamlValue, dotted_path, read_tree

FOLDER = "organisation"
LEVELS = ("organisation", "group")
"""The levels above a site, the highest first. Each is a file of that name in the folder."""
SITE = "site"
MAX_LOCKS = 200
_OF_ONE_LEVEL = ("locked", "include")
_SCOPES = (1, 3)
"""Lengths of the paths of `allow` and `block` that add up:

`block`, and `profiles.NAME.block`. Those of schedules do not.
"""


@dataclass(frozen=True, slots=True)
class Inherited:
    """A value that a site has from a level above: its keys, the level, and the line in that level's file."""

    keys: str
    level: str
    line: int
    is_locked: bool


def level_file(policy: Path, level: str) -> Path:
    """Return the file of a level above the policy in a main file."""
    return (policy.parent / FOLDER / f"{level}.yaml").absolute()


def level_of(place: str) -> str:
    """Return the level of a file, or of a place in it.

    >>> level_of("/etc/hedgerow/organisation/group.yaml:4"), level_of("/etc/hedgerow/hedgerow.yaml")
    ('group', 'site')
    """
    file, _, line = place.rpartition(":")
    path = PurePath(file if line.isdecimal() else place)
    return path.stem if path.parent.name == FOLDER and path.stem in LEVELS else SITE


def add_levels(tree: YamlTree, policy: Path, known: Collection[str], texts: Mapping[str, bytes]) -> list[str]:
    """Add the keys of the levels above to the `tree` of a main file, and a problem for each key that one of them has
    locked.

    `known` are the keys of a policy, and `texts` replace the content of files. Returns the files that were read, the
    highest first.
    """
    parts = [part for part in (_read(level_file(policy, level), texts) for level in LEVELS) if part is not None]
    if not parts:
        _locks(tree, known)  # the file of an organisation, checked by itself
        return []
    if isinstance(tree.value, dict) and tree.value.get("locked") is not None:
        tree.add_problem(("locked",), "'locked' belongs to the levels above this file", key=True)
    for place, part in enumerate(parts):
        if isinstance(part.value, dict) and part.value.get("include") is not None:
            part.add_problem(("include",), f"'include' is not allowed in the {level_of(part.source)}'s file", key=True)
        for lock in _locks(part, known):
            for lower in (*parts[place + 1 :], tree):
                _check_lock(lower, lower.value, (), lock, part)
    for part in reversed(parts):
        _add_level(tree, part)
        tree.problems += part.problems
    return [part.source for part in parts]


def inherited(tree: YamlTree, policy: Path) -> tuple[Inherited, ...]:
    """Return the values that a tree has from the levels above, after `add_levels`."""
    locks = {level: _locks(part, ()) for level in LEVELS if (part := _read(level_file(policy, level), {})) is not None}
    found = []
    for path, (source, _) in tree.included.items():
        if (level := level_of(source)) != SITE:
            is_locked = any(_covers(lock, path) for lock in locks.get(level, ()))
            found.append(Inherited(dotted_path(path), level, tree.place_of(path, key=True)[0], is_locked))
    return tuple(found)


def _covers(lock: KeyPath, path: KeyPath) -> bool:
    return len(lock) <= len(path) and all(step in ("*", key) for step, key in zip(lock, path, strict=False))


def _read(file: Path, texts: Mapping[str, bytes]) -> YamlTree | None:
    """Return the tree of a level's file, or None if there is no such level."""
    try:
        data = texts.get(str(file))
        part = read_tree(read_named_file(file) if data is None else data, str(file))
    except FileNotFoundError:
        return None
    except OSError as error:
        part = YamlTree(str(file))
        part.add_problem_at(1, 1, f"it cannot be read: {error.strerror}")
    if part.value is not None and not isinstance(part.value, dict):
        part.add_problem((), "a policy is a mapping of keys to values")
        part.value = None
    return part


def _locks(part: YamlTree, known: Collection[str]) -> list[KeyPath]:
    """Return the keys that a level locks, with a problem for each that no policy has unless `known` is empty."""
    given = part.value.get("locked") if isinstance(part.value, dict) else None
    texts = [given] if isinstance(given, str) else given if isinstance(given, list) else []
    found: list[KeyPath] = []
    for index, text in enumerate(texts[:MAX_LOCKS]):
        place: KeyPath = ("locked", index) if isinstance(given, list) else ("locked",)
        keys: KeyPath = tuple(str(text).split("."))
        if known and keys[0] not in known:
            part.add_problem(place, f"a policy has no key '{keys[0]}'.{suggest(str(keys[0]), list(known))}")
        else:
            found.append(keys)
    if len(texts) > MAX_LOCKS:
        part.add_problem(("locked",), f"more than {MAX_LOCKS} locked keys", key=True)
    return found


def _check_lock(lower: YamlTree, value: YamlValue, path: KeyPath, rest: KeyPath, part: YamlTree) -> None:
    """Add a problem to a lower level for each value that it gives at a locked key.

    A value in whose place there are more keys counts.
    """
    if value is None:
        return
    if rest and isinstance(value, dict):
        for key in list(value) if rest[0] == "*" else [str(rest[0])] if rest[0] in value else []:
            _check_lock(lower, value[key], (*path, key), rest[1:], part)
    elif path:
        line, _ = part.place_of(("locked",), key=True)
        lower.add_problem(
            path,
            f"'{dotted_path(path)}' is locked by the {level_of(part.source)} ({part.source}, line {line})",
            key=True,
        )


def _add_level(tree: YamlTree, part: YamlTree) -> None:
    """Add the values of a level that the tree does not have, with their positions."""
    if not isinstance(part.value, dict) or not (tree.value is None or isinstance(tree.value, dict)):
        return
    tree.value = tree.value or {}
    moved = dict(_merge(tree.value, {key: value for key, value in part.value.items() if key not in _OF_ONE_LEVEL}, ()))
    for added, places in ((part.places, tree.places), (part.keys, tree.keys)):
        for path, place in added.items():
            root = next((path[:length] for length in range(1, len(path) + 1) if path[:length] in moved), None)
            if root is not None:
                places[*moved[root], *path[len(root) :]] = place
    tree.included |= dict.fromkeys(moved.values(), (part.source, part.lines))
    tree.unreadable |= {
        path for path in part.unreadable if any(path[:length] in moved for length in range(1, len(path) + 1))
    }


def _merge(
    into: dict[str, YamlValue], given: Mapping[str, YamlValue], path: KeyPath
) -> Iterator[tuple[KeyPath, KeyPath]]:
    """Add missing keys, and items of lists that add up.

    Yields the place of each added value in its own tree and in the other one.
    """
    named = {_name_of(item) for key in ("allow", "block") for item in _as_list(into.get(key)) or ()} - {None}
    for key, value in given.items():
        at, own = (*path, key), into.get(key)
        listed, added = _as_list([] if own is None else own), _as_list(value)
        if (
            listed is not None
            and added is not None
            and (at == ("lists",) or (key in {"allow", "block"} and len(at) in _SCOPES))
        ):
            into[key] = listed
            for index, item in enumerate(added):
                if _name_of(item) not in named:
                    yield (*at, index) if added is value else at, (*at, len(listed))
                    listed.append(item)
        elif own is None:
            into[key] = value
            yield at, at
        elif isinstance(own, dict) and isinstance(value, dict):
            yield from _merge(own, value, at)


def _as_list(value: YamlValue) -> list[YamlValue] | None:
    return value if isinstance(value, list) else [value] if isinstance(value, str) else None


def _name_of(item: YamlValue) -> str | None:
    """Return what an item of `allow` or `block` names, without its sign."""
    what = item.get("what") if isinstance(item, dict) else item
    return what.lstrip("+-") if isinstance(what, str) else None
