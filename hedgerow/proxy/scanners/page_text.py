"""The text of a page: its charset, the normal form in which it is compared, and what the page says of itself. Pure."""

from __future__ import annotations

import codecs
import html
import re
import unicodedata
from enum import IntEnum
from functools import lru_cache

from hedgerow.blocklists.names import parse_host
from hedgerow.proxy.scanners.html_syntax import parse_attributes, strip_tags

_OTHER_THAN_WORDS = re.compile(r"[^\w\x00-\x7f]+")
_OCTETS = bytes(range(0x100)).lower()
_ASCII_WORDS = bytes(octet if octet >= 0x80 or chr(octet).isalnum() else 0x20 for octet in _OCTETS)
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]"
)
_COMBINING = re.compile("[\u0300-\u036f]")
# Letters that stand for whole words: NFKD makes up to 18 characters of one.
_WORDY = re.compile("[\u321d\u321e\u327c\u3300-\u3357\u33ae\u33af\ufdfa\ufdfb]+")
# Browsers render these as U+FFFD; Python refuses to convert thousands of digits.
_LEADING_ZEROS = re.compile(r"&#(?:0+(?=[0-9])|([xX])0+(?=[0-9a-fA-F]))")
_NO_CHARACTER = re.compile(r"&#(?:[0-9]{8,}|[xX][0-9a-fA-F]{7,});?")
# Letters, with one or more tags between them; and the least of it, which begins with what is searched fast.
_SPELLED = re.compile(r"(?<!\w)\w(?:<++\w(?!\w)){2,}+")
_SPELLED_HINT = re.compile(r"<\w<+\w(?!\w)")
_SPELLED_END = re.compile(r"(?<!\w)\w?(?:<++\w)*+<*+\Z")
_LONGEST_SPELLED = 64
_NORMALIZED = 256
"""Characters that are decomposed at a time: sorting a run of combining marks may take quadratic time."""

_CHARSET = re.compile(r"""charset\s*=\s*["']?([^"';,\s]+)""")
_META_CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*+=\s*+["']?+\s*+([A-Za-z0-9_:.-]{2,40})""", re.IGNORECASE)
_TEXT_CODEC = re.compile(
    r"ascii|utf-8|utf-16(-[lb]e)?|cp[0-9]+|iso8859-[0-9]+|koi8-[rtu]|gb.*|big5.*|shift_jis.*|euc_.*|iso2022.*|mac-.*|tis-620"
)
_CHARSET_SNIFF_BYTES = 1024

_MAX_START = 64 * 1024
_MAX_DESCRIPTION = 4096
_MAX_HOSTS = 256
_BODY = re.compile(r"<body\b", re.IGNORECASE)
_TITLE = re.compile(r"<title\b[^<>]*>([^<]{0,1000})", re.IGNORECASE)
_HEADING = re.compile(r"<h[12]\b[^<>]*>([^<]{1,200})", re.IGNORECASE)
_META = re.compile(r"<(?i:meta)\b([^<>]*+)>")
_LINK = re.compile(r"""=\s?["']?\s?(?:[hH][tT][tT][pP][sS]?:)?//([A-Za-z0-9.-]{4,253})""")  # the value of an attribute
_DESCRIPTIONS = frozenset(
    {"description", "keywords", "og:title", "og:description", "twitter:title", "twitter:description"}
)
RTA_LABEL = "rta-5042-1996-1400-1577-rta"
"""The label "Restricted to adults" (rtalabel.org), in lower case."""
# RSACi: sex and nudity, 0 to 4
_PICS_EXPLICIT = re.compile(r"\br(?:atings)?\s*\((?=[^()]*\bs\s+[34]\b)(?=[^()]*\bn\s+[34]\b)")
# ICRA: explicit sexual acts, and not in art (nr), teaching (ns) or medicine (nt)
_ICRA_EXPLICIT = re.compile(r"\br(?:atings)?\s*\((?=[^()]*\bnf\s+1\b)(?![^()]*\bn[rst]\s+1\b)")
_MAX_LABEL = 4096

_ITEM_FIELD = re.compile("isFamilyFriendly|hasAdultConsideration")
_ELEMENT = re.compile(r"<[a-zA-Z]++([^<>]*+)>([^<>]{0,80})")
_LINKED_FIELD = re.compile(
    r"""["/:](isFamilyFriendly|hasAdultConsideration)"\s*+:\s*+("[^"]{0,200}"|[\[{][^\]}]{0,400}|false)""",
    re.IGNORECASE,
)
_LETTERS = re.compile("[a-z]+")


