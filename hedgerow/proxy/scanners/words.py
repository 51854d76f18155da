"""The words of an HTML page that somebody sees, as one plain text, from pieces of any size.

Pure. However a page is cut into pieces, the text is the same: nothing is cut inside a tag, an entity or what is left out (scripts,
styles, comments). Work is linear in the bytes and memory is bounded, whatever the page holds.
"""

from __future__ import annotations

import codecs
import html
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import ahocorasick

from hedgerow.blocklists.rules import Problem
from hedgerow.proxy.scanners.decoding import ContentDecoder

_OPENER = re.compile(r"<!--|<(script|style|template|math|object)\b[^<>]*>", re.IGNORECASE)
_CLOSERS = {
    name: re.compile(rf"</{name}\b[^<>]*>" if name else r"-->", re.IGNORECASE)
    for name in ("", "script", "style", "template", "math", "object")
}
# These do not part words: `<b>p</b>age` is one. Links and spans often stand side by side without a space, so they do.
_INLINE_TAG = re.compile(r"</?(?:b|big|em|font|i|mark|s|small|strong|sub|sup|tt|u|wbr)(?:\s[^<>]*)?/?>", re.IGNORECASE)
_TAG = re.compile(r"<[a-zA-Z/!?][^<>]*>")
_BETWEEN_WORDS = re.compile(r"[\W_]+")
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]"
)
_COMBINING = re.compile("[\u0300-\u036f]")
# Letters that stand for whole words: up to 18 characters each where they are decomposed.
_WORDY = re.compile("[\u321d\u321e\u327c\u3300-\u3357\u33ae\u33af\ufdfa\ufdfb]+")
# Browsers take these as U+FFFD; Python refuses to make a number of thousands of digits.
_LEADING_ZEROS = re.compile(r"&#(?:0+(?=[0-9])|([xX])0+(?=[0-9a-fA-F]))")
_NO_CHARACTER = re.compile(r"&#(?:[0-9]{8,}|[xX][0-9a-fA-F]{7,});?")
_NORMALIZED = 256
"""Characters that are decomposed at a time: sorting a run of combining marks may take the square of its length."""

_META_CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([A-Za-z0-9_:.-]{2,40})""", re.IGNORECASE)
_TEXT_CODEC = re.compile(
    r"ascii|utf-8|utf-16(-[lb]e)?|cp[0-9]+|iso8859-[0-9]+|koi8-[rtu]|gb.*|big5.*|shift_jis.*|euc_.*|iso2022.*|mac-.*|tis-620"
)
_MAX_TAG = 16 * 1024
_MAX_ENTITY = 32
_CHARSET_SNIFF_BYTES = 1024


def normalize_text(text: str) -> str:
    """Text as it is compared: small letters without accents, each run of anything else one space.

    >>> normalize_text("Élan  vital!")
    'elan vital '
    """
    text = text.lower()
    if not text.isascii():
        text = _COMBINING.sub("", _decompose(_INVISIBLE.sub("", text))).lower()
    return _BETWEEN_WORDS.sub(" ", text)


def _decompose(text: str) -> str:
    """Text in NFKD, at most four characters for one; marks that are cut from others part words whatever their order.

    >>> len(_decompose("\ufdfa" * 1000)), _decompose("\u00bd \ufb01")
    (1, '1\u20442 fi')
    """
    text = _WORDY.sub(" ", text)
    return "".join(unicodedata.normalize("NFKD", text[at : at + _NORMALIZED]) for at in range(0, len(text), _NORMALIZED))


class TextExtractor:
    """Takes a page's characters piece by piece and gives back the visible ones, plain. The whole begins and ends with a space."""

    def __init__(self) -> None:
        self._pending = ""
        self._closer: re.Pattern[str] | None = None
        self._ends_with_space = True

    def feed(self, text: str, *, last: bool = False) -> str:
        """What can be told by now; with `last` the rest."""
        data = self._pending + text
        kept, position = self._without_what_is_not_seen(data)
        rest = data[position:]
        cut = len(rest) if last or self._closer is not None else _safe_cut(rest)
        self._pending = rest[cut:] if self._closer is None else rest
        if self._closer is None:
            kept.append(rest[:cut])
        return self._plain("".join(kept), last=last)

    def _without_what_is_not_seen(self, data: str) -> tuple[list[str], int]:
        kept: list[str] = []
        position = 0
        while True:
            if self._closer is not None:
                end = self._closer.search(data, position)
                if end is None:
                    return kept, max(position, len(data) - _MAX_ENTITY)
                self._closer = None
                position = end.end()
                kept.append(" ")
            opener = _OPENER.search(data, position)
            if opener is None:
                return kept, position
            kept.append(data[position : opener.start()])
            position = opener.end()
            self._closer = _CLOSERS[(opener[1] or "").lower()]

    def _plain(self, text: str, *, last: bool) -> str:
        text = _TAG.sub(" ", _INLINE_TAG.sub("", text))
        if "&" in text:
            text = html.unescape(_NO_CHARACTER.sub("\ufffd", _LEADING_ZEROS.sub(r"&#\1", text)))
        text = normalize_text(text.replace("\0", ""))  # which browsers leave out, and all that is not a letter parts words here
        if self._ends_with_space and text.startswith(" "):
            text = text[1:]
        if text:
            self._ends_with_space = text.endswith(" ")
        if last and not self._ends_with_space:
            text += " "
        return text


