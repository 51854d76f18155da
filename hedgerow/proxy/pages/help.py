"""The section of helplines, reporting bodies and emergency numbers: on every page of the proxy and on each device's own
page.

It opens without a script and without a request, so that nothing can note that a child looked.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from hedgerow.policies.host_facts import HelpChoices
from hedgerow.proxy.pages.compiled_templates import CompiledTemplates
from hedgerow.proxy.pages.translations import PAGES


@cache
def page_environment() -> Environment:
    """Return the environment of the templates in this package. All values are escaped."""
    environment = Environment(
        loader=FileSystemLoader(PAGES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        bytecode_cache=CompiledTemplates(PAGES),
        auto_reload=False,
    )
    environment.filters |= {"dial_number": _dial_number, "site": _site}
    return environment


def render_help(
    words: Mapping[str, Any],
    choices: HelpChoices,
    *,
    young: bool = False,
    to_report: bool = False,
    is_first: bool = False,
) -> Markup:
    """Return the section in the `words` of a language.

    `to_report`: something illegal was blocked, so reporting is open from the start. `is_first`: the page
    begins with it.
    """
    template = page_environment().get_template("care.html")
    section = template.render(words=words, young=young, to_report=to_report, choices=choices, is_first=is_first)
    return Markup(section)  # noqa: S704  escaped there


def _site(url: str) -> str:
    """Return the text of a link to a site."""
    return (urlsplit(url).hostname or "").removeprefix("www.")


def _dial_number(number: str) -> str:
    """Return a telephone number without spaces."""
    return "".join(character for character in number if character.isdigit() or character == "+")
