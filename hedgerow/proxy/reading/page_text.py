"""The words of an HTML page that somebody sees, as one plain text, from pieces of any size.

Pure. However a page is cut into pieces, the text is the same: nothing is cut inside a tag, an entity or what is left out (scripts,
styles, comments). Work is linear in the bytes and memory is bounded, whatever the page holds.
"""

from __future__ import annotations

import codecs
import html
import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

from hedgerow.proxy.reading.codings import Unpacker

_OPENER = re.compile(r"<!--|<(script|style|template|math|object)\b[^<>]*>", re.IGNORECASE)
_CLOSERS = {
    name: re.compile(rf"</{name}\b[^<>]*>" if name else r"-->", re.IGNORECASE)
    for name in ("", "script", "style", "template", "math", "object")
}
# These do not part words: `<b>p</b>age` is one. Links and spans often stand side by side without a space, so they do.
_INSIDE_WORDS = re.compile(r"</?(?:b|big|em|font|i|mark|s|small|strong|sub|sup|tt|u|wbr)(?:\s[^<>]*)?/?>", re.IGNORECASE)
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
_LONGEST_TAG = 16 * 1024
_LONGEST_ENTITY = 32
_SNIFFED = 1024


def plain(text: str) -> str:
    """Text as it is compared: small letters without accents, each run of anything else one space.

    >>> plain("Élan  vital!")
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


class PageText:
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
                    return kept, max(position, len(data) - _LONGEST_ENTITY)
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
        text = _TAG.sub(" ", _INSIDE_WORDS.sub("", text))
        if "&" in text:
            text = html.unescape(_NO_CHARACTER.sub("\ufffd", _LEADING_ZEROS.sub(r"&#\1", text)))
        text = plain(text.replace("\0", ""))  # which browsers leave out, and all that is not a letter parts words here
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
    if tag > text.rfind(">") and cut - tag < _LONGEST_TAG:
        cut = tag
    entity = text.rfind("&", max(0, cut - _LONGEST_ENTITY), cut)
    if entity >= 0 and ";" not in text[entity:cut]:
        cut = entity
    return cut


class BodyDecoder:
    """Undoes Content-Encoding and the charset of a page. `is_known` is false where the encoding is none that can be undone here."""

    def __init__(self, encoding: str, charset: str = "") -> None:
        self._unpacker = Unpacker(encoding)
        self.is_known = self._unpacker.is_known
        self._charset = charset
        self._start = b""
        self._decoder: codecs.IncrementalDecoder | None = None

    @property
    def work(self) -> int:
        """Bytes that were unpacked so far, before and after; see `Unpacker`."""
        return self._unpacker.work

    def bytes_of(self, data: bytes) -> Iterator[bytes]:
        """The bytes behind the encoding, in pieces of about 64 kB: a small body may stand for a huge one. Raises Excessive."""
        return self._unpacker.feed(data)

    def text_of(self, data: bytes, *, last: bool = False) -> str:
        """The characters of bytes that `bytes_of` gave."""
        if self._decoder is None:
            self._start += data
            if len(self._start) < _SNIFFED and not last:
                return ""
            data, self._start = self._start, b""
            self._decoder = codecs.getincrementaldecoder(find_charset(data, self._charset))("replace")
        return self._decoder.decode(data, last)


def find_charset(start: bytes, declared: str) -> str:
    """A page's charset: byte order mark, Content-Type, meta element, and else UTF-8 where the bytes are that.

    >>> find_charset(b"<meta charset=iso-8859-1>", ""), find_charset("naïve".encode("latin-1"), "")
    ('cp1252', 'cp1252')
    """
    for mark, name in ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")):
        if start.startswith(mark):
            return name
    meta = _META_CHARSET.search(start, 0, 4 * _SNIFFED)
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