class PageLabel(IntEnum):
    """The label by which a page declares itself."""

    NONE = 0
    MATURE = 1  # for adults, which may mean a shop for wine
    SEXUAL_ITEM = 2  # something on the page is sexual, which may be a pharmacy's product
    ADULT = 3  # sexually explicit


def normalize_text(text: str) -> str:
    """Return text in the form in which it is compared: lower case without accents, each run of other characters one
    space.

    >>> normalize_text("Élan  vital!")
    'elan vital '
    """
    if not text.isascii():
        text = _COMBINING.sub("", _decompose(_INVISIBLE.sub("", text.lower()))).lower()
        text = _OTHER_THAN_WORDS.sub(" ", text)
    # a fifth of the time of an expression for all characters
    words = text.encode("utf-8", "surrogatepass").translate(_ASCII_WORDS)
    if b"  " in words:
        words = b" ".join((b"." + words + b".").split())[1:-1]
    return words.decode("utf-8", "surrogatepass")


def _decompose(text: str) -> str:
    """Return text in NFKD, at most four characters for one.

    >>> len(_decompose("\ufdfa" * 1000)), _decompose("\u00bd \ufb01")
    (1, '1\u20442 fi')
    """
    text = _WORDY.sub(" ", text)
    return "".join(
        unicodedata.normalize("NFKD", text[at : at + _NORMALIZED]) for at in range(0, len(text), _NORMALIZED)
    )


def unescape(text: str) -> str:
    """Return text with its character references resolved, as browsers do, and without NULs, which they drop."""
    if "&" in text:
        text = html.unescape(_NO_CHARACTER.sub("\ufffd", _LEADING_ZEROS.sub(r"&#\1", text)))
    return text.replace("\0", "")


def join_spelled(text: str) -> str:
    """Return text, with a `<` for each tag, in which words spelled with a tag after each letter are whole.

    >>> join_spelled("a <w<<o<<r<<d< in links<A<B"), join_spelled("w<o<r<d, one<two")
    ('a <word< in links<A<B', 'word, one<two')
    """
    return (
        _SPELLED.sub(lambda found: found[0].replace("<", ""), text) if _SPELLED_HINT.search(text) is not None else text
    )


def spelled_end(text: str) -> int:
    """Return the position from which on `text`, as for `join_spelled`, may be part of a word that goes on."""
    cut = _SPELLED_END.search(text, max(0, len(text) - _LONGEST_SPELLED))
    return cut.start() if cut is not None else len(text)


def _plain(text: str) -> str:
    """Return HTML without tags in normal form."""
    return normalize_text(join_spelled(unescape(strip_tags(text))))


class PageFacts:
    """Statements of a page about itself, besides its text: title, descriptions, headings, label, and the hosts of its
    links and files.

    Headings count in the first 64 thousand characters, and 256 hosts; of JSON-LD, as many characters.
    """

    def __init__(self) -> None:
        self.hosts: dict[str, None] = {}
        self._start = self._linked_data = ""
        self._read: tuple[int, str, PageLabel] | None = None

    def add(self, page: str) -> None:
        """Take the next piece of the page's HTML, without invisible elements."""
        if len(self._start) < _MAX_START:
            self._start += page[: _MAX_START - len(self._start)]
        self.add_links(page)

    def add_linked_data(self, data: str) -> None:
        """Take the next piece of the page's JSON-LD."""
        self._linked_data += data[: _MAX_START - len(self._linked_data)]

    def add_links(self, tags: str) -> None:
        """Note the hosts of links and embedded files."""
        if len(self.hosts) < _MAX_HOSTS and "//" in tags:
            for name in _LINK.findall(tags):
                if name not in self.hosts and (host := parse_host(name)) is not None:
                    self.hosts[host] = None
                    if len(self.hosts) >= _MAX_HOSTS:
                        return

    @property
    def description(self) -> str:
        """The page's title, descriptions, keywords and main headings, in normal form with a space at each end."""
        return self._read_start()[1]

    @property
    def label(self) -> PageLabel:
        """The label in the page's head, or of the items that its elements and JSON-LD describe (schema.org)."""
        return self._read_start()[2]

    def _read_start(self) -> tuple[int, str, PageLabel]:
        size = len(self._start) + len(self._linked_data)
        if self._read is None or self._read[0] != size:
            body = _BODY.search(self._start)
            head = self._start if body is None else self._start[: body.start()]
            fields = [parse_attributes(tag) for tag in _META.findall(head)]
            named = [(_name_of(each), each.get("content", "")) for each in fields]
            title = _TITLE.search(head)
            parts = [title[1] if title is not None else ""]
            parts += [text for name, text in named if name in _DESCRIPTIONS]
            parts += _HEADING.findall(self._start)
            declared = named + self._fields_of_items()
            label = max((label_of(name, text) for name, text in declared), default=PageLabel.NONE)
            described = _plain(" . ".join(parts)[:_MAX_DESCRIPTION]).strip() if any(parts) else ""
            self._read = size, f" {described} ", label
        return self._read

    def _fields_of_items(self) -> list[tuple[str, str]]:
        """Return the properties of schema.org that are labels: those in JSON-LD, and in elements (microdata, RDFa)."""
        found = [(name.lower(), value) for name, value in _LINKED_FIELD.findall(self._linked_data)]
        if _ITEM_FIELD.search(self._start) is not None:
            for tag, text in _ELEMENT.findall(self._start):
                fields = parse_attributes(tag) if _ITEM_FIELD.search(tag) is not None else {}
                name = _ITEM_FIELD.search(fields.get("itemprop") or fields.get("property", ""))
                if name is not None:
                    found.append((name[0].lower(), fields.get("content") or fields.get("href") or text))
        return found


