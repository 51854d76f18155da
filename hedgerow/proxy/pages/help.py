"""The section of helplines, reporting bodies and emergency numbers: on every page of the proxy and on each device's own
page.

It opens without a script and without a request, so that nothing can note that a child looked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from hedgerow.policies.host_facts import HelpChoices, Lifeline
from hedgerow.proxy.pages.compiled_templates import CompiledTemplates
from hedgerow.proxy.pages.translations import PAGES


@dataclass(frozen=True, slots=True)
class HelplineEntry:
    """A helpline as a page shows it.

    `dial` and `text_to` are numbers without spaces. `site` is the text of its link.
    """

    name: str
    purpose: str
    phone: str
    dial: str
    text: str
    text_to: str
    chat: str
    url: str
    site: str


@cache
def page_environment() -> Environment:
    """Return the environment of the templates in this package. All values are escaped."""
    return Environment(
        loader=FileSystemLoader(PAGES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        bytecode_cache=CompiledTemplates(PAGES),
    )


def render_help(
    words: Mapping[str, Any], choices: HelpChoices, *, young: bool = False, to_report: bool = False
) -> Markup:
    """Return the section in the `words` of a language.

    `to_report`: something illegal was blocked, so reporting is open from the start.
    """
    entries = {
        "talk": _entries(choices.talk),
        "more": _entries(choices.more),
        "report": _entries(choices.report),
        "emergency": _entries(choices.emergency),
    }
    section = (
        page_environment().get_template("care.html").render(words=words, young=young, to_report=to_report, **entries)
    )
    return Markup(section)  # noqa: S704  escaped there


def _entries(lines: Sequence[Lifeline]) -> tuple[HelplineEntry, ...]:
    return tuple(map(_entry, lines))


def _entry(line: Lifeline) -> HelplineEntry:
    return HelplineEntry(
        name=line.name,
        purpose=line.purpose,
        phone=line.phone,
        dial=_dial_number(line.phone),
        text=line.text,
        text_to=_dial_number(line.text),
        chat=line.chat if line.chat.startswith("https://") else "",
        url=(url := line.url if line.url.startswith(("https://", "http://")) else ""),
        site=(urlsplit(url).hostname or "").removeprefix("www."),
    )


def _dial_number(number: str) -> str:
    return "".join(character for character in number if character.isdigit() or character == "+")
