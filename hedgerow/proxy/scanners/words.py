"""Score an HTML page by the phrases in its visible text. Pure, save that phrase lists are read from files.

The text is the same however the page is cut into pieces: no cut falls inside a tag, an entity or an invisible element (script, style,
comment). Work is linear in the bytes, and memory is bounded, whatever the page contains.
"""

from __future__ import annotations

import codecs
import html
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Self

import ahocorasick

from hedgerow.blocklists.rules import Problem
from hedgerow.policies.model import Decision, Reason, Verdict
from hedgerow.proxy.scanners.decoding import Excessive
from hedgerow.proxy.scanners.scanner import Head, Scanner, ScanRules

MAX_UNPACKED = 16 * 1024 * 1024
"""Bytes of a page once it is decoded. No real page is as long: a body that stands for more is made to exhaust a filter."""

_OPENER = re.compile(r"<!--|<(script|style|template|math|object)\b[^<>]*>", re.IGNORECASE)
_CLOSERS = {
    name: re.compile(rf"</{name}\b[^<>]*>" if name else r"-->", re.IGNORECASE)
    for name in ("", "script", "style", "template", "math", "object")
}
# These do not separate words: `<b>p</b>age` is one word. Links and spans often stand side by side without a space, so they do.
_INLINE_TAG = re.compile(r"</?(?:b|big|em|font|i|mark|s|small|strong|sub|sup|tt|u|wbr)(?:\s[^<>]*)?/?>", re.IGNORECASE)
_TAG = re.compile(r"<[a-zA-Z/!?][^<>]*>")
_BETWEEN_WORDS = re.compile(r"[\W_]+")
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]"
)
_COMBINING = re.compile("[\u0300-\u036f]")
# Letters that stand for whole words: NFKD makes up to 18 characters of one.
_WORDY = re.compile("[\u321d\u321e\u327c\u3300-\u3357\u33ae\u33af\ufdfa\ufdfb]+")
# Browsers render these as U+FFFD; Python refuses to convert thousands of digits.
_LEADING_ZEROS = re.compile(r"&#(?:0+(?=[0-9])|([xX])0+(?=[0-9a-fA-F]))")
_NO_CHARACTER = re.compile(r"&#(?:[0-9]{8,}|[xX][0-9a-fA-F]{7,});?")
_NORMALIZED = 256
"""Characters that are decomposed at a time: sorting a run of combining marks may take quadratic time."""

_CHARSET = re.compile(r"""charset\s*=\s*["']?([^"';,\s]+)""")
_META_CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([A-Za-z0-9_:.-]{2,40})""", re.IGNORECASE)
_TEXT_CODEC = re.compile(
    r"ascii|utf-8|utf-16(-[lb]e)?|cp[0-9]+|iso8859-[0-9]+|koi8-[rtu]|gb.*|big5.*|shift_jis.*|euc_.*|iso2022.*|mac-.*|tis-620"
)
_MAX_TAG = 16 * 1024
_MAX_ENTITY = 32
_CHARSET_SNIFF_BYTES = 1024


def normalize_text(text: str) -> str:
    """Return text in the form in which it is compared: lower case without accents, each run of other characters one space.

    >>> normalize_text("Élan  vital!")
    'elan vital '
    """
    text = text.lower()
    if not text.isascii():
        text = _COMBINING.sub("", _decompose(_INVISIBLE.sub("", text))).lower()
    return _BETWEEN_WORDS.sub(" ", text)


def _decompose(text: str) -> str:
    """Return text in NFKD, at most four characters for one.

    >>> len(_decompose("\ufdfa" * 1000)), _decompose("\u00bd \ufb01")
    (1, '1\u20442 fi')
    """
    text = _WORDY.sub(" ", text)
    return "".join(unicodedata.normalize("NFKD", text[at : at + _NORMALIZED]) for at in range(0, len(text), _NORMALIZED))


class TextExtractor:
    """Turns a page's HTML, piece by piece, into its visible text in normal form, without a space at the start and with one at the end."""

    def __init__(self) -> None:
        self._pending = ""
        self._closer: re.Pattern[str] | None = None
        self._ends_with_space = True

    def feed(self, text: str, *, last: bool = False) -> str:
        """Return the text that is certain by now; with `last` the rest."""
        data = self._pending + text
        visible, position = self._cut_invisible(data)
        rest = data[position:]
        cut = len(rest) if last or self._closer is not None else _safe_cut(rest)
        self._pending = rest[cut:] if self._closer is None else rest
        if self._closer is None:
            visible.append(rest[:cut])
        return self._normalize("".join(visible), last=last)

    def _cut_invisible(self, data: str) -> tuple[list[str], int]:
        """Return the visible pieces, and the position up to which `data` was consumed."""
        visible: list[str] = []
        position = 0
        while True:
            if self._closer is not None:
                end = self._closer.search(data, position)
                if end is None:
                    return visible, max(position, len(data) - _MAX_ENTITY)
                self._closer = None
                position = end.end()
                visible.append(" ")
            opener = _OPENER.search(data, position)
            if opener is None:
                return visible, position
            visible.append(data[position : opener.start()])
            position = opener.end()
            self._closer = _CLOSERS[(opener[1] or "").lower()]

    def _normalize(self, text: str, *, last: bool) -> str:
        text = _TAG.sub(" ", _INLINE_TAG.sub("", text))
        if "&" in text:
            text = html.unescape(_NO_CHARACTER.sub("\ufffd", _LEADING_ZEROS.sub(r"&#\1", text)))
        text = normalize_text(text.replace("\0", ""))  # browsers drop NULs, which would separate words here
        if self._ends_with_space and text.startswith(" "):
            text = text[1:]
        if text:
            self._ends_with_space = text.endswith(" ")
        if last and not self._ends_with_space:
            text += " "
        return text


