"""Templates that speak a language: what all of them know, whether a page is made of them, a report or a mail."""

from __future__ import annotations

import pathlib
from functools import cache

from jinja2 import BytecodeCache, Environment, FileSystemLoader, StrictUndefined
from jinja2.bccache import Bucket

from hedgerow.dashboards.words import labels
from hedgerow.dashboards.words.languages import Language

TEMPLATES = pathlib.Path(__file__).parent / "templates"


class _SharedBytecodeCache(BytecodeCache):
    """Compiling a template takes twenty times as long as filling it: it is done once for all languages."""

    def __init__(self) -> None:
        self._kept: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if bucket.key in self._kept:
            bucket.bytecode_from_string(self._kept[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._kept[bucket.key] = bucket.bytecode_to_string()


@cache
def _bytecode_cache() -> _SharedBytecodeCache:
    return _SharedBytecodeCache()


def make_environment(reader: Language) -> Environment:
    """A new environment; everything is escaped as HTML."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
        bytecode_cache=_bytecode_cache(),
    )
    made.policies["ext.i18n.trimmed"] = True
    made.install_gettext_translations(reader.translations, newstyle=True)  # type: ignore[attr-defined]
    made.globals |= {
        "language": reader,
        "ngettext": reader.ngettext,
        "number": reader.number,
        "counted": lambda counts: labels.count_by_reason(counts, reader),
        "reason_text": lambda reason, what: labels.reason_text(reason, what, reader),
        "asked_for": lambda text: labels.stored_reason_text(text, reader),
        "title_of": lambda name: labels.title_of(name, reader),
        "verdict_text": lambda verdict: labels.verdict_text(verdict, reader),
        "iso": labels.iso_timestamp,
    }
    return made
