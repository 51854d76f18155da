"""Edits of a YAML text that preserve comments, order and quotes. Pure.

ruamel.yaml attaches each comment to the value before it, so removing that value would remove a comment about the next
line. Such comments are restored to their place.
"""

from __future__ import annotations

import difflib
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError
from ruamel.yaml.scalarstring import DoubleQuotedScalarString
from ruamel.yaml.util import load_yaml_guess_indent

from hedgerow.dashboards.edits.yaml_excerpt import Concerned, Excerpt, take_excerpt
from hedgerow.policies.text.yaml_tree import YamlValue, read_tree


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of a document at `path`. `make` changes the document in place, or raises ValueError with a sentence.

    `may_change` returns False for a value at `path` that `make` would leave as it is.
    """

    path: tuple[str, ...]
    make: Callable[[CommentedMap], None]
    adds: bool = False
    may_change: Callable[[YamlValue], bool] = lambda _value: True


def apply_edits(text: str, edits: Iterable[Edit]) -> str:
    """Return the text after the edits. Raises ValueError, also if the text is not a YAML mapping."""
    edits = tuple(edits)
    excerpt = excerpt_for(text, edits)
    changed = _edit(excerpt.text, edits)
    if changed == excerpt.text:
        return text
    restored = excerpt.restore(changed)
    return _edit(text, edits) if restored is None else restored


def excerpt_for(text: str, edits: Sequence[Edit]) -> Excerpt:
    """Return the part of a text that edits may change: all that ruamel.yaml has to parse."""
    tree = read_tree(text.encode(), "")
    sections = {edit.path for edit in edits if len(edit.path) == 1}
    inner = [edit for edit in edits if len(edit.path) > 2 and edit.may_change(_value_at(tree.value, edit.path))]
    entries = {edit.path[:2] for edit in (*inner, *(edit for edit in edits if len(edit.path) == 2))}
    is_open = {edit.path[:1] for edit in edits if len(edit.path) == 2 or edit.path[:2] not in tree.keys}
    return take_excerpt(text, tree, Concerned(sections, entries, is_open))


def _value_at(value: YamlValue, path: tuple[str, ...]) -> YamlValue:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _edit(text: str, edits: Iterable[Edit]) -> str:
    try:
        document, yaml = _parse(text)
    except YAMLError as error:
        raise ValueError("The policy file cannot be read as YAML: correct it first.") from error
    before = _dump(yaml, document)
    for edit in edits:
        edit.make(document)
    after = _dump(yaml, document)
    if before == after:
        return text
    if text.strip() and before != text:
        # ruamel normalizes spaces: take only the changed lines from its output.
        moved = _apply_line_changes(text, before, after)
        after = moved if _mean_the_same(moved, after) else after
    header = text if text.strip() and not _has_content(text) else ""
    return _restore_comments(text, header + after if header and header not in after else after)


def apply_edits_to_files(texts: Mapping[str, str], edits: Iterable[Edit]) -> dict[str, str]:
    """Return the texts of several files, the main file first, after edits. Each edit applies to the file with its path.

    New paths go to the main file. Entries of `lists` have no name, so an edit of one applies to every file with
    `lists`; additions go to the main file. Raises ValueError as `apply_edits`.
    """
    main = next(iter(texts))
    named = {name: _key_paths(text) for name, text in texts.items()}
    groups: dict[str, list[Edit]] = {name: [] for name in texts}
    for edit in edits:
        homes = [name for name in texts if edit.path[:2] in named[name]] if len(edit.path) > 1 else []
        if edit.path == ("lists",) and not edit.adds:
            homes = [name for name in texts if ("lists",) in named[name]]
        for home in homes or [main]:
            groups[home].append(edit)
    return {name: apply_edits(text, groups[name]) if groups[name] else text for name, text in texts.items()}


def diff(before: str, after: str) -> tuple[str, ...]:
    """Return the differences as in `diff -u`, with two lines of context and without the header."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=2, lineterm="")
    return tuple(lines)[2:]


