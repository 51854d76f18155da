"""The words that a browser shows of HTML, XML or plain text, piece by piece. Pure.

The tokenizer follows the states of the HTML standard (section 13.2.5) for what decides whether text is shown: comments,
quoted attributes, and elements whose content is not markup. It builds no tree. Where only a tree could tell text from
markup, as for a tag within a style within a drawing, everything from there on counts as words.

The text is the same however the page is cut into pieces: no cut falls inside a tag, an entity or a hidden element. Work
is linear in the characters, and memory is bounded, whatever the page contains. Scripts do not count, except the data
that page frameworks put into the first document; see `script_data`.
"""

from __future__ import annotations

import base64
import binascii
import re
from enum import Enum
from urllib.parse import unquote_to_bytes

from hedgerow.proxy.scanners import html_syntax as syntax
from hedgerow.proxy.scanners.html_syntax import TAG, WHITE, parse_attributes
from hedgerow.proxy.scanners.page_text import PageFacts, join_spelled, normalize_text, spelled_end, unescape
from hedgerow.proxy.scanners.script_data import MAX_TAG, ScriptData, style_text, whole_entities

MAX_EMBEDDED = 512 * 1024
"""Characters that are read of a page's attributes and entities."""


class Markup(Enum):
    """The language in which a browser reads a body."""

    HTML = "html"
    XML = "xml"
    TEXT = "text"  # all of it is shown
    SNIFFED = "sniffed"  # one of these, by the first characters (WHATWG's MIME Sniffing Standard, section 7.1)


# The first letters are classes, so that most names fail at once.
_NOTED = (
    "[sS](?ai:cript|tyle|vg|elect)|[tT](?ai:itle|extarea)|[xX](?ai:mp)|[iI](?ai:frame|nput)|[pP](?ai:laintext)"
    "|[mM](?ai:ath)|[nN](?ai:oembed|oframes|oscript)|[fF](?ai:rame)|[oO](?ai:bject|ption|ptgroup)|[eE](?ai:mbed)"
)
# Tags that end drawings and formulas, whatever is open in them (section 13.2.6.5).
_BREAKOUTS = frozenset(
    {"b", "big", "blockquote", "body", "br", "center", "code", "dd", "div", "dl", "dt", "em", "embed", "h1", "h2", "h3"}
    | {"h4", "h5", "h6", "head", "hr", "i", "img", "li", "listing", "menu", "meta", "nobr", "ol", "p", "pre", "ruby"}
    | {"s", "small", "span", "strong", "strike", "sub", "sup", "table", "tt", "u", "ul", "var"}
)
_ENDING = frozenset({"p", "br"})  # end tags that do so
# Elements of drawings and formulas in which HTML begins again.
_POINTS = frozenset(["foreignobject", "desc", "annotation-xml", "mi", "mo", "mn", "ms", "mtext"])
_FOREIGN = frozenset({"svg", "math"})
_RAW = frozenset(
    ["script", "style", "title", "textarea", "xmp", "iframe", "noembed", "noframes", "noscript", "plaintext"]
)
_UNKNOWN_IN_SELECT = _RAW - {"script"} | {"template"}
_INSIDE = "|".join(sorted(_BREAKOUTS | _POINTS | {"template"}))

_TEXT = r"[^<]++|<(?=[^a-zA-Z/!?])"
_INNER_TAG = rf"<(?!/?(?:{_NOTED}|(?ai:{_INSIDE}))[{WHITE}/>])/?{TAG}"
# a drawing without anything of HTML in it, such as an icon
_DRAWING = rf"<[sS](?ai:vg)(?=[{WHITE}>]){syntax.ATTRIBUTES}>(?<!/>)(?:{_TEXT}|{_INNER_TAG})*+</[sS](?ai:vg)>"
_RUN = re.compile(rf"(?:{_TEXT}|<(?!(?:{_NOTED})[{WHITE}/>]){TAG}|</{TAG}|{_DRAWING})*+")
_FOREIGN_RUN = re.compile(rf"(?:{_TEXT}|{_INNER_TAG})*+")
_XML_RUN = re.compile(rf"(?:{_TEXT}|</?{TAG})*+")
_MARKUP = re.compile("<(?=[a-zA-Z/!?])")
_EMPTY_COMMENT = re.compile("<!---?>")
_IS_CLOSED = re.compile(rf"(?:^|[{WHITE}\"'/])/\Z")
_DOCTYPE = re.compile(r"<!DOCTYPE[^\[>]*+[\[>]", re.IGNORECASE)
_ENTITY = re.compile(r"""<!ENTITY\s++(?:%\s++)?+([^\s"'>%]++)\s++(?:"([^"]*+)"|'([^']*+)')\s*+>""")
_ENTITY_USE = re.compile("&([^&;# ]{1,64});")
_SNIFFED = re.compile(
    r"[\t\n\f\r \ufeff]*+<(?:(\?xml)|!--"
    "|(?ai:!doctype html|html|head|script|iframe|h1|div|font|table|a|style|title|b|body|br|p)[ >])"
)

