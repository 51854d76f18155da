"""YAML with positions: plain values, each with its line and column.

Scalars follow YAML 1.2: `no` is text, and `20:30` is not a number in base 60. Deliberately absent: tags, merge keys,
several documents in a file, and everything by which a small file could exhaust memory or the stack.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

from hedgerow.blocklists.rules import Origin, Problem
from hedgerow.blocklists.yaml_files import YamlLoader

KeyPath = tuple[str | int, ...]
YamlValue = dict[str, "YamlValue"] | list["YamlValue"] | str | int | bool | None

MAX_BYTES = 4 * 1024 * 1024
MAX_NODES = 200_000
MAX_DEPTH = 50
MAX_KEPT_BYTES = 2 * 1024 * 1024
"""Text of the parsed files that are kept."""

_ADVICE = (
    ("found character '\\t'", "a tab: indent with spaces"),
    ("found a tab character", "a tab: indent with spaces"),
    (
        "mapping values are not allowed",
        "a colon is not allowed here: indent this line like its neighbours, or quote text with ': '",
    ),
    ("could not find expected ':'", "a key without a colon and a value"),
    ("did not find expected key", "not a key: check its indentation, and that all quotes are closed"),
    ("did not find expected '-' indicator", "not an item of the list above: indent it like the other items"),
    ("expected ',' or ']'", "a list that begins with [ lacks its ] or a comma"),
    ("expected ',' or '}'", "a mapping that begins with { lacks its } or a comma"),
    ("found unexpected end of stream", "the quotes that begin here are never closed"),
    ("found undefined alias", "an alias (*name) without an anchor (&name); text that begins with * needs quotes"),
    ("while scanning an alias", 'text that begins with * needs quotes, such as "*.example.org"'),
    ("while scanning an anchor", "text that begins with & needs quotes"),
    (
        "found character that cannot start any token",
        "text that begins with a special character such as @, % or ` needs quotes",
    ),
    ("exceeded maximum nesting depth", f"nested more than {MAX_DEPTH} levels deep"),
    ("expected a single document", "a second document (---): a policy is a single document"),
)

_FROM_WHERE_IT_BEGAN = ("found unexpected end of stream", "while scanning an alias", "while scanning an anchor")
_UNCLOSED = ("expected ',' or ']'", "expected ',' or '}'")
_OF_THE_LINE_ABOVE = ("mapping values are not allowed", "could not find expected ':'", "did not find expected key")

_MAX_TEXT = 1000

_LONG_WORD = re.compile(r"(\S{160})\S+")
"""A long value in a message; its beginning is enough to find it."""


@dataclass(slots=True)
class YamlTree:
    """A parsed file.

    `places` holds line and column (from 1) of each value, `keys` of each key. `value` is None if the text is not YAML.

    `unreadable` are values that were left out with a problem; `included` are those of other files, with the files'
    names and lines. `empty` are the files without any entry.
    """

    source: str
    value: YamlValue = None
    places: dict[KeyPath, tuple[int, int]] = field(default_factory=dict)
    keys: dict[KeyPath, tuple[int, int]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    unreadable: set[KeyPath] = field(default_factory=set)
    included: dict[KeyPath, tuple[str, list[str]]] = field(default_factory=dict)
    empty: list[str] = field(default_factory=list)

    def place_of(self, path: KeyPath, key: bool = False) -> tuple[int, int]:
        """Return line and column of a value, or of its key; of the nearest value around it if there is none
        at `path`.
        """
        while path:
            found = (self.keys if key else self.places).get(path) or self.places.get(path)
            if found is not None:
                return found
            path = path[:-1]
        return self.places.get((), (1, 1))

    def forget(self, path: KeyPath) -> None:
        """Remove the positions beneath `path`. Later items of a list move up."""
        _forget(self.places, path)
        _forget(self.keys, path)
        _forget(self.included, path)

    def origin_of(self, path: KeyPath, key: bool = False) -> Origin:
        """Return the file, line and text of the value at `path`."""
        source, lines = self.text_of(path)
        line, column = self.place_of(path, key)
        return Origin(source, line, _text_at(lines, line, column))

    def text_of(self, path: KeyPath) -> tuple[str, list[str]]:
        """Return the file that contains `path`, included or the tree's own, and its lines."""
        while path and self.included:
            found = self.included.get(path)
            if found is not None:
                return found
            path = path[:-1]
        return self.source, self.lines

    def add_problem(self, path: KeyPath, message: str, key: bool = False) -> None:
        line, column = self.place_of(path, key)
        source, lines = self.text_of(path)
        text = _text_at(lines, line, column)
        if _begins_with_curly_quotes(lines, line, column):
            message += ". The typographic quotes are part of the text: use straight ones, \" or '"
        message = _LONG_WORD.sub(r"\1…", message)
        self.problems.append(Problem(source, line, column, message, text, path=dotted_path(path)))

    def add_problem_at(self, line: int, column: int, message: str) -> None:
        text = _text_at(self.lines, line, column)
        self.problems.append(Problem(self.source, line, column, message, text))


