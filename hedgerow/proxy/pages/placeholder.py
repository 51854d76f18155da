"""The picture in place of a hidden one. Pure."""

from __future__ import annotations

import base64
import textwrap

from markupsafe import Markup

_SVG = Markup(
    '<svg xmlns="http://www.w3.org/2000/svg" width="320" height="200" viewBox="0 0 320 200" lang="{lang}" direction="{dir}" '
    'style="background:#e4e4e4"><title>{heading}</title><rect width="320" height="200" fill="#e4e4e4"/>'
    '<g font-family="system-ui,sans-serif" text-anchor="middle" fill="#333"><text x="160" y="{top}" font-size="18" font-weight="bold">'
    "{heading}</text>{lines}</g></svg>"
)
_LINE = Markup('<text x="160" y="{y}" font-size="14">{text}</text>')
_LINE_HEIGHT = 20
_LINE_LENGTH = 42
_MAX_LINES = 6

GREY_PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAABAAAAAKCAAAAACY1YFAAAAAD0lEQVR42mN4ggYYBqsAAFPrjoHl85fgAAAAAElFTkSuQmCC")
"""A grey picture of 16 × 10 pixels, for programs that show no SVG."""


def placeholder_svg(heading: str, why: str, lang: str, direction: str) -> str:
    """Return a grey picture that says why another is not shown. It has no script and loads nothing.

    >>> "<title>a &lt; b</title>" in placeholder_svg("a < b", "", "en", "ltr")
    True
    """
    wrapped = textwrap.wrap(why, _LINE_LENGTH)[:_MAX_LINES]
    top = 100 - len(wrapped) * _LINE_HEIGHT // 2
    lines = Markup("").join(_LINE.format(y=top + (at + 1) * _LINE_HEIGHT + 4, text=text) for at, text in enumerate(wrapped))
    return str(_SVG.format(heading=heading, lines=lines, top=top, lang=lang, dir=direction))
