"""Score an HTML page by weighted phrases, and recognise its topic by these, its links and its labels.

Pure, save that phrase lists are read from files. Both judgements use one extraction of the page's text (`page_text`)
and one search for the phrases of all lists.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Self
from urllib.parse import unquote

import ahocorasick

from hedgerow.blocklists.names import host_of_url, is_beneath
from hedgerow.blocklists.rules import Problem
from hedgerow.policies.content import LENIENT_LIMIT
from hedgerow.policies.model import Decision, Reason, Verdict
from hedgerow.policies.remembered import ADULT, GAMBLING, TOPICS, recognised_by_page
from hedgerow.proxy.scanners.decoding import ExcessiveExpansion
from hedgerow.proxy.scanners.page_text import (
    PageFacts,
    PageLabel,
    TextDecoder,
    declared_charset,
    label_of,
    normalize_text,
)
from hedgerow.proxy.scanners.scanner import Head, Scanner, ScanRules
from hedgerow.proxy.scanners.topics import NO_SCORES, LinkedSites, PageFinding, PhraseScores, recognise
from hedgerow.proxy.scanners.visible_text import Markup, TextExtractor

MAX_UNPACKED = 16 * 1024 * 1024
"""Bytes of a page once it is decoded.

No real page is as long: a body that stands for more is made to exhaust a filter.
"""
STARTER_LISTS = Path(__file__).parent / "phrases"
MAX_NEGATIVE_SCORE = -150
"""The most that benign phrases subtract: a paragraph about health does not excuse the rest of a page."""

_PIECE = 4096
"""Bytes that are read at a time at least.