def diff_of_files(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[str, ...]:
    """Return the differences of several files, each under its name unless there is only one."""
    if len(after) == 1:
        return next(diff(before[name], after[name]) for name in after)
    return tuple(line for name in after for line in (f"@@ {name} @@", *diff(before[name], after[name])))


def put(path: tuple[str, ...], value: object) -> Edit:
    """Set the value at `path` and create its parent mappings; None removes the value."""

    def edit(document: CommentedMap) -> None:
        holder = _find_mapping(document, path[:-1], make=value is not None)
        if holder is None:
            return
        if value is None:
            holder.pop(path[-1], None)
        elif holder.get(path[-1]) != value:
            holder[path[-1]] = _to_yaml_node(value)

    return Edit(path, edit)


def put_times(path: tuple[str, ...], value: str | list[str] | Mapping[str, str | list[str]] | None) -> Edit:
    """Set the times of ordinary weeks. Times of holidays and dates stay."""

    def edit(document: CommentedMap) -> None:
        holder = _find_mapping(document, path[:-1], make=False)
        old = holder.get(path[-1]) if holder is not None else None
        kept = (
            {key: each for key, each in old.items() if key == "holidays" or key[:1].isdigit()}
            if isinstance(old, CommentedMap)
            else {}
        )
        ordinary = {"every-day": value} if isinstance(value, str | list) else dict(value or {})
        put(path, {**ordinary, **kept} if kept else value).make(document)

    return Edit(path, edit)


def remove(path: tuple[str, ...]) -> Edit:
    """Remove the value at `path`, if there is one."""
    return put(path, None)


def include(path: tuple[str, ...], item: object) -> Edit:
    """Append an item to the list at `path`. A single value becomes a list."""

    def edit(document: CommentedMap) -> None:
        holder = _find_mapping(document, path[:-1], make=True)
        assert holder is not None
        items = _as_list(holder, path[-1])
        if not any(_matches_item(each, item) for each in items):
            items.append(_to_yaml_node(item))

    return Edit(path, edit, adds=True)


def exclude(path: tuple[str, ...], item: object) -> Edit:
    """Remove an item from the list at `path`, and the list itself if it becomes empty."""

    def edit(document: CommentedMap) -> None:
        holder = _find_mapping(document, path[:-1], make=False)
        if holder is None or holder.get(path[-1]) is None:
            return
        items = _as_list(holder, path[-1])
        for index in [index for index, each in enumerate(items) if _matches_item(each, item)][::-1]:
            del items[index]
        if not items:
            del holder[path[-1]]

    return Edit(path, edit, may_change=lambda value: _has_item(value, item))


def replace(path: tuple[str, ...], item: object, new: object, *, adds: bool = True) -> Edit:
    """Put `new` in the place of an item of the list at `path`. With `adds`, append it if the list has no such item."""

    def edit(document: CommentedMap) -> None:
        holder = _find_mapping(document, path[:-1], make=adds)
        if holder is None or (not adds and holder.get(path[-1]) is None):
            return
        items = _as_list(holder, path[-1])
        places = [index for index, each in enumerate(items) if _matches_item(each, item)]
        if not places:
            items.extend([_to_yaml_node(new)] if adds else [])
        elif items[places[0]] != new:
            items[places[0]] = _to_yaml_node(new)
        for index in places[:0:-1]:
            del items[index]

    return Edit(path, edit, adds=adds, may_change=lambda value: adds or _has_item(value, item))


def rename(path: tuple[str, ...], new: str) -> Edit:
    """Rename a key in place."""

    def edit(document: CommentedMap) -> None:
        holder = _find_mapping(document, path[:-1], make=False)
        if holder is None or path[-1] not in holder:
            raise ValueError(f"'{path[-1]}' is not in the file.")
        position = list(holder).index(path[-1])
        comments = holder.ca.items.pop(path[-1], None)
        holder.insert(position, new, holder.pop(path[-1]))
        if comments is not None:
            holder.ca.items[new] = comments

    return Edit(path, edit)


def _parse(text: str) -> tuple[CommentedMap, YAML]:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    document, sequence, offset = load_yaml_guess_indent(text, yaml=yaml) if _has_content(text) else (None, None, None)
    yaml.indent(mapping=_mapping_indent(text), sequence=sequence or 4, offset=2 if offset is None else offset)
    if document is None:
        document = CommentedMap()
    if not isinstance(document, CommentedMap):
        raise ValueError("The policy file is not a mapping of keys to values.")
    return document, yaml


def _key_paths(text: str) -> set[tuple[str, ...]]:
    """Return the paths of the first two levels, such as `("people", "mia")`; none if the text is invalid."""
    value = read_tree(text.encode(), "").value
    paths: set[tuple[str, ...]] = set()
    for key, inner in value.items() if isinstance(value, Mapping) else ():
        paths |= {(key,), *((key, name) for name in (inner if isinstance(inner, Mapping) else ()))}
    return paths


def _mean_the_same(one: str, other: str) -> bool:
    """Return whether two texts have the same values, read as the policy is: many times faster than by ruamel.yaml."""
    values = [read_tree(text.encode(), "") for text in (one, other)]
    return not any(each.problems for each in values) and values[0].value == values[1].value


def _mapping_indent(text: str) -> int:
    """Return the indentation of the first nested key."""
    found = re.search(r"^[^\s#-][^\n]*:[ \t]*(?:#[^\n]*)?\n(?:[ \t]*(?:#[^\n]*)?\n)*( +)[^\s#-]", text, re.MULTILINE)
    return len(found[1]) if found else 2


def _has_content(text: str) -> bool:
    return any(line.strip() and not line.lstrip().startswith("#") for line in text.splitlines())


def _dump(yaml: YAML, document: CommentedMap) -> str:
    if not document:
        return ""
    out = io.StringIO()
    yaml.dump(document, out)
    return out.getvalue()


def mapping_at(document: CommentedMap, path: tuple[str, ...]) -> CommentedMap:
    """Return the mapping at `path`, created if necessary. Raises ValueError."""
    mapping = _find_mapping(document, path, make=True)
    assert mapping is not None
    return mapping


def _find_mapping(document: CommentedMap, path: tuple[str, ...], make: bool) -> CommentedMap | None:
    current = document
    for key in path:
        inner = current.get(key)
        if inner is None:
            if not make:
                return None
            inner = current[key] = CommentedMap()
        if not isinstance(inner, CommentedMap):
            raise ValueError(f"'{key}' is not a mapping in the file.")
        current = inner
    return current


def _matches_item(each: object, item: object) -> bool:
    """Return whether an entry of a list is `item`, or a mapping about it."""
    return each == item or (isinstance(each, Mapping) and each.get("what") == item)


def _has_item(value: YamlValue, item: object) -> bool:
    """Return whether a list, or a single value, has `item`."""
    return any(_matches_item(each, item) for each in (value if isinstance(value, list) else [value]))


def _as_list(holder: CommentedMap, key: str) -> CommentedSeq:
    value = holder.get(key)
    if isinstance(value, CommentedSeq):
        return value
    items = CommentedSeq([] if value is None else [value])
    items.fa.set_flow_style()
    holder[key] = items
    return items


def _to_yaml_node(value: object) -> Any:
    """Return a value as a ruamel node. Short values are written on one line."""
    if isinstance(value, Mapping):
        made = CommentedMap((key, _to_yaml_node(each)) for key, each in value.items())
        if (
            all(not isinstance(each, Mapping | list) or len(str(each)) < 60 for each in value.values())
            and len(str(value)) < 100
        ):
            made.fa.set_flow_style()
        return made
    if isinstance(value, list | tuple):
        items = CommentedSeq(_to_yaml_node(each) for each in value)
        items.fa.set_flow_style()
        return items
    # Times and addresses are easier to read in quotes, and safe with readers of YAML 1.1.
    return DoubleQuotedScalarString(value) if isinstance(value, str) and ":" in value else value


def _apply_line_changes(text: str, before: str, after: str) -> str:
    """Apply the differences between `before` and `after` to `text`.

    `before` is `text` in ruamel's spelling, with as many lines.
    """
    own, normal, new = text.splitlines(True), before.splitlines(True), after.splitlines(True)
    if len(own) != len(normal):
        return after
    result: list[str] = []
    for tag, start, end, new_start, new_end in difflib.SequenceMatcher(None, normal, new, autojunk=False).get_opcodes():
        result += own[start:end] if tag == "equal" else new[new_start:new_end]
    return "".join(result)


def _restore_comments(before: str, after: str) -> str:
    """Restore comments that an edit removed, as lines of their own."""
    missing = Counter(map(_comment_of, before.splitlines()))
    missing.subtract(map(_comment_of, after.splitlines()))
    if not +missing:
        return after
    old, new = before.splitlines(True), after.splitlines(True)
    result: list[str] = []
    for tag, start, end, new_start, new_end in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        result += new[new_start:new_end]
        for line in old[start:end] if tag in {"delete", "replace"} else ():
            comment = _comment_of(line)
            if comment and missing[comment] > 0:
                missing[comment] -= 1
                result.append(f"{line[: len(line) - len(line.lstrip())]}{comment}\n")
    kept = "".join(result)
    return kept if _mean_the_same(kept, after) else after


def _comment_of(line: str) -> str:
    """Return the comment of a line, or an empty text. A `#` in quotes begins no comment.

    >>> _comment_of('  - "a # b"  # why'), _comment_of("a: b#c")
    ('# why', '')
    """
    quote = ""
    for index, char in enumerate(line):
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'" and (not index or line[index - 1] in " [{,:"):
            quote = char
        elif char == "#" and (not index or line[index - 1].isspace()):
            return line[index:].rstrip()
    return ""
