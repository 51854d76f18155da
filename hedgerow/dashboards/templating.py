"""Jinja environments for a language, shared by pages, reports and mail."""

from __future__ import annotations

import pathlib
from functools import cache

from jinja2 import BytecodeCache, Environment, FileSystemLoader, StrictUndefined
from jinja2.bccache import Bucket

from hedgerow.blocklists.sources import public_sources
from hedgerow.dashboards.words import labels
from hedgerow.dashboards.words.languages import Language
from hedgerow.proxy.pages.translations import page_words

TEMPLATES = pathlib.Path(__file__).parent / "templates"


class _SharedBytecodeCache(BytecodeCache):
    """Shares compiled templates between languages. Compiling takes twenty times as long as rendering."""

    def __init__(self) -> None:
        self._compiled: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if bucket.key in self._compiled:
            bucket.bytecode_from_string(self._compiled[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._compiled[bucket.key] = bucket.bytecode_to_string()


@cache
def _bytecode_cache() -> _SharedBytecodeCache:
    return _SharedBytecodeCache()


def make_environment(reader: Language) -> Environment:
    """Return a new environment that escapes all values as HTML."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
        bytecode_cache=_bytecode_cache(),
    )
    environment.policies["ext.i18n.trimmed"] = True
    environment.install_gettext_translations(reader.translations, newstyle=True)  # type: ignore[attr-defined]
    environment.globals |= {
        "language": reader,
        "ngettext": reader.ngettext,
        "number": reader.number,
        "counted": lambda counts: labels.count_by_reason(counts, reader),
        "reason_text": lambda reason, what: labels.reason_text(reason, what, reader),
        "asked_for": lambda text: labels.stored_reason_text(text, reader),
        "public_list": lambda name: public_sources()[name],
        "title_of": lambda name: labels.title_of(name, reader),
        "verdict_text": lambda verdict: labels.verdict_text(verdict, reader),
        "purpose_of": lambda purpose: page_words(reader.code)["purposes"].get(purpose, ""),
        "iso": labels.iso_timestamp,
    }
    return environment