A tag that is not complete is read again with each piece, and a site may send single bytes.
"""

_LINE = re.compile(r"((?:<[^<>]+>\s*,\s*)*<[^<>]+>)\s*<(-?[0-9]{1,6})>\s*(?:#.*)?")
_PHRASE = re.compile(r"<([^<>]+)>")
_TOPIC = re.compile(r"#\s*topic:\s*([a-z-]*)")
_FREQUENT_FIRST = {ord(letter): rank for rank, letter in enumerate(" etaoinsrhldcumfpgwybvkxjqz0123456789")}
_NO_SITES = LinkedSites()
_UNREADABLE = Decision(Verdict.BLOCK, Reason.PAGE, "cannot be decoded")
_UNSCORED = frozenset({GAMBLING})  # topics whose phrases say nothing about the age for which a page is suitable


@dataclass(frozen=True, slots=True)
class Phrase:
    """Parts that must all be on a page, in normal form with a space at a word boundary, and their weight together.

    `topic` is the one for which they speak or, with a negative weight, against which; empty for none that pages are
    recognised as.
    """

    parts: tuple[str, ...]
    weight: int
    topic: str = ""


def parse_phrases(text: str, source: str) -> tuple[tuple[Phrase, ...], tuple[Problem, ...]]:
    """Return the phrases of a list in DansGuardian's format, and a problem for each line that is not valid.

    A comment `# topic: adult` says what the lines after it are about.

    >>> parse_phrases("< Naked >,<girl><20>", "mine")[0]
    (Phrase(parts=(' naked ', 'girl'), weight=20, topic=''),)
    """
    phrases, problems, topic = [], [], ""
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if (named := _TOPIC.fullmatch(stripped)) is not None:
            topic = named[1] if named[1] in TOPICS else ""
        if not stripped or stripped.startswith(("#", ".")):
            continue
        match = _LINE.fullmatch(stripped)
        parts = tuple(_plain_phrase(each) for each in _PHRASE.findall(match[1])) if match is not None else ()
        if match is None or not all(part.strip() for part in parts):
            problems.append(Problem(source, number, 1, "not a phrase with a weight, such as < phrase ><20>"))
            continue
        phrases.append(Phrase(parts, int(match[2]), topic))
    return tuple(phrases), tuple(problems)


def _plain_phrase(text: str) -> str:
    inner = normalize_text(text).strip()
    before = " " if text[:1].isspace() else ""
    return f"{before}{inner}{' ' if text[-1:].isspace() else ''}"


class PhraseMatcher:
    """All phrases in one automaton. Immutable: all scans of a process share it."""

    def __init__(self, phrases: Iterable[Phrase]) -> None:
        numbers: dict[str, int] = {}
        together: dict[tuple[int, ...], dict[str, int]] = {}
        for phrase in dict.fromkeys(phrases):
            parts = tuple(sorted({numbers.setdefault(part, len(numbers)) for part in phrase.parts}))
            weights = together.setdefault(parts, defaultdict(int))
            weights[phrase.topic] += phrase.weight
            if phrase.topic not in _UNSCORED:
                weights["*"] += phrase.weight  # of all by which the words of a page are judged
        # Keyed by the longest part alone: most phrases have none of their parts on a page, and short ones are on every
        # page.
        self._lines: dict[int, list[tuple[tuple[int, ...], Mapping[str, int]]]] = {}
        sizes = [len(text) for text in numbers]
        for parts, weights in together.items():
            self._lines.setdefault(max(parts, key=sizes.__getitem__), []).append((parts, dict(weights)))
        self._automaton = ahocorasick.Automaton()
        # its nodes are searched in this order
        for text in sorted(numbers, key=lambda text: text.translate(_FREQUENT_FIRST)):
            self._automaton.add_word(text, numbers[text])
        self._automaton.make_automaton()
        self.is_empty = not numbers

    def find(self, text: str, iterator: object = None) -> tuple[object, set[int]]:
        """Return the numbers of the phrases in `text`, and the `iterator` to pass with the text that follows."""
        if self.is_empty:
            return None, set()
        if iterator is None:
            iterator = self._automaton.iter(text)
        else:
            iterator.set(text, False)  # type: ignore[attr-defined]
        return iterator, {number for _, number in iterator}  # type: ignore[attr-defined]

    def scores(self, found: set[int]) -> dict[str, int]:
        """Return the scores of a page with these phrases by topic, without those that are 0 for want of phrases."""
        for_it, against = dict[str, int](), dict[str, int]()
        for number in found:
            for parts, weights in self._lines.get(number, ()):
                if len(parts) == 1 or found.issuperset(parts):
                    for topic, weight in weights.items():
                        side = for_it if weight > 0 else against
                        side[topic] = side.get(topic, 0) + weight
        return {
            topic: for_it.get(topic, 0) + max(MAX_NEGATIVE_SCORE, against.get(topic, 0)) for topic in for_it | against
        }


def list_versions(paths: Sequence[str]) -> tuple[tuple[str, int], ...]:
    """Return the starter lists and those in `paths` with the times of their last changes, for `load_phrases`.

    Raises OSError.
    """
    return tuple(
        (str(file), file.stat().st_mtime_ns) for file in (*sorted(STARTER_LISTS.glob("*.txt")), *map(Path, paths))
    )


@lru_cache(maxsize=4)
def load_phrases(versions: tuple[tuple[str, int], ...]) -> tuple[PhraseMatcher, tuple[Problem, ...]]:
    """Return the phrases of all lists, and the problems in them. Raises OSError."""
    starter: dict[tuple[tuple[str, ...], str], Phrase] = {}
    phrases: list[Phrase] = []
    problems: list[Problem] = []
    for name, _ in versions:
        data = Path(name).read_bytes()
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            text = data.decode("cp1252", "replace")
        parsed, invalid = parse_phrases(text, name)
        problems += invalid
        if Path(name).parent != STARTER_LISTS:
            phrases += parsed
            continue
        for phrase in parsed:  # a word of several languages counts once
            known = starter.setdefault((phrase.parts, phrase.topic), phrase)
            if abs(phrase.weight) > abs(known.weight):
                starter[phrase.parts, phrase.topic] = phrase
    return PhraseMatcher([*starter.values(), *phrases]), tuple(problems)


class PageScore:
    """The scores of one page, from its HTML in pieces."""

    def __init__(self, phrases: PhraseMatcher, markup: Markup = Markup.HTML) -> None:
        self.facts = PageFacts()
        self._phrases = phrases
        self._text = TextExtractor(self.facts, markup)
        self._found: set[int] = set()
        # the scores, and the number of phrases that they are based on
        self._scores: tuple[int, dict[str, int]] = (0, {})
        self._iterator: object = None
        self._has_begun = False

    def feed(self, html: str, *, last: bool = False) -> None:
        """Take the next characters of the page's HTML."""
        text = self._text.feed(html, last=last)
        if not self._has_begun and text:
            self._has_begun, text = True, " " + text
        if text:
            self._iterator, found = self._phrases.find(text, self._iterator)
            self._found |= found

    @property
    def value(self) -> int:
        """The score of the words so far."""
        return self._by_word().get("*", 0)

    def _by_word(self) -> dict[str, int]:
        if self._scores[0] != len(self._found):
            self._scores = len(self._found), self._phrases.scores(self._found)
        return self._scores[1]

    def by_topic(self, url: str) -> dict[str, PhraseScores]:
        """Return the scores by topic so far of the page with this URL; nothing if neither its text nor its description
        has any.
        """
        phrases, title, text = self._phrases, self.facts.description, self._by_word()
        described = set[int]() if title.isspace() else phrases.find(title)[1]
        if not described:
            found = {topic: PhraseScores(score, 0, 0) for topic in TOPICS if (score := text.get(topic, 0))}
            return {**dict.fromkeys(TOPICS, NO_SCORES), **found} if found else {}
        linked = phrases.find(normalize_text(f" {unquote(url)} "))[1]
        description, own = phrases.scores(described), phrases.scores(described - linked)
        return {
            topic: PhraseScores(text.get(topic, 0), description.get(topic, 0), own.get(topic, 0)) for topic in TOPICS
        }