def _safe_cut(text: str) -> int:
    """Up to where `text` may be taken without cutting a tag or an entity in two."""
    cut = len(text)
    tag = text.rfind("<")
    if tag > text.rfind(">") and cut - tag < _MAX_TAG:
        cut = tag
    entity = text.rfind("&", max(0, cut - _MAX_ENTITY), cut)
    if entity >= 0 and ";" not in text[entity:cut]:
        cut = entity
    return cut


class BodyDecoder:
    """Undoes Content-Encoding and the charset of a page. `is_known` is false where the encoding is none that can be undone here."""

    def __init__(self, encoding: str, charset: str = "") -> None:
        self._unpacker = ContentDecoder(encoding)
        self.is_known = self._unpacker.is_known
        self._charset = charset
        self._start = b""
        self._decoder: codecs.IncrementalDecoder | None = None

    @property
    def work(self) -> int:
        """Bytes that were unpacked so far, before and after; see `ContentDecoder`."""
        return self._unpacker.work

    def bytes_of(self, data: bytes) -> Iterator[bytes]:
        """The bytes behind the encoding, in pieces of about 64 kB: a small body may stand for a huge one. Raises Excessive."""
        return self._unpacker.feed(data)

    def text_of(self, data: bytes, *, last: bool = False) -> str:
        """The characters of bytes that `bytes_of` gave."""
        if self._decoder is None:
            self._start += data
            if len(self._start) < _CHARSET_SNIFF_BYTES and not last:
                return ""
            data, self._start = self._start, b""
            self._decoder = codecs.getincrementaldecoder(detect_charset(data, self._charset))("replace")
        return self._decoder.decode(data, last)


def detect_charset(start: bytes, declared: str) -> str:
    """A page's charset: byte order mark, Content-Type, meta element, and else UTF-8 where the bytes are that.

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
    inner = normalize_text(text).strip()
    before = " " if text[:1].isspace() else ""
    return f"{before}{inner}{' ' if text[-1:].isspace() else ''}"


class PhraseMatcher:
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
    def load(paths: Sequence[str] = ()) -> tuple[PhraseMatcher, tuple[Problem, ...]]:
        """The starter lists and those in `paths`, read again only when a file has changed. Raises OSError."""
        files = [*sorted(STARTER_LISTS.glob("*.txt")), *map(Path, paths)]
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
        return sum(weight for weight in weights if weight > 0) + max(MAX_NEGATIVE_SCORE, sum(weight for weight in weights if weight < 0))


@lru_cache(maxsize=4)
def _load(files: tuple[tuple[str, int], ...]) -> tuple[PhraseMatcher, tuple[Problem, ...]]:
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
    return PhraseMatcher(phrases), tuple(problems)


class PageScanner:
    """One page being weighed. `score` is that of the text so far."""

    def __init__(self, book: PhraseMatcher) -> None:
        self._book = book
        self._text = TextExtractor()
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


def score_page(book: PhraseMatcher, page: str) -> int:
    """The score of a whole page."""
    scan = PageScanner(book)
    scan.feed(page, last=True)
    return scan.score