_EMBEDDING = {"iframe": ("srcdoc", "src"), "frame": ("src",), "embed": ("src",), "object": ("data",)}
_SHOWN = {
    "input": ("value", "placeholder"),
    "option": ("label",),
    "optgroup": ("label",),
    "textarea": ("placeholder",),
}
_ENDS = {name: re.compile(rf"</(?ai:{name})(?=[{WHITE}/>])") for name in (_RAW | _POINTS) - {"plaintext"}} | {
    "plaintext": re.compile(r"(?!)"),
    "-->": re.compile("--!?>"),
    ">": re.compile(">"),
    "?>": re.compile(r"\?>"),
    "]]>": re.compile("]]>"),
    '"': re.compile('"'),
    "'": re.compile("'"),
}
# The states of a script, by what begins or ends a comment or a script within it (section 13.2.5.15 and on).
_IN_SCRIPT = (
    re.compile(rf"<(?:!--|/(?ai:script)(?=[{WHITE}/>]))"),
    re.compile(rf"-->|</?(?ai:script)(?=[{WHITE}/>])"),
    re.compile(rf"-->|</(?ai:script)(?=[{WHITE}/>])"),
)
_LONGEST_END = 24
_LEAST = 64
"""Characters that are read at a time."""
_MAX_NESTING = 3
_MAX_FOREIGN = 64
_MAX_ENTITIES = 64