class PageScanner(Scanner):
    """Scanner that blocks pages whose score exceeds a limit, and those of a blocked topic.

    `finding` is the topic that was recognised.
    """

    def __init__(self, phrases: PhraseMatcher, rules: ScanRules, head: Head) -> None:
        self.is_done = False
        self.finding: PageFinding | None = None
        self._linked: tuple[int, LinkedSites] = (0, _NO_SITES)
        self._score = PageScore(phrases, head.kind.markup)
        self._rules = rules
        self._limit = rules.content.page_limit or 0
        self.unreadable = _UNREADABLE if self._limit < LENIENT_LIMIT else None
        self._text = TextDecoder(declared_charset(head.content_type))
        self._unread = bytearray()  # the last pieces, which are read together with the end if nothing follows
        self._url = head.url
        self._label = max(label_of("rating", head.rating), label_of("pics-label", head.pics_label))
        self._size = 0

    @classmethod
    def wants(cls, head: Head, rules: ScanRules) -> Self | None:
        if not rules.content.page_limit or not head.kind.may_be_page:
            return None
        return cls(load_phrases(rules.phrase_lists)[0], rules, head)

    @property
    def score(self) -> int:
        """The score of the page's words so far."""
        return self._score.value

    def feed(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > MAX_UNPACKED:
            raise ExcessiveExpansion
        if len(self._unread) >= _PIECE:
            self._read()
        self._unread += data

    def release(self) -> Decision | None:
        self._read(is_released=True)
        return self._judge()

    def end(self) -> Decision | None:
        self._read(last=True)
        return self._judge()

    def _read(self, *, last: bool = False, is_released: bool = False) -> None:
        data, self._unread = bytes(self._unread), bytearray()
        if data or last or is_released:
            self._score.feed(self._text.feed(data, last=last, is_released=is_released), last=last)

    def _judge(self) -> Decision | None:
        self.finding = self._recognise()
        if (score := self.score) > self._limit:
            return Decision(Verdict.BLOCK, Reason.PAGE, f"{score} of {self._limit}")
        if self.finding is not None and self.finding.topic in self._rules.topics:
            return recognised_by_page(self.finding.topic, is_labelled=self.finding.is_labelled)
        return None

    def _recognise(self) -> PageFinding | None:
        facts, rules = self._score.facts, self._rules
        if rules.labels_only:
            is_labelled = max(self._label, facts.label) is PageLabel.ADULT
            return PageFinding(ADULT, is_labelled=True, is_described=True) if is_labelled else None
        return recognise(facts, self._score.by_topic(self._url), self._linked_sites(), self._label)

    def _linked_sites(self) -> LinkedSites:
        """Return the sites among the hosts so far, which are looked up when there are more than at the last time."""
        hosts, listed = self._score.facts.hosts, self._rules.listed
        if listed is not None and len(hosts) != self._linked[0]:
            own = frozenset({(host_of_url(self._url) or "").removeprefix("www.")})
            self._linked = len(hosts), listed.count(host for host in hosts if not is_beneath(host, own))
        return self._linked[1]
