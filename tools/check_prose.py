"""Check names and docstrings of the package against the project's rules: `python tools/check_prose.py`.

Refused are a docstring that begins with a question word or a conjunction, a class described by a verb ("Reads …") in
place of a noun, a public class name in more than one module, a module of more than 467 lines, and a class of more than
15 methods. In docstrings and comments, the turns of `_TRANSLATED` are refused too. Exceptions are in the tables below,
each with its reason.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "hedgerow"
MAX_MODULE_LINES = 467
"""As much text as 400 lines of 140 columns had, in lines of 120."""
MAX_METHODS = 15

LONG_MODULES: dict[str, str] = {}
LARGE_CLASSES: dict[str, str] = {
    "Parts": "a recipe for each part of control, most of them one call; each part that becomes a feature leaves",
    "Accounts": (
        "accounts, sessions and tokens change together: a new password ends sessions, the first account revokes tokens"
    ),
    "Dialect": "all in which database engines differ, one method each",
    "PostgresDialect": "implements Dialect",
    "SqliteDialect": "implements Dialect, and what a file needs: backup, repair",
    "Control": "the interface to the running Hedgerow, one method per question or change",
    "GateConnection": "events of a socket, and one method for each command that waits for something",
    "GateProtocol": "one method for each event of the state machine",
    "InspectedConnection": "one method for each event of its streams, and the times by which the inspector ends it",
    "HttpLayer": "one method for each kind of event of mitmproxy's layers",
    "HeldStream": "one method for each event of an HTTP stream in both directions",
    "SocketTransport": "asyncio's interface of transports, and one method for each thing that befalls a socket",
    "ClientHandshake": "asyncio's protocol, and one method for each step of the handshake",
    "ConnectionStreams": "the table of a connection's streams, and one method for each thing that is done with one",
    "Inspector": "composition root of the inspection lane, and its limits",
    "_StepSentences": "one method for each step of `decide`",
    "Stream": "asyncio's transport and protocol interfaces, over TLS",
}

_NO_NOUN_OR_IMPERATIVE = re.compile(
    r"(?:Who|What|Whether|Which|How|Where|Why|As|Likewise|Raises|Returns|Somebody|Something)\b"
)
_VERBS = (
    "accept admit answer ask buffer build collect compare compute connect convert copy count decide decode detect emit"
    " encode examine"
)
_VERBS += (
    " fetch find gather hide hold implement issue judge keep listen make open own put read receive recognise record"
    " refuse render"
)
_VERBS += " replace resolve run send serve split start take turn wait watch write"
_THIRD_PERSON = re.compile(
    rf"(?:{'|'.join(verb + ('es' if verb.endswith('ch') else 's') for verb in _VERBS.split())}|Copies|Relies)\b", re.I
)
_PLURALS = re.compile(
    r"(?:Answers|Changes|Copies|Counts|Records|Reports|Turns) (?:to|of|by|that|about|for|from|given|with|, |before)\b"
)
"""Nouns that are spelled like a verb."""
_ADVERB = r"(?:again|already|also|at|for|now|only|then|there|until|when|while)\b|[.;]"
_TRANSLATED = {
    r"\b(?:stands?|stood)\b(?!-in|-ins| for\b| still\b)": "say where it is: is, comes, is shown",
    rf"\b(?:that|what|which|it|they) (?:holds?|held) (?:{_ADVERB})|\b(?:holds?) (?:again|at|for|now|until)\b": (
        "say: applies to, is in force"
    ),
    r"(?<![Tt]here )\b(?:is|are|was|were|be) no\b"
    r"(?! (?:longer|more|less|one|other|such|better|\w+er|use|way|place for)\b)": "say: is not a",
    r"\bbeside\b": "say: next to, in addition to, besides",
    r"\bmend(?:s|ed|ing)?\b": "say: fix, repair",
    r"\bnone any more\b|\bno \w+ any more\b": "say: no longer",
    r"\b(?:takes?|took)\b(?: [\w’'-]+){1,4} for an? ": "say: treats as",
    r"\bbe taken for\b": "say: be treated as, be mistaken for",
}
"""Turns of a translated voice, each with what to say."""


def problems(package: Path = PACKAGE) -> Iterator[str]:
    """Yield each violation as one line, `path:line: text`."""
    modules_by_class: dict[str, list[str]] = defaultdict(list)
    for path in sorted(package.rglob("*.py")):
        name = str(path.relative_to(package.parent))
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        yield from (
            f"{name}:{line}: docstring begins with no noun or imperative: {first}"
            for line, first in _wrong_beginnings(tree)
        )
        for line, prose in _prose(tree, text):
            for turn, advice in _TRANSLATED.items():
                yield from (
                    f"{name}:{line + prose.count(chr(10), 0, found.start())}: “{found[0]}”: {advice}"
                    for found in re.finditer(turn, prose)
                )
        lines = text.count("\n")
        if lines > MAX_MODULE_LINES and name not in LONG_MODULES:
            yield f"{name}:1: {lines} lines, more than {MAX_MODULE_LINES}"
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                if not node.name.startswith("_"):
                    modules_by_class[node.name].append(name)
                methods = sum(isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) for each in node.body)
                if methods > MAX_METHODS and node.name not in LARGE_CLASSES:
                    yield f"{name}:{node.lineno}: class {node.name} has {methods} methods, more than {MAX_METHODS}"
    for class_name, names in sorted(modules_by_class.items()):
        if len(names) > 1:
            yield f"{names[0]}:1: class {class_name} is in {', '.join(names)}"


def _prose(tree: ast.Module, text: str) -> Iterator[tuple[int, str]]:
    """Yield the docstrings, also those of attributes, and the comments of a module, each with its first line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def _wrong_beginnings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = (ast.get_docstring(node) or "").partition("\n")[0]
            is_verb = isinstance(node, ast.ClassDef) and _THIRD_PERSON.match(first) and not _PLURALS.match(first)
            if is_verb or _NO_NOUN_OR_IMPERATIVE.match(first):
                yield getattr(node, "lineno", 1), first


if __name__ == "__main__":
    found = list(problems())
    print(*found, sep="\n")
    sys.exit(1 if found else 0)
