"""Which helplines a page shows at once, and which behind "More people who can help": a page that lists fifty is read by nobody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from hedgerow.policies.lifelines import INTERNATIONAL, Lifeline

_AT_ONCE = (frozenset({"children"}), frozenset({"children"}), frozenset({"everyone", "suicide"}), frozenset({"abuse"}))
"""The places of the first view: two lines for children, one that listens to whatever it is, one for those whom somebody hurts."""
_WHERE_TO_REPORT = (frozenset({"abuse-images"}), frozenset({"children"}), frozenset({"everyone", "suicide"}))
"""The same for a page about illegal material: the country's hotline stands first."""
_FEWEST = 3


@dataclass(frozen=True, slots=True)
class Line:
    """A helpline as a page shows it. `dial` and `text_to` are numbers without spaces; `site` is what its link is called."""

    name: str
    phone: str
    dial: str
    text: str
    text_to: str
    chat: str
    url: str
    site: str


def choose_lines(lifelines: Sequence[Lifeline], to_report: bool = False) -> tuple[tuple[Line, ...], tuple[Line, ...]]:
    """The three or four that fit a child best, and all others; `lifelines` are a country's and the international ones.

    `to_report`: what was met is illegal, and the first of them is where that can be reported.
    """
    # Sorting is stable: within equals, the order of the file is kept.
    ordered = sorted(lifelines, key=lambda each: not (each.phone or each.text or each.chat))
    local = [each for each in ordered if each.country != INTERNATIONAL]
    first: list[Lifeline] = []
    for purposes in _WHERE_TO_REPORT if to_report else _AT_ONCE:
        first += [each for each in (ordered if to_report else local) if each.purpose in purposes and each not in first][:1]
    abroad = [each for each in ordered if each.country == INTERNATIONAL and each.purpose in {"children", "everyone"}]
    if len(first) < _FEWEST:
        first += abroad[: _FEWEST - len(first)]
    rest = sorted((each for each in ordered if each not in first), key=lambda each: each.country == INTERNATIONAL)
    return tuple(map(_shown, first)), tuple(map(_shown, rest))


def _shown(line: Lifeline) -> Line:
    chat = line.chat if line.chat.startswith("https://") else ""
    url = line.url if line.url.startswith(("https://", "http://")) else ""
    site = (urlsplit(url).hostname or "").removeprefix("www.")
    return Line(line.name, line.phone, _dialled(line.phone), line.text, _dialled(line.text), chat, url, site)


def _dialled(number: str) -> str:
    return "".join(character for character in number if character.isdigit() or character == "+")