class TextExtractor:
    """Extractor of a page's visible text, piece by piece, in normal form without a space at the start and with one at
    the end.

    `facts`, if given, takes what else the page says.
    """

    def __init__(self, facts: PageFacts | None = None, markup: Markup = Markup.HTML, *, nesting: int = 0) -> None:
        self._facts, self._markup, self._nesting = facts, markup, nesting
        self._pending = self._tail = ""
        self._ends_with_space = True
        self._embedded_left = MAX_EMBEDDED
        self._entities: dict[str, str] = {}
        # everything counts from here on, tags and comments too
        self._counts_all = markup is Markup.TEXT
        # the element whose content is not markup, or the end of what is skipped; a key of `_ENDS`
        self._element = ""
        self._is_foreign = False  # that element is part of a drawing or a formula
        self._script_state = 0
        self._data = ScriptData()
        self._long_tag: tuple[str, str] | None = None  # its slash and name, once its beginning was consumed
        self._foreign = ""  # the drawings and formulas that are open: a letter for each, the innermost last
        self._is_in_select = False

    def feed(self, text: str, *, last: bool = False) -> str:
        """Return the text that is certain by now; with `last` the rest."""
        data = self._pending + text
        if not last and (len(data) < _LEAST or (len(data) < MAX_TAG and self._is_within_tag(text))):
            self._pending = data  # which is not read again with each piece
            return ""
        if self._markup is Markup.SNIFFED:
            found = _SNIFFED.match(data)
            self._counts_all = found is None
            self._markup = Markup.XML if found is not None and found[1] else Markup.HTML
        visible: list[str] = []
        position, goes_on = 0, True
        while goes_on and position < len(data):
            if self._counts_all:
                end = len(data) if last else whole_entities(data, position, len(data))
                visible.append(data[position:end].replace("<", " "))
                position, goes_on = end, False
            elif self._element:
                position, goes_on = self._read_element(data, position, visible, last=last)
            elif self._long_tag is not None:
                position, goes_on = self._read_long_tag(data, position, last=last)
            else:
                position, goes_on = self._read_markup(data, position, visible, last=last)
        self._pending = data[position:]
        page = "".join(visible)
        if self._facts is not None:
            self._facts.add(page)
        return self._normalize(page, last=last)

    def _is_within_tag(self, text: str) -> bool:
        """Return whether a tag had begun, and `text` neither ends it nor one of its values."""
        is_tag = self._pending[:1] == "<" or (self._long_tag is not None and not self._element)
        return is_tag and not any(mark in text for mark in ">\"'")

    def _read_markup(self, data: str, position: int, visible: list[str], *, last: bool) -> tuple[int, bool]:
        """Read text and tags up to one that matters. Return its position, and whether there is more to read."""
        run = _FOREIGN_RUN if self._foreign or self._is_in_select else _RUN
        run = _XML_RUN if self._markup is Markup.XML else run
        end = run.match(data, position).end()  # type: ignore[union-attr]
        if end == len(data):
            end = end if last else whole_entities(data, position, end)
            visible.append(data[position:end])
            return end, False
        visible.append(data[position:end])
        if data[end + 1 : end + 2] in {"!", "?"} or (
            data[end + 1 : end + 2] == "/" and not data[end + 2 : end + 3].isalpha()
        ):
            return self._begin_comment(data, end, visible, last=last)
        tag = syntax.WHOLE_TAG.match(data, end)
        if tag is not None:
            visible.append(tag[0])
            self._begin(tag[1], tag[2].lower(), tag[3], visible)
            return tag.end(), True
        if last:
            visible.append(data[end:].replace("<", " "))
            return len(data), False
        if len(data) - end < MAX_TAG:
            return end, False
        start = syntax.TAG_START.match(data, end)
        if start is None or start[2].lower() in _EMBEDDING:
            self._counts_all = True
            return end, True
        self._long_tag = start[1], start[2].lower()
        return start.end(), True

    def _begin_comment(self, data: str, at: int, visible: list[str], *, last: bool) -> tuple[int, bool]:
        """Begin a comment, or another declaration. They do not separate words."""
        is_xml, rest = self._markup is Markup.XML, len(data) - at
        if rest < len("<![CDATA[") and not last:
            return at, False
        if data.startswith("<!--", at):
            if (empty := _EMPTY_COMMENT.match(data, at)) is not None:
                return empty.end(), True
            self._element = "-->"
            return at + 4, True
        if data.startswith("<![CDATA[", at):
            # text in a drawing and a comment elsewhere
            self._element, self._counts_all = ("]]>", False) if is_xml else ("", True)
            return at + 9, True
        if is_xml and data.startswith(("<!ENTITY", "<!DOCTYPE"), at):
            pattern = _ENTITY if data.startswith("<!E", at) else _DOCTYPE
            declared = pattern.match(data, at)
            if declared is None and rest < MAX_TAG and not last:
                return at, False
            if declared is None:
                self._counts_all = True
                return at + 2, True
            if pattern is _ENTITY:
                self._declare(declared, visible)
            return declared.end(), True
        self._element = "?>" if is_xml and data.startswith("<?", at) else ">"
        return at + 2, True

    def _declare(self, entity: re.Match[str], visible: list[str]) -> None:
        value = self._take_embedded(entity[2] or entity[3] or "").replace("<", " ")
        visible.append(f" {value} ")
        if len(self._entities) < _MAX_ENTITIES:
            self._entities.setdefault(entity[1], value)

    def _begin(self, slash: str, name: str, attributes: str, visible: list[str]) -> None:
        """Note what a tag begins or ends."""
        if not slash and (shown := _EMBEDDING.get(name) or _SHOWN.get(name)):
            self._read_attributes(attributes, shown, visible, is_embedded=name in _EMBEDDING)
        if self._markup is Markup.XML:
            return
        if slash and name in _FOREIGN:
            # it ends all that is open within, and nothing if none of its kind is open
            self._foreign = self._foreign.rpartition(name[0])[0] if name[0] in self._foreign else self._foreign
        elif name in (_ENDING if slash else _BREAKOUTS):
            self._foreign = ""
        if slash:
            self._is_in_select = self._is_in_select and name != "select"
            return
        is_closed = (self._foreign or name in _FOREIGN) and _IS_CLOSED.search(attributes) is not None
        if name in _FOREIGN:
            self._foreign += "" if is_closed else name[0]
            self._counts_all = len(self._foreign) > _MAX_FOREIGN
        elif name == "select":
            self._is_in_select = True
        elif self._is_in_select and name in _UNKNOWN_IN_SELECT:
            self._counts_all = True
        elif name in _RAW or (self._foreign and name in _POINTS):
            self._element, self._is_foreign = "" if is_closed else name, bool(self._foreign)
            self._script_state = 0
            self._data.begin(attributes if name == "script" else None)

    def _read_attributes(self, tag: str, names: tuple[str, ...], visible: list[str], *, is_embedded: bool) -> None:
        """Read what attributes show: texts of forms, and whole pages within the page."""
        fields = parse_attributes(tag)
        if fields.get("type", "").lower() == "hidden":
            return
        for name in names:
            value = unescape(self._take_embedded(fields.get(name, "")))
            if is_embedded and name != "srcdoc":
                value = _data_of(value)
            if is_embedded and value and self._nesting < _MAX_NESTING:
                value = TextExtractor(nesting=self._nesting + 1).feed(value, last=True)
            visible.append(f" {value.replace('<', ' ')} " if value else "")

    def _take_embedded(self, text: str) -> str:
        taken = text[: self._embedded_left]
        self._embedded_left -= len(taken)
        return taken

    def _read_element(self, data: str, position: int, visible: list[str], *, last: bool) -> tuple[int, bool]:
        """Read an element whose content is not markup, or something else up to its end."""
        name, scanned = self._element, position
        if self._is_foreign and name in _RAW | _POINTS:
            end = _MARKUP.search(data, position)
            if end is not None and len(data) - end.start() < _LONGEST_END and not last:
                end = None
            elif end is not None and _ENDS[name].match(data, end.start()) is None:
                self._element, self._counts_all = "", True
                return position, True
        elif name == "script":
            end, scanned = self._end_of_script(data, position)
        else:
            end = _ENDS[name].search(data, position)
        if end is None:
            stop = len(data) if last else max(scanned, len(data) - _LONGEST_END)
            return self._read_content(data, position, stop, visible, is_cut=not last), False
        self._read_content(data, position, end.start(), visible, is_cut=False)
        self._element = ""
        # a tag that ends an element may have attributes
        return (end.start(), True) if data[end.start()] == "<" else (end.end(), True)

    def _end_of_script(self, data: str, position: int) -> tuple[re.Match[str] | None, int]:
        """Return the end of a script, or None, and up to where its states are known."""
        while True:
            found = _IN_SCRIPT[self._script_state].search(data, position)
            if found is None:
                return None, position
            mark = found[0].lower()
            if mark == "</script" and self._script_state < 2:
                return found, position
            self._script_state = {"<!--": 1, "-->": 0, "<script": 2, "</script": 1}[mark]
            # the hyphens of `<!-->` begin and end a comment
            position = found.end() - 2 if mark == "<!--" else found.end()

    def _read_content(self, data: str, position: int, stop: int, visible: list[str], *, is_cut: bool) -> int:
        """Read the content of an element up to `stop`, or less if it is cut. Return up to where."""
        name = self._element
        if name == "script":
            end = self._data.read(data, position, stop, visible, is_cut=is_cut)
            if self._facts is not None and self._data.is_linked_data:
                self._facts.add_linked_data(data[position:end])
            return end
        if name == "style":
            return style_text(data, position, stop, visible, is_cut=is_cut)
        if name in _RAW | _POINTS or name == "]]>":
            stop = whole_entities(data, position, stop) if is_cut else stop
            visible.append(data[position:stop].replace("<", " "))
        return stop

    def _read_long_tag(self, data: str, position: int, *, last: bool) -> tuple[int, bool]:
        """Read a tag that is too long to be kept, such as one with a picture in it."""
        assert self._long_tag is not None
        end = syntax.REST_OF_TAG.match(data, position)
        if end is not None:
            (slash, name), self._long_tag = self._long_tag, None
            self._begin(slash, name, "", [])
            return end.end(), True
        position = syntax.WHOLE_ATTRIBUTES.match(data, position).end()  # type: ignore[union-attr]
        value = syntax.OPEN_VALUE.match(data, position)
        if value is not None:
            self._element = value[1]
            return value.end(), True
        self._counts_all = last or len(data) - position >= MAX_TAG
        return position, self._counts_all

    def _normalize(self, text: str, *, last: bool) -> str:
        if not text and not last:
            return ""
        text = self._tail + syntax.strip_tags(text)
        for _ in range(3 if self._entities else 0):  # an entity may name others
            text = _ENTITY_USE.sub(self._resolve, text)
        text = unescape(text)
        cut = len(text) if last else spelled_end(text)
        text, self._tail = text[:cut], text[cut:]
        text = normalize_text(join_spelled(text))
        if self._ends_with_space and text.startswith(" "):
            text = text[1:]
        if text:
            self._ends_with_space = text.endswith(" ")
        if last and not self._ends_with_space:
            text += " "
        return text

    def _resolve(self, use: re.Match[str]) -> str:
        value = self._entities.get(use[1])
        return use[0] if value is None else self._take_embedded(value)


def _data_of(url: str) -> str:
    """Return the content of a `data:` URL (RFC 2397), nothing of others.

    >>> _data_of("data:text/html,a%20page"), _data_of("data:;base64,aGk="), _data_of("https://a.example/")
    ('a page', 'hi', '')
    """
    head, comma, body = url.strip().partition(",")
    if not comma or head[:5].lower() != "data:":
        return ""
    data = unquote_to_bytes(body)
    if head.lower().endswith(";base64"):
        try:
            data = base64.b64decode(data + b"==")
        except binascii.Error:
            return body
    return data.decode("utf-8", "replace")
