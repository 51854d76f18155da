"""Templates that speak a language: what all of them know, whether a page is made of them, a report or a mail."""

from __future__ import annotations

import pathlib

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from hedgerow.dashboards.pages import words
from hedgerow.dashboards.pages.languages import Language

TEMPLATES = pathlib.Path(__file__).parent / "templates"


def environment(reader: Language) -> Environment:
    """A new environment; everything is escaped as HTML."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    made.policies["ext.i18n.trimmed"] = True
    made.install_gettext_translations(reader.translations, newstyle=True)  # type: ignore[attr-defined]
    made.globals |= {
        "language": reader,
        "ngettext": reader.ngettext,
        "number": reader.number,
        "reason_words": lambda reason, what: words.reason_words(reason, what, reader),
        "asked_for": lambda text: words.told_reason_words(text, reader),
        "title_of": lambda name: words.title_of(name, reader),
        "verdict_words": lambda verdict: words.verdict_words(verdict, reader),
        "iso": words.iso,
    }
    return made