def _safe_cut(text: str) -> int:
    """Return the length of the beginning of `text` that ends in no tag and no entity."""
    cut = len(text)
    tag = text.rfind("<")
    if tag > text.rfind(">") and cut - tag < _MAX_TAG:
        cut = tag
    entity = text.rfind("&", max(0, cut - _MAX_ENTITY), cut)
    if entity >= 0 and ";" not in text[entity:cut]:
        cut = entity
    return cut


class TextDecoder:
    """Decodes a page's bytes. `charset` is the one that Content-Type declares."""

    def __init__(self, charset: str = "") -> None:
        self._charset = charset
        self._start = b""
        self._decoder: codecs.IncrementalDecoder | None = None

    def feed(self, data: bytes, *, last: bool = False) -> str:
        """Return the characters that are certain by now. The first ones come once the charset is detected."""
        if self._decoder is None:
            self._start += data
            if len(self._start) < _CHARSET_SNIFF_BYTES and not last:
                return ""
            data, self._start = self._start, b""
            self._decoder = codecs.getincrementaldecoder(detect_charset(data, self._charset))("replace")
        return self._decoder.decode(data, last)


def detect_charset(start: bytes, declared: str) -> str:
    """Return a page's charset by its byte order mark, Content-Type or meta element, else UTF-8 if the bytes are valid, else cp1252.

    >>> detect_charset(b"<meta charset=iso-8859-1>", ""), detect_charset("naïve".encode("latin-1"), "")
    ('cp1252', 'cp1252')
    """
    for mark, name in ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")):
        if start.startswith(mark):
            return name
    meta = _META_CHARSET.search(start, 0, 4 * _CHARSET_SNIFF_BYTES)
    if (named := _codec(declared)) is not None:
        return named
    if meta is not None and (named := _codec(meta[1].decode("ascii"))) is not None:
        return "utf-8" if named.startswith("utf-16") else named
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


@lru_cache(256)
def _codec(name: str) -> str | None:
    try:
        found = codecs.lookup(name.strip("\"' ")).name
        codecs.getincrementaldecoder(found)("replace").decode(b"a")
    except (LookupError, UnicodeError, ValueError, TypeError, AttributeError, AssertionError):
        return None
    if _TEXT_CODEC.fullmatch(found) is None:
        return None
    return {"iso8859-1": "cp1252", "ascii": "cp1252", "utf-16": "utf-16-le"}.get(found, found)


STARTER_LISTS = Path(__file__).parent / "phrases"
MAX_NEGATIVE_SCORE = -150
"""The most that benign phrases subtract: a paragraph about health does not excuse the rest of a page."""

_LINE = re.compile(r"((?:<[^<>]+>\s*,\s*)*<[^<>]+>)\s*<(-?[0-9]{1,6})>\s*(?:#.*)?")
_PHRASE = re.compile(r"<([^<>]+)>")


@dataclass(frozen=True, slots=True)
class Phrase:
    """Parts that must all be on a page, in normal form with a space at a word boundary, and their weight together."""

    parts: tuple[str, ...]
    weight: int


