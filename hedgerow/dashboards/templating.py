"""Jinja environments for a language, shared by pages, reports and mail."""

from __future__ import annotations

import pathlib
from functools import partial
from zlib import crc32

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from hedgerow.blocklists.sources import public_sources
from hedgerow.dashboards.words import labels
from hedgerow.dashboards.words.languages import Language, language
from hedgerow.dashboards.words.reasons import reason_sentence, stored_reason_sentence
from hedgerow.dashboards.words.rules import schedule_sentence
from hedgerow.policies.access_subject import service_or_address
from hedgerow.policies.reading.levels import level_of
from hedgerow.policies.text.notes import NOTE_LIMIT
from hedgerow.proxy.pages.compiled_templates import CompiledTemplates
from hedgerow.proxy.pages.help import page_environment
from hedgerow.proxy.pages.translations import page_words

TEMPLATES = pathlib.Path(__file__).parent / "templates"
FEATURES = pathlib.Path(__file__).parents[1] / "features"
"""The folder of all features, whose templates are named by their path in it."""


def load_templates(environment: Environment) -> None:
    """Load all templates. Those that are not compiled yet are compiled into files next to them."""
    for name in environment.list_templates(extensions=("html", "txt")):
        environment.get_template(name)


def compile_templates() -> None:
    """Compile the templates of all pages, as an installation does that its user can't write to."""
    load_templates(make_environment(language("en")))
    load_templates(page_environment())


def make_environment(reader: Language) -> Environment:
    """Return a new environment that escapes all values as HTML."""
    environment = Environment(
        loader=FileSystemLoader((TEMPLATES, FEATURES)),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
        bytecode_cache=CompiledTemplates(TEMPLATES),
        auto_reload=False,  # else each use of a template looks for a change of its file
    )
    environment.policies["ext.i18n.trimmed"] = True
    environment.install_gettext_translations(reader.translations, newstyle=True)  # type: ignore[attr-defined]
    environment.globals |= {
        "language": reader,
        "comma": reader.comma,
        "ngettext": reader.ngettext,
        "number": reader.number,
        "counted": lambda counts: labels.count_by_reason(counts, reader),
        "device_name": lambda device: labels.device_name(device, reader),
        "reason_text": lambda reason, what: labels.reason_text(reason, what, reader),
        "reason_sentence": partial(reason_sentence, reader=reader),
        "rule_text": lambda rule: labels.rule_text(rule, reader),
        "asked_for": lambda text, limits: stored_reason_sentence(text, reader, limits),
        "note_limit": NOTE_LIMIT,
        "unread_request": lambda row: labels.unread_request_text(row.reason, row.device, row.host, reader),
        "public_list": lambda name: public_sources()[name],
        "service_or_address": service_or_address,
        "topic_to_correct": labels.topic_to_correct,
        "title_of": lambda name: labels.title_of(name, reader),
        "schedule_sentence": lambda schedule: schedule_sentence(schedule, reader),
        "verdict_text": lambda verdict: labels.verdict_text(verdict, reader),
        "purpose_of": lambda purpose: page_words(reader.code)["purposes"].get(purpose, ""),
        "iso": labels.iso_timestamp,
        "glyph_of": labels.GLYPHS.get,
        "icon_hue": lambda name: crc32(name.encode()) % labels.HUES,
        "monogram": labels.monogram,
        "level_of": level_of,
    }
    return environment
