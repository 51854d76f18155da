"""Excerpts of YAML texts, so that a change of one entry does not parse thousands of others with ruamel.yaml. Pure.

An entry is a key of the second level, such as a person or a device. In an excerpt, one placeholder stands for each run
of entries that stay as they are. Entries in braces are always kept, as are those with anchors or aliases.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import pairwise

from hedgerow.policies.text.yaml_tree import KeyPath, YamlTree

_NAME = "omitted-entries-"
_PLACEHOLDER = re.compile(rf"^ +{_NAME}(\d+): 0(?:\r?\n|\Z)", re.MULTILINE)
_SECTION = re.compile(r"""(["']?)[\w-]+\1:[ \t]*(?:#[^\n]*)?\r?\n""")
"""The line of a section that begins a block."""
_REFERENCE = re.compile(r"(?:^|[\s\[{,])[&*]\w", re.MULTILINE)
"""An anchor or an alias."""


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A text with placeholders, and the text of each run of entries that was left out."""

    text: str
    omitted: tuple[str, ...] = ()

    def restore(self, text: str) -> str | None:
        """Return the excerpt, as edited, with the entries that were left out; None if a placeholder is missing."""
        first, *rest = _PLACEHOLDER.split(text)
        if rest[::2] != [str(number) for number in range(len(self.omitted))]:
            return None
        return first + "".join(run + after for run, after in zip(self.omitted, rest[1::2], strict=True))


@dataclass(frozen=True, slots=True)
class Concerned:
    """Parts of a file that edits may change: sections, and entries. To those in `open`, entries may come."""

    sections: Collection[KeyPath]
    entries: Collection[KeyPath]
    open: Collection[KeyPath]


@dataclass(frozen=True, slots=True)
class _Run:
    """Lines to leave out, counted from 0, in whose place an entry has this indentation."""

    start: int
    end: int
    indent: int


def take_excerpt(text: str, tree: YamlTree, concerned: Concerned) -> Excerpt:
    """Return an excerpt with everything that edits may change. `tree` is the text as it was parsed."""
    if tree.problems or _NAME in text:
        return Excerpt(text)
    lines = text.splitlines(keepends=True)
    parts: list[str] = []
    omitted: list[str] = []
    done = 0
    for run in _runs(tree, lines, concerned):
        line_end = "\r\n" if lines[run.start].endswith("\r\n") else "\n"
        parts += [*lines[done : run.start], f"{' ' * run.indent}{_NAME}{len(omitted)}: 0{line_end}"]
        left_out = "".join(lines[run.start : run.end])
        omitted.append(left_out if left_out.endswith("\n") else left_out + line_end)
        done = run.end
    return Excerpt("".join([*parts, *lines[done:]]), tuple(omitted))


def _runs(tree: YamlTree, lines: list[str], concerned: Concerned) -> Iterator[_Run]:
    """Yield the lines to leave out, in order.

    In a section to which no entry comes, they include what is between entries: ruamel.yaml would take a comment after
    an entry for a part of it.
    """
    keys = sorted((line, column, path) for path, (line, column) in tree.keys.items() if len(path) <= 2)
    last = {path[:1]: path for *_, path in keys}
    run: _Run | None = None
    for (line, column, path), (following, *_) in pairwise([*keys, (len(lines) + 1, 0, ())]):
        start, after, is_open = line - 1, following - 1, path[:1] in concerned.open
        is_whole = len(path) < 2 or path[:1] in concerned.sections
        end = None if is_whole else _end_of_block(tree, lines, path, column, after)
        is_kept = path in concerned.entries or (is_open and path == last[path[:1]])
        if end is not None and not is_kept:
            run = _Run(start if run is None else run.start, end if is_open else after, column - 1)
            continue
        if run is not None:
            yield run
        run = _Run(end, after, column - 1) if end is not None and end < after and not is_open else None
    if run is not None:
        yield run


def _end_of_block(tree: YamlTree, lines: list[str], path: KeyPath, column: int, end: int) -> int | None:
    """Return the line after an entry, whose next one begins at the line `end`; None if the entry is not a block by
    itself.
    """
    start, section = tree.keys[path][0] - 1, tree.keys[path[:1]][0] - 1
    while end > start + 1 and _is_between(lines[end - 1], column):
        end -= 1
    is_block = section < start and not lines[start][: column - 1].strip(" ") and _SECTION.match(lines[section])
    is_whole = is_block and all(_indent(line) >= column for line in lines[start + 1 : end] if line.strip())
    return end if is_whole and not _REFERENCE.search("".join(lines[start:end])) else None


def _is_between(line: str, column: int) -> bool:
    """Return whether a line is empty, or a comment about what follows an entry."""
    return not line.strip() or (line.lstrip().startswith("#") and _indent(line) < column)


def _indent(line: str) -> int:
    """Return the number of spaces before the text of a line."""
    return len(line) - len(line.lstrip())