def _name_of(attributes: dict[str, str]) -> str:
    return next(
        (
            attributes[key].strip().lower()
            for key in ("name", "property", "http-equiv", "itemprop")
            if key in attributes
        ),
        "",
    )


def label_of(name: str, value: str) -> PageLabel:
    """Return the label that a field of a page's head, or of its response's, declares.

    >>> (label_of("rating", "RTA-5042-1996-1400-1577-RTA").name, label_of("rating", "mature").name,
    ...  label_of("rating", "general").name, label_of("isfamilyfriendly", "https://schema.org/False").name)
    ('ADULT', 'MATURE', 'NONE', 'MATURE')
    """
    value = value[:_MAX_LABEL].strip().lower()
    words = {each.strip() for each in value.replace(";", ",").split(",")}
    match name:
        case "rating" if RTA_LABEL in value or "adult" in words:
            return PageLabel.ADULT
        case "pics-label" if _PICS_EXPLICIT.search(value) or _ICRA_EXPLICIT.search(value):
            return PageLabel.ADULT
        case "hasadultconsideration" if "sexualcontentconsideration" in value:
            return PageLabel.SEXUAL_ITEM
        case "rating":
            is_mature = not words.isdisjoint({"mature", "restricted", "14 years", "18+"})
        case "age-de-meta-label" | "age-meta-label":
            is_mature = "age=18" in value.split()
        case "isfamilyfriendly":
            is_mature = not {"false", "no"}.isdisjoint(_LETTERS.findall(value))
        case _:
            is_mature = name == "hasadultconsideration" and "unclassifiedadultconsideration" in value
    return PageLabel.MATURE if is_mature else PageLabel.NONE


class TextDecoder:
    """Decoder of a page's bytes. `charset` is the one that Content-Type declares."""

    def __init__(self, charset: str = "") -> None:
        self._charset = charset
        self._start = b""
        self._decoder: codecs.IncrementalDecoder | None = None

    def feed(self, data: bytes, *, last: bool = False, is_released: bool = False) -> str:
        """Return the characters that are certain by now.

        The first ones come once the charset is detected, or when the page is released.
        """
        if self._decoder is None:
            self._start += data
            if (len(self._start) < _CHARSET_SNIFF_BYTES and not last and not is_released) or not (self._start or last):
                return ""
            data, self._start = self._start, b""
            charset = detect_charset(data, self._charset)
            if last:
                return data.decode(charset, "replace")
            self._decoder = codecs.getincrementaldecoder(charset)("replace")
        return self._decoder.decode(data, last)


def declared_charset(content_type: str) -> str:
    """Return the charset that a Content-Type field names, or an empty string."""
    charset = _CHARSET.search(content_type.lower())
    return charset[1] if charset is not None else ""


def detect_charset(start: bytes, declared: str) -> str:
    """Return a page's charset by its byte order mark, Content-Type or meta element, else UTF-8 if the bytes are valid,
    else cp1252.

    >>> detect_charset(b"<meta charset=iso-8859-1>", ""), detect_charset("naïve".encode("latin-1"), "")
    ('cp1252', 'cp1252')
    """
    for mark, name in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if start.startswith(mark):
            return name
    if (named := _codec(declared)) is not None:
        return named
    meta = _META_CHARSET.search(start, 0, 4 * _CHARSET_SNIFF_BYTES)
    if meta is not None and (named := _codec(meta[1].decode("ascii"))) is not None:
        return "utf-8" if named.startswith("utf-16") else named
    if start.isascii():
        return "utf-8"
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
