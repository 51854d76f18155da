"""Weigh the words of a page: phrases with weights, found in one pass, each counted once.

Phrase lists are in the format of e2guardian (https://github.com/e2guardian/e2guardian): `<phrase>,<phrase><weight>`, a space at
the edge of a phrase being the edge of a word. The starter lists in `phrases/` are our own. Pure but for `PhraseBook.load`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import ahocorasick

from hedgerow.blocklists.rules import Problem
from hedgerow.proxy.reading.page_text import PageText, plain

STARTER = Path(__file__).parent / "phrases"
MOST_CREDIT = -150
"""What good words may take away from bad ones at most: a page cannot buy itself free with a paragraph about health."""

_LINE = re.compile(r"((?:<[^<>]+>\s*,\s*)*<[^<>]+>)\s*<(-?[0-9]{1,6})>\s*(?:#.*)?")
_PHRASE = re.compile(r"<([^<>]+)>")


@dataclass(frozen=True, slots=True)
class Phrase:
    """Parts that must all be on a page, in their plain form with a space where a word must end; and what they weigh together."""

    parts: tuple[str, ...]
    weight: int


def parse_phrases(text: str, source: str) -> tuple[tuple[Phrase, ...], tuple[Problem, ...]]:
    """The phrases of a list. What cannot be read is a problem with its line and stops nothing.

    >>> parse_phrases("< Naked >,<girl><20>", "mine")[0]
    (Phrase(parts=(' naked ', 'girl'), weight=20),)
    """
    phrases, problems = [], []
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith(("#", ".")) or stripped.lower().startswith("#listcategory"):
            continue
        match = _LINE.fullmatch(stripped)
        parts = tuple(_plain_phrase(each) for each in _PHRASE.findall(match[1])) if match is not None else ()
        if match is None or not all(part.strip() for part in parts):
            problems.append(Problem(source, number, 1, "this is no phrase with a weight, such as < phrase ><20>"))
            continue
        phrases.append(Phrase(parts, int(match[2])))
    return tuple(phrases), tuple(problems)


def _plain_phrase(text: str) -> str:
    inner = plain(text).strip()
    before = " " if text[:1].isspace() else ""
    return f"{before}{inner}{' ' if text[-1:].isspace() else ''}"


class PhraseBook:
    """All phrases in one automaton. Shared by all scans of a process; never changes."""

    def __init__(self, phrases: Iterable[Phrase]) -> None:
        numbers: dict[str, int] = {}
        self._weights: dict[int, int] = {}
        together: dict[tuple[int, ...], int] = {}
        for phrase in dict.fromkeys(phrases):
            parts = tuple(sorted({numbers.setdefault(part, len(numbers)) for part in phrase.parts}))
            if len(parts) == 1:
                self._weights[parts[0]] = self._weights.get(parts[0], 0) + phrase.weight
            else:
                together[parts] = together.get(parts, 0) + phrase.weight
        # By their first part alone: most lines of a list have none of their parts on a page.
        self._together: dict[int, list[tuple[tuple[int, ...], int]]] = {}
        for parts, weight in together.items():
            self._together.setdefault(parts[0], []).append((parts, weight))
        self._automaton = ahocorasick.Automaton()
        for text, number in numbers.items():
            self._automaton.add_word(text, number)
        self._automaton.make_automaton()
        self.is_empty = not numbers

    @staticmethod
    def load(paths: Sequence[str] = ()) -> tuple[PhraseBook, tuple[Problem, ...]]:
        """The starter lists and those in `paths`, read again only when a file has changed. Raises OSError."""
        files = [*sorted(STARTER.glob("*.txt")), *map(Path, paths)]
        return _load(tuple((str(file), file.stat().st_mtime_ns) for file in files))

    def find(self, text: str, iterator: object = None) -> tuple[object, set[int]]:
        """The numbers of the phrases in `text`, and what to give for `iterator` with the text that follows."""
        if iterator is None:
            iterator = self._automaton.iter(text)
        else:
            iterator.set(text, False)  # type: ignore[attr-defined]
        return iterator, {number for _, number in iterator}  # type: ignore[attr-defined]

    def score(self, found: set[int]) -> int:
        """What the phrases weigh together."""
        weights = [self._weights.get(number, 0) for number in found]
        lines = [line for number in found for line in self._together.get(number, ())]
        weights += [weight for parts, weight in lines if found.issuperset(parts)]
        return sum(weight for weight in weights if weight > 0) + max(MOST_CREDIT, sum(weight for weight in weights if weight < 0))


@lru_cache(maxsize=4)
def _load(files: tuple[tuple[str, int], ...]) -> tuple[PhraseBook, tuple[Problem, ...]]:
    phrases: list[Phrase] = []
    problems: list[Problem] = []
    for name, _ in files:
        data = Path(name).read_bytes()
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            text = data.decode("cp1252", "replace")
        read, wrong = parse_phrases(text, name)
        phrases += read
        problems += wrong
    return PhraseBook(phrases), tuple(problems)


class PageScan:
    """One page being weighed. `score` is that of the text so far."""

    def __init__(self, book: PhraseBook) -> None:
        self._book = book
        self._text = PageText()
        self._found: set[int] = set()
        self._place: object = None
        self._begun = False

    def feed(self, text: str, *, last: bool = False) -> None:
        """Takes in the next characters of the page's HTML."""
        seen = self._text.feed(text, last=last)
        if not self._begun and seen:
            self._begun, seen = True, " " + seen
        if seen and not self._book.is_empty:
            self._place, found = self._book.find(seen, self._place)
            self._found |= found

    @property
    def score(self) -> int:
        return self._book.score(self._found)


def score_of(book: PhraseBook, page: str) -> int:
    """The score of a whole page."""
    scan = PageScan(book)
    scan.feed(page, last=True)
    return scan.score