def parse_phrases(text: str, source: str) -> tuple[tuple[Phrase, ...], tuple[Problem, ...]]:
    """Return the phrases of a list in DansGuardian's format, and a problem for each line that is not valid.

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
            problems.append(Problem(source, number, 1, "not a phrase with a weight, such as < phrase ><20>"))
            continue
        phrases.append(Phrase(parts, int(match[2])))
    return tuple(phrases), tuple(problems)


def _plain_phrase(text: str) -> str:
    inner = normalize_text(text).strip()
    before = " " if text[:1].isspace() else ""
    return f"{before}{inner}{' ' if text[-1:].isspace() else ''}"


class PhraseMatcher:
    """All phrases in one automaton. Immutable: all scans of a process share it."""

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
        # Keyed by the first part alone: most phrases have none of their parts on a page.
        self._together: dict[int, list[tuple[tuple[int, ...], int]]] = {}
        for parts, weight in together.items():
            self._together.setdefault(parts[0], []).append((parts, weight))
        self._automaton = ahocorasick.Automaton()
        for text, number in numbers.items():
            self._automaton.add_word(text, number)
        self._automaton.make_automaton()
        self.is_empty = not numbers

    def find(self, text: str, iterator: object = None) -> tuple[object, set[int]]:
        """Return the numbers of the phrases in `text`, and the `iterator` to pass with the text that follows."""
        if iterator is None:
            iterator = self._automaton.iter(text)
        else:
            iterator.set(text, False)  # type: ignore[attr-defined]
        return iterator, {number for _, number in iterator}  # type: ignore[attr-defined]

    def score(self, found: set[int]) -> int:
        """Return the score of a page with these phrases."""
        weights = [self._weights.get(number, 0) for number in found]
        lines = [line for number in found for line in self._together.get(number, ())]
        weights += [weight for parts, weight in lines if found.issuperset(parts)]
        return sum(weight for weight in weights if weight > 0) + max(MAX_NEGATIVE_SCORE, sum(weight for weight in weights if weight < 0))


def list_versions(paths: Sequence[str]) -> tuple[tuple[str, int], ...]:
    """Return the starter lists and those in `paths` with the times of their last changes, for `load_phrases`. Raises OSError."""
    return tuple((str(file), file.stat().st_mtime_ns) for file in (*sorted(STARTER_LISTS.glob("*.txt")), *map(Path, paths)))


@lru_cache(maxsize=4)
def load_phrases(versions: tuple[tuple[str, int], ...]) -> tuple[PhraseMatcher, tuple[Problem, ...]]:
    """Return the phrases of all lists, and the problems in them. Raises OSError."""
    phrases: list[Phrase] = []
    problems: list[Problem] = []
    for name, _ in versions:
        data = Path(name).read_bytes()
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            text = data.decode("cp1252", "replace")
        parsed, invalid = parse_phrases(text, name)
        phrases += parsed
        problems += invalid
    return PhraseMatcher(phrases), tuple(problems)


class PageScore:
    """The score of one page, from its HTML in pieces."""

    def __init__(self, phrases: PhraseMatcher) -> None:
        self._phrases = phrases
        self._text = TextExtractor()
        self._found: set[int] = set()
        self._iterator: object = None
        self._has_begun = False

    def feed(self, html: str, *, last: bool = False) -> None:
        """Take the next characters of the page's HTML."""
        text = self._text.feed(html, last=last)
        if not self._has_begun and text:
            self._has_begun, text = True, " " + text
        if text and not self._phrases.is_empty:
            self._iterator, found = self._phrases.find(text, self._iterator)
            self._found |= found

    @property
    def value(self) -> int:
        """The score of the text so far."""
        return self._phrases.score(self._found)


class WordScanner(Scanner):
    """Blocks pages whose score exceeds a limit."""

    def __init__(self, phrases: PhraseMatcher, limit: int, charset: str) -> None:
        self.is_done = False
        self._score = PageScore(phrases)
        self._limit = limit
        self._text = TextDecoder(charset)
        self._size = 0

    @classmethod
    def wants(cls, head: Head, rules: ScanRules) -> Self | None:
        if not rules.content.page_limit or not head.may_be_page:
            return None
        charset = _CHARSET.search(head.content_type.lower())
        return cls(load_phrases(rules.phrase_lists)[0], rules.content.page_limit, charset[1] if charset is not None else "")

    def feed(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > MAX_UNPACKED:
            raise Excessive
        self._score.feed(self._text.feed(data))

    def release(self) -> Decision | None:
        score = self._score.value
        return Decision(Verdict.BLOCK, Reason.PAGE, f"{score} of {self._limit}") if score > self._limit else None

    def end(self) -> Decision | None:
        self._score.feed(self._text.feed(b"", last=True), last=True)
        return self.release()
