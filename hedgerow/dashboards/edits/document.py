"""The whole policy as one document of plain values, and the edits that lead from one document to another.

Pure, except for includes.

The document is what the policy file says together with the files that it includes, as `policies.reading` reads it. A
key without a value is left out, and so is an empty section, so that equal documents mean the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hedgerow.dashboards.edits.yaml_text import Edit, apply_edits_to_files, exclude, include, put
from hedgerow.policies.reading.load import LISTS_SECTION, MAPPING_SECTIONS, add_included_files
from hedgerow.policies.text import yaml_tree

type Document = dict[str, Any]

NAMED_SECTIONS = (*MAPPING_SECTIONS, "notices")
"""Sections of entries by name."""

MAX_DEPTH = 20
_MAPPINGS_BY_NAME = frozenset({*NAMED_SECTIONS, "schedules"})


def read_document(texts: Mapping[str, str], folder: Path) -> Document:
    """Return the document of policy files in `folder`, the main file first.

    Raises ValueError for files that are not YAML.
    """
    main = next(iter(texts))
    tree = yaml_tree.read_tree(texts[main].encode(), main)
    if isinstance(tree.value, dict) and "include" in tree.value:
        files = {str((folder / name).absolute()): text.encode() for name, text in texts.items()}
        add_included_files(tree, folder, files)
    if tree.problems:
        raise ValueError(f"The policy file has mistakes: {tree.problems[0].message}")
    if not isinstance(tree.value, dict | None):
        raise ValueError("The policy file is not a mapping of keys to values.")
    return normal_document(tree.value or {})


def normal_document(value: Mapping[str, Any]) -> Document:
    """Return a document without keys that have no value, and without empty sections.

    >>> normal_document({"people": {"mia": None}, "devices": {}, "bedtime": None})
    {'people': {'mia': {}}}
    """
    found = _without_nulls(value, ())
    return {
        key: inner for key, inner in found.items() if inner or key not in (*NAMED_SECTIONS, LISTS_SECTION, "network")
    }


def is_shallow(value: Any) -> bool:
    """Return whether a value is nested at most `MAX_DEPTH` levels deep, so that functions may recurse over it."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for each in level
            for inner in (each.values() if isinstance(each, Mapping) else each if isinstance(each, list) else ())
        ]
        if not level:
            return True
    return False


def _without_nulls(value: Any, path: tuple[str, ...]) -> Any:
    if isinstance(value, Mapping):
        named = bool(path) and path[-1] in _MAPPINGS_BY_NAME
        kept = {key: {} if inner is None else inner for key, inner in value.items() if inner is not None or named}
        return {key: _without_nulls(inner, (*path, key)) for key, inner in kept.items()}
    return value


def merge(document: Document, patch: Mapping[str, Any]) -> Document:
    """Return the document after a JSON merge patch (RFC 7396): null removes a key, other values replace.

    >>> merge({"people": {"mia": {"age": 9}}}, {"people": {"mia": {"age": 10}, "tom": {"age": 15}}})
    {'people': {'mia': {'age': 10}, 'tom': {'age': 15}}}
    """
    merged = dict(document)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping):
            before = merged.get(key)
            merged[key] = merge(before if isinstance(before, dict) else {}, value)
        else:
            merged[key] = value
    return merged


def rewrite_texts(texts: Mapping[str, str], folder: Path, wanted: Mapping[str, Any]) -> dict[str, str]:
    """Return policy files that say `wanted`, with the comments of what stays.

    Raises ValueError for what YAML cannot say.
    """
    current, wanted = read_document(texts, folder), normal_document(wanted)
    after = apply_edits_to_files(texts, document_edits(current, wanted))
    try:
        written = read_document(after, folder)
    except ValueError:
        return after  # whoever checks the policy reports each mistake with its place
    if _comparable(written) != _comparable(wanted):
        raise ValueError("This policy cannot be written into the file without a change of its meaning.")
    return after


def document_edits(current: Document, wanted: Document) -> list[Edit]:
    """Return the edits that make a policy file say `wanted`.

    Entries stay in the file that has them; new ones go to the main file.
    """
    edits: list[Edit] = []
    for section in NAMED_SECTIONS:
        # Each entry by itself, as they may be in different files.
        edits += _mapping_edits((section,), current.get(section) or {}, wanted.get(section) or {})
        if section in current and section not in wanted:
            edits.append(put((section,), None))
    edits += _list_edits(current.get(LISTS_SECTION) or [], wanted.get(LISTS_SECTION) or [])
    done = {*NAMED_SECTIONS, LISTS_SECTION}
    rest = [{key: value for key, value in each.items() if key not in done} for each in (current, wanted)]
    return [*edits, *_mapping_edits((), *rest)]


def _mapping_edits(path: tuple[str, ...], current: Any, wanted: Any) -> Iterator[Edit]:
    if not isinstance(current, Mapping) or not isinstance(wanted, Mapping):
        yield put(path, wanted)
        return
    for key in current:
        if key not in wanted:
            yield put((*path, key), None)
    for key, value in wanted.items():
        if key not in current:
            yield put((*path, key), value)
        elif current[key] != value or isinstance(current[key], bool) is not isinstance(value, bool):
            yield from _mapping_edits((*path, key), current[key], value)


def _list_edits(current: Any, wanted: Any) -> list[Edit]:
    if not isinstance(current, list) or not isinstance(wanted, list):
        return [put((LISTS_SECTION,), wanted)]
    kept = [item for item in current if item in wanted]
    removed = [exclude((LISTS_SECTION,), item) for item in current if item not in wanted]
    return [*removed, *(include((LISTS_SECTION,), item) for item in wanted if item not in kept)]


def _comparable(document: Document) -> str:
    """Return a text that is equal for equal documents; the order of keys and of lists of the network has no meaning."""
    lists = document.get(LISTS_SECTION)
    order = sorted(lists, key=canonical) if isinstance(lists, list) else lists
    return canonical(document | ({LISTS_SECTION: order} if lists else {}))


def canonical(value: Any) -> str:
    """Return JSON that is the same for equal values."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def texts_tag(texts: Mapping[str, str]) -> str:
    """Return the entity tag (RFC 9110, section 8.8.3) of policy files."""
    return _tag(canonical(dict(texts)))


def entry_tag(entry: Any) -> str:
    """Return the entity tag of an entry of a section."""
    return _tag(canonical(entry))


def _tag(text: str) -> str:
    return f'"{hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]}"'