def dotted_path(path: KeyPath) -> str:
    """Return the keys that lead to a value.

    Indexes of lists are left out, because items before it may have been dropped.

    >>> dotted_path(("people", "mia", "block", 2))
    'people.mia.block'
    """
    return ".".join(step for step in path if isinstance(step, str))


def _text_at(lines: list[str], line: int, column: int) -> str:
    """Return a line, or the part around the column of a very long one, which thousands of rules may share."""
    if line > len(lines):
        return ""
    start = max(0, column - _MAX_TEXT // 2) if len(lines[line - 1]) > _MAX_TEXT else 0
    return lines[line - 1][start : start + _MAX_TEXT].strip()


def _begins_with_curly_quotes(lines: list[str], line: int, column: int) -> bool:
    return line <= len(lines) and lines[line - 1][column - 1 : column] in set("“”„‘’‚«»")


def _forget[Known](known: dict[KeyPath, Known], path: KeyPath) -> None:
    parent, gone = path[:-1], path[-1]
    moved: dict[KeyPath, Known] = {}
    for at, place in known.items():
        index = at[len(parent)] if len(at) > len(parent) and at[: len(parent)] == parent else None
        if index is None or (
            index != gone and (not isinstance(index, int) or not isinstance(gone, int) or index < gone)
        ):
            moved[at] = place
        elif index != gone and isinstance(index, int):
            moved[*parent, index - 1, *at[len(path) :]] = place
    known.clear()
    known.update(moved)


class _KeptTrees:
    """The last files without a mistake, so that of many large files only the changed one is parsed again."""

    def __init__(self) -> None:
        self._trees: dict[bytes, YamlTree] = {}
        self._lock = threading.Lock()

    def find(self, data: bytes) -> YamlTree | None:
        with self._lock:
            if data in self._trees:
                self._trees[data] = self._trees.pop(data)  # the latest comes last
            return self._trees.get(data)

    def keep(self, data: bytes, tree: YamlTree) -> None:
        with self._lock:
            self._trees[data] = tree
            while sum(map(len, self._trees)) > MAX_KEPT_BYTES:
                del self._trees[next(iter(self._trees))]


_KEPT = _KeptTrees()


def read_tree(data: bytes, source: str) -> YamlTree:
    """Parse the bytes of a YAML file. Mistakes are added to `problems`; nothing is raised."""
    kept = _KEPT.find(data)
    if kept is None:
        kept = _parse(data, source)
        if kept.problems:
            return kept
        _KEPT.keep(data, kept)
    return YamlTree(source, _copy(kept.value), dict(kept.places), dict(kept.keys), lines=kept.lines)


def _copy(value: YamlValue) -> YamlValue:
    if isinstance(value, dict):
        return {key: _copy(each) for key, each in value.items()}
    return [_copy(each) for each in value] if isinstance(value, list) else value


def _parse(data: bytes, source: str) -> YamlTree:
    tree = YamlTree(source)
    if len(data) > MAX_BYTES:
        tree.add_problem_at(1, 1, f"the file has {len(data)} bytes; the limit is {MAX_BYTES}")
        return tree
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        tree.add_problem_at(line, column, "not UTF-8 text")
        return tree
    tree.lines = text.splitlines()
    odd = re.search(r"^[ \t]*([^\S\t\n\r ]|\u200b|\ufeff)", text, re.MULTILINE)
    if odd is not None:
        line, column = text.count("\n", 0, odd.start()) + 1, odd.end() - odd.start()
        tree.add_problem_at(line, column, f"a special space (U+{ord(odd[1]):04X}): indent with ordinary spaces")
        return tree
    unprintable = re.search(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", text)
    if unprintable is not None:
        line = text.count("\n", 0, unprintable.start()) + 1
        column = unprintable.start() - text.rfind("\n", 0, unprintable.start())
        tree.add_problem_at(line, column, f"the character U+{ord(unprintable[0]):04X} is not allowed in YAML")
        return tree
    _compose(tree, text)
    return tree


def _compose(tree: YamlTree, text: str) -> None:
    try:
        if not _is_shallow(tree, text):
            return
        node = yaml.compose(text, Loader=YamlLoader)
        if node is not None:
            _Builder(tree).build(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        # The C and the Python parser report some mistakes differently: the first as problem, the second as context.
        message = f"{error.problem or ''} {error.context or ''}".replace("\\\\t", "\\t")
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        began = error.context_mark
        tree.value = None
        above = _mistake_above(tree.lines, line) if any(pattern in message for pattern in _OF_THE_LINE_ABOVE) else None
        if above is None and any(pattern in message for pattern in _UNCLOSED):
            above = _mistake_in_flow(tree.lines, line, column)
            # An unclosed bracket is reported where something else begins.
            if above is None and began is not None and began.line + 1 < line:
                say = f"{_advise(message, tree.lines, line)}; line {line} does not continue it"
                above = began.line + 1, began.column + 1, say
        elif began is not None and any(pattern in message for pattern in _FROM_WHERE_IT_BEGAN):
            line, column = began.line + 1, began.column + 1
        tree.add_problem_at(
            *(above or (min(line, max(len(tree.lines), 1)), column, _advise(message, tree.lines, line)))
        )
    except yaml.YAMLError as error:
        tree.value = None
        tree.add_problem_at(1, 1, f"not YAML: {' '.join(str(error).split())}")


def _mistake_above(lines: list[str], line: int) -> tuple[int, int, str] | None:
    """Return line, column and text of the mistake, if the parser stops at a line because of the one above it."""
    for number in range(min(line, len(lines)), 0, -1):
        text = lines[number - 1]
        indent = len(text) - len(text.lstrip())
        words = re.split(r"(?:^|\s)#", text, maxsplit=1)[0].strip()
        if not words:
            continue
        if dash := re.match(r"-(?=[^\s\d-])", words):
            return number, indent + 1, f"a dash needs a space after it: - {words[dash.end() :]}"
        if number < line and re.fullmatch(r"[\w .'-]+", words) and not words.startswith("- "):
            return number, indent + len(words) + 1, f"'{words}' has no colon after it"
        if number < line:
            return None
    return None


def _mistake_in_flow(lines: list[str], line: int, column: int) -> tuple[int, int, str] | None:
    """Return line, column and text of the mistake, if the parser misses a comma or bracket because of that
    line itself.
    """
    before, here = (lines[line - 1][: column - 1], lines[line - 1][column - 1 :]) if line <= len(lines) else ("", "")
    if before.endswith(("'", '"')) and here[:1].isalnum():
        return (
            line,
            column - 1,
            "text continues after its closing quotes: put text with ' between \", and text with \" between '",
        )
    if re.match(r":(\s|$)", here) and re.search(r":\s.*\S$", re.split(r"[\[{,]", before)[-1]):
        return line, column, "a second colon: quote text that contains ': '"
    return None


def _advise(message: str, lines: list[str], line: int) -> str:
    if 0 < line <= len(lines) and re.match(r" *\t", lines[line - 1]):
        return "a tab: indent with spaces"
    return next((advice for pattern, advice in _ADVICE if pattern in message), f"not YAML: {' '.join(message.split())}")


def _is_shallow(tree: YamlTree, text: str) -> bool:
    # Composing recurses on the C stack; parsing does not.
    depth = 0
    for event in yaml.parse(text, Loader=YamlLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                mark = event.start_mark
                line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
                tree.add_problem_at(line, column, f"nested more than {MAX_DEPTH} levels deep")
                return False
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    return True


class _TooLarge(Exception):
    pass


class _Builder:
    """Conversion of nodes to plain values, which are counted: an alias counts as its whole anchor."""

    def __init__(self, tree: YamlTree) -> None:
        self._tree = tree
        self._nodes = 0
        self._open: list[yaml.Node] = []

    def build(self, node: yaml.Node) -> None:
        try:
            self._tree.value = self._value(node, ())
        except _TooLarge as error:
            self._tree.value = None
            self._tree.add_problem_at(node.start_mark.line + 1, node.start_mark.column + 1, str(error))

    def _value(self, node: yaml.Node, path: KeyPath) -> YamlValue:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise _TooLarge(f"more than {MAX_NODES} values, including aliases")
        if any(node is parent for parent in self._open):
            raise _TooLarge("an anchor that contains its own alias")
        self._tree.places[path] = _place(node)
        if not node.tag.startswith("tag:yaml.org,2002:") or node.tag.startswith("tag:yaml.org,2002:python"):
            self._tree.unreadable.add(path)
            self._tree.add_problem(
                path,
                f"a tag ({node.tag.replace('tag:yaml.org,2002:', '!!')}): a policy has no tags; text with ! "
                f"needs quotes",
            )
            return None
        if isinstance(node, yaml.ScalarNode):
            return node.value if node.style else plain_scalar(node.value)
        self._open.append(node)
        try:
            if isinstance(node, yaml.SequenceNode):
                return [self._value(item, (*path, index)) for index, item in enumerate(node.value)]
            assert isinstance(node, yaml.MappingNode)
            return dict(self._pairs(node, path))
        finally:
            self._open.pop()

    def _pairs(self, node: yaml.MappingNode, path: KeyPath) -> Iterator[tuple[str, YamlValue]]:
        for key_node, value_node in node.value:
            line, column = _place(key_node)
            if not isinstance(key_node, yaml.ScalarNode):
                self._tree.add_problem_at(line, column, "a list or mapping in place of a name")
                continue
            key = str(key_node.value)
            inner = (*path, key)
            if key == "<<" and not key_node.style:
                say = "merge keys (<<) are not supported: put what several people have in common into a profile"
                self._tree.add_problem_at(line, column, say)
                continue
            first = self._tree.keys.get(inner)
            if first is not None:
                self._tree.add_problem_at(line, column, f"'{key}' is given twice: first in line {first[0]}")
                continue
            self._tree.keys[inner] = (line, column)
            if node.flow_style and self._is_alone(key_node):
                say = (
                    f"'{key}' has no value: a comma begins a new entry. Quote a value with a comma, and put "
                    f"several values in [ ]"
                )
                self._tree.add_problem_at(line, column, say)
                return
            yield key, self._value(value_node, inner)

    def _is_alone(self, key_node: yaml.Node) -> bool:
        """Return whether no colon follows a key in braces."""
        rest = self._tree.lines[key_node.end_mark.line][key_node.end_mark.column :].lstrip()
        return rest[:1] in {",", "}"}


def _place(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def plain_scalar(text: str) -> str | int | bool | None:
    """Return the value of unquoted text.

    >>> [plain_scalar(text) for text in ("9", "true", "20:30", "no", "~")]
    [9, True, '20:30', 'no', None]
    """
    if text in {"", "~", "null", "Null", "NULL"}:
        return None
    if text in {"true", "True", "TRUE"}:
        return True
    if text in {"false", "False", "FALSE"}:
        return False
    return int(text) if re.fullmatch(r"[-+]?\d{1,18}", text) else text
