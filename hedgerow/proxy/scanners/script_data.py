"""The words in scripts and styles: data that page frameworks put into the first document, and texts of styles. Pure.

`__NEXT_DATA__`, JSON-LD and the like hold the words that scripts show later. A style may show strings (`content`).
"""

from __future__ import annotations

import re

MAX_DATA = 512 * 1024
"""Characters of a page's data that are read as text."""

_DATA_TYPE = re.compile(r"""\btype\s*=\s*["']?[a-z./+-]*json\b""", re.IGNORECASE)
_LINKED_DATA = re.compile(r"""\btype\s*=\s*["']?application/ld\+json\b""", re.IGNORECASE)
_DATA_START = re.compile(
    r"""[\s;(]*(?:var\s+|const\s+|let\s+)?(?:(?:window|self|globalThis)\s*[.\["']*)?"""
    r"__(?:NEXT_DATA|NUXT|APOLLO_STATE|APOLLO_CLIENT|INITIAL_STATE|INITIAL_DATA|INITIAL_PROPS|PRELOADED_STATE|PRELOADED_DATA"
    r"|REDUX_STATE|RELAY_STORE|SERVER_DATA|SERVER_STATE|SSR_DATA|STATE|DATA|APP_DATA|remixContext|sveltekit_|next_f)",
)
_DATA_START_LENGTH = 96
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_LONGEST_ESCAPE = 80
_CUT_ESCAPE = re.compile(r"\\+(?:u[0-9a-fA-F]{0,3}|x[0-9a-fA-F]?)?\Z")
_BLANKS = frozenset("bfnrt")
_INLINE_TAG = re.compile(r"</?(?:b|big|em|font|i|mark|s|small|strong|sub|sup|tt|u|wbr)(?:\s[^<>]*)?/?>", re.IGNORECASE)
_TAG = re.compile(r"<[a-zA-Z/!?][^<>]*>")
MAX_TAG = 8 * 1024
"""Characters after which an unfinished tag is not waited for any more."""

_MAX_ENTITY = 32

_STYLE = re.compile(
    r"""(?:[^"'/\\]++|/(?=[^*])|\\.|/\*(?:[^*]++|\*(?!/))*+\*/|"(?:[^"\\\n]++|\\.)*+["\n]|'(?:[^'\\\n]++|\\.)*+['\n])*+""",
    re.DOTALL,
)
_STYLE_STRING = re.compile(
    r"""/\*(?:[^*]++|\*(?!/))*+\*/|\\.|"((?:[^"\\\n]++|\\.)*+)["\n]|'((?:[^'\\\n]++|\\.)*+)['\n]""", re.DOTALL
)
_STYLE_ESCAPE = re.compile(r"\\(?:([0-9a-fA-F]{1,6})\s?|(.))", re.DOTALL)


class ScriptData:
    """Reader of the scripts of one page. `is_linked_data`: the script is JSON-LD."""

    def __init__(self) -> None:
        self.is_linked_data = False
        self._is_data: bool | None = False  # the script holds text; None while that is not known
        self._left = MAX_DATA

    def begin(self, attributes: str | None) -> None:
        """Begin a script, or another element (None)."""
        self.is_linked_data = attributes is not None and _LINKED_DATA.search(attributes) is not None
        self._is_data = False if attributes is None else True if _DATA_TYPE.search(attributes) else None

    def read(self, data: str, position: int, stop: int, visible: list[str], *, is_cut: bool) -> int:
        """Add the text of a script's next characters, which may be cut at `stop`. Return up to where they were read."""
        if self._is_data is None:
            if is_cut and stop - position < _DATA_START_LENGTH:
                return position
            self._is_data = _DATA_START.match(data, position, min(stop, position + _DATA_START_LENGTH)) is not None
        if not self._is_data:
            return stop
        piece = data[position:stop]
        if is_cut:
            tag = piece.rfind("<")
            cut = tag if tag > piece.rfind(">") and len(piece) - tag < MAX_TAG else len(piece)
            piece = piece[: whole_entities(piece, 0, cut)]
            if (escape := _CUT_ESCAPE.search(piece, max(0, len(piece) - _LONGEST_ESCAPE))) is not None:
                piece = piece[: escape.start()]
        visible.append(self._text_of(piece))
        return position + len(piece)

    def _text_of(self, data: str) -> str:
        """Return the text of data in JSON or JavaScript. A string within a string has two layers of escapes."""
        data = data[: self._left]
        self._left -= len(data)
        for _layer in range(2):
            if "\\" in data:
                data = _ESCAPE.sub(_unescaped, data)
        return _TAG.sub(" ", _INLINE_TAG.sub("", data)).replace("<", " ") if "<" in data else data


def _unescaped(escape: re.Match[str]) -> str:
    digits = escape[1] or escape[2]
    if digits is None:
        return " " if escape[3] in _BLANKS else escape[3]
    code = int(digits, 16)
    return " " if 0xD800 <= code < 0xE000 else chr(code)


def whole_entities(text: str, start: int, end: int) -> int:
    """Return the end of the beginning of `text` that ends in no entity."""
    entity = text.rfind("&", max(start, end - _MAX_ENTITY), end)
    return end if entity < 0 or ";" in text[entity:end] else entity


def style_text(data: str, position: int, stop: int, visible: list[str], *, is_cut: bool) -> int:
    """Add the strings of a style, which may be cut at `stop`. Return up to where it was read."""
    if is_cut:
        end = _STYLE.match(data, position, stop).end()  # type: ignore[union-attr]
        stop = end if stop - end < MAX_TAG else stop
    if data.find('"', position, stop) >= 0 or data.find("'", position, stop) >= 0:
        for one, other in _STYLE_STRING.findall(data, position, stop):
            if text := one or other:
                visible.append(f" {_STYLE_ESCAPE.sub(_unescaped_in_style, text).replace('<', ' ')} ")
    return stop


def _unescaped_in_style(escape: re.Match[str]) -> str:
    code = int(escape[1], 16) if escape[1] else 0
    return escape[2] or (chr(code) if 0 < code < 0x110000 and not 0xD800 <= code < 0xE000 else " ")
