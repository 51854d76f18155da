"""The policy file in the form that the release before reads: without newer keys, services and categories."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from hedgerow.blocklists.categories import builtin_categories
from hedgerow.blocklists.yaml_files import read_yaml
from hedgerow.dashboards.edits.yaml_text import Edit, apply_edits, exclude, put, remove
from hedgerow.files import write_atomically
from hedgerow.policies.growing import age_on, parse_born
from hedgerow.policies.host_facts import Services
from hedgerow.policies.reading.load import PolicyError, included_files, load_policy, parse_policy
from hedgerow.policies.text.yaml_tree import YamlTree, YamlValue, dotted_path, read_tree

BEFORE_DOWNGRADE = ".before-downgrade-"
"""What follows the name of a policy file that is kept as it was; the date and time follow."""
_DATE = "%Y%m%d-%H%M%S"
_LISTS_OF_NAMES = ("allow", "block", "always", "only")


@dataclass(frozen=True, slots=True)
class OlderFile:
    """The text of a policy file for the release before, and what is left out of it, each with its line."""

    file: Path
    text: str
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Change:
    path: tuple[str, ...]
    edits: tuple[Edit, ...]
    note: str = ""


def older_files(policy: Path, when: datetime) -> list[OlderFile]:
    """Return the files of a policy that the release before can't read as they are, in the form that it can.

    Raises OSError, or ValueError with a sentence if that form would not be a policy.
    """
    files = [policy, *included_files(policy.read_bytes(), policy.parent)]
    try:
        load_policy(policy)
        older = [older_file(file, file.read_text(encoding="utf-8"), when.date()) for file in files]
        older = [each for each in older if each.left_out]
        texts = {str(each.file.absolute()): each.text.encode() for each in older}
        parse_policy(texts.get(str(policy.absolute()), policy.read_bytes()), policy, texts=texts)
    except PolicyError as error:
        raise ValueError(f"{policy} can't be given the older form: {error.problems[0]}") from None
    return older


def older_file(file: Path, text: str, today: date) -> OlderFile:
    """Return one file in the form that the release before reads. Raises ValueError for a text that is not a mapping."""
    tree = read_tree(text.encode(), str(file))
    changes = list(_changes(tree.value, _release_before()["keys"], (), today))
    left_out = tuple(_sentence(tree, change) for change in changes)
    return OlderFile(file, apply_edits(text, [edit for change in changes for edit in change.edits]), left_out)


def keep_and_write(older: OlderFile, when: datetime) -> Path:
    """Write a file in the older form, and return the copy next to it of what it was. Raises OSError."""
    kept = older.file.with_name(f"{older.file.name}{BEFORE_DOWNGRADE}{when:{_DATE}}")
    mode = older.file.stat().st_mode & 0o777
    write_atomically(kept, older.file.read_bytes(), mode)
    write_atomically(older.file, older.text.encode(), mode)
    return kept


def put_back(policy: Path) -> Iterator[tuple[Path, bool]]:
    """Give the files of a policy their text of before the last downgrade, unless somebody has changed them since.

    Yields each file that is as it was, with True, and the copy of each other one, with False. Raises OSError.
    """
    for file in (policy, *included_files(policy.read_bytes(), policy.parent)):
        for kept in sorted(file.parent.glob(f"{file.name}{BEFORE_DOWNGRADE}*"))[-1:]:
            try:
                when = datetime.strptime(kept.name.rpartition(BEFORE_DOWNGRADE)[2], _DATE).astimezone()
                is_unchanged = older_file(file, kept.read_text(encoding="utf-8"), when.date()).text == file.read_text(
                    encoding="utf-8"
                )
            except ValueError:
                is_unchanged = False
            if is_unchanged:
                kept.replace(file)
            yield (file, True) if is_unchanged else (kept, False)


@functools.cache
def _release_before() -> Mapping[str, Any]:
    return dict(read_yaml(Path(__file__).with_name("release_before.yaml")))


@functools.cache
def _newer_names() -> frozenset[str]:
    services = Services.load().by_id.values()
    now = {name for service in services for name in (service.id, service.group)}
    return frozenset(now | {category.name for category in builtin_categories()}) - set(_release_before()["names"])


def _changes(value: YamlValue, known: Mapping[str, Any], path: tuple[str, ...], today: date) -> Iterator[_Change]:
    """Yield the changes below `path`, where the release before knows the keys `known` and, with `*`, all names."""
    for key, inner in value.items() if isinstance(value, dict) else ():
        place = (*path, key)
        if key not in known and "*" not in known:
            yield _without(place, inner, today)
        elif path[-1:] == ("schedules",) and _is_newer_schedule(inner):
            yield _Change(place, (remove(place),))
        elif key in known and key in _LISTS_OF_NAMES:
            yield from (_Change(place, (exclude(place, name),), name) for name in _names(inner) if _is_newer(name))
        elif key in known and key == "budget" and isinstance(inner, dict):
            yield from (_without((*place, name), None, today) for name in inner if _is_newer(name))
        elif (beneath := known.get(key, known.get("*"))) is not None:
            yield from _changes(inner, beneath, place, today)


def _without(path: tuple[str, ...], value: YamlValue, today: date) -> _Change:
    """Return the change that leaves out a key. A month of birth becomes an age, which rules depend on."""
    if path[-1] == "born" and isinstance(value, str):
        age = age_on(parse_born(value, today), today)
        return _Change(path, (remove(path), put((*path[:-1], "age"), age)), f"`age: {age}` instead")
    return _Change(path, (remove(path),))


def _is_newer_schedule(value: YamlValue) -> bool:
    """Return whether everything that a schedule is about is newer, so that nothing of it would be left."""
    rules = [each for key, each in value.items() if key in _LISTS_OF_NAMES] if isinstance(value, dict) else []
    names = [name for each in rules for name in _names(each)]
    return bool(names) and all(map(_is_newer, names))


def _names(value: YamlValue) -> list[str]:
    """Return the names in a list of rules, or in a single one."""
    items = [
        item.get("what") if isinstance(item, dict) else item for item in (value if isinstance(value, list) else [value])
    ]
    return [item for item in items if isinstance(item, str)]


def _is_newer(name: str) -> bool:
    return name.lstrip("+-").strip().lower() in _newer_names()


def _sentence(tree: YamlTree, change: _Change) -> str:
    line, _ = tree.place_of(change.path, key=True)
    return f"{tree.source}:{line}: {dotted_path(change.path)}{f': {change.note}' if change.note else ''}"
