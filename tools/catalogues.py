"""Update the message catalogues after a change of the pages: `python tools/catalogues.py`.

New messages get an empty translation in the complete languages, and unused ones are removed from all.
`python tools/catalogues.py it` adds every missing message to the catalogue of Italian, which it makes if there is none.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

from babel import Locale
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po, write_po

import hedgerow
from hedgerow.blocklists.categories import builtin_categories
from hedgerow.policies.reading.load import parse_policy
from hedgerow.policies.text.locales import LANGUAGES, NAME_CONTEXT, SOURCE_LANGUAGE, SOURCE_NAME, catalogue_path
from hedgerow.proxy.pages.translations import PAGE_CONTEXT, TOPIC_CONTEXT, english_words

PACKAGE = Path(hedgerow.__file__).parent
TRANSLATED = tuple(code for code in LANGUAGES if code != SOURCE_LANGUAGE)
COMPLETE = ("de", "fr", "es", "pt", "pt-BR")
"""Languages in which no message may be missing. The others have at least the messages of `REQUIRED`."""

REQUIRED = (
    "templates/device.html",
    "templates/ask_site.html",
    "templates/own_pictures.html",
    "templates/layout.html",
    "*/templates/own_*.html",
    "*/own_words.py",
    "templates/parts.html",
    "templates/coverage.html",
    "templates/error.html",
    "templates/start.html",
    "templates/guide_*.html",
    "templates/device_titles.html",
    "templates/not_in_charge.html",
    "templates/children.html",
    "words/labels.py",
    "words/rules.py",
    "pages/own_device.py",
    "pages/guide.py",
    "pages/forms.py",
    "*/templates/device_naming.html",
    "templates/check.html",
    *(f"connecting/templates/{name}.html" for name in ("step", "router", "one_device", "devices", "end", "heading")),
    *(f"connecting/templates/{name}.html" for name in ("equipment", "check", "not_in_charge")),
)
"""The child's own page, the guide and the check of a device, with what they include. The block page is required too."""

# Scripts are answered in English.
_ENGLISH_ONLY = (
    "api/policy.py",
    "api/accounts.py",
    "api/notices.py",
    "api/access.py",
    "api/rules.py",
    "api/document.py",
    "*/api.py",
    "reported_leases/*.py",
)
_TEMPLATES = "**/templates/**.*"
_METHODS = [
    *((pattern, "ignore") for pattern in _ENGLISH_ONLY),
    (_TEMPLATES, "jinja2.ext:babel_extract"),
    ("**.py", "python"),
]
_JINJA = {_TEMPLATES: {"trimmed": "true", "silent": "false", "newstyle_gettext": "true"}}
# Positions of the messages among the arguments.
_KEYWORDS = {
    "_": None,
    "gettext": None,
    "ngettext": (1, 2),
    "pgettext": ((1, "c"), 2),
    "message": None,
    "localized": None,
    "InvalidInput": None,
    "WrongCode": None,
    "AlreadyDone": None,
    "NobodyOnDuty": None,
    "NoSession": None,
    "SeatTaken": None,
    "TillChanged": None,
    "SignInRefused": None,
    "Admission": (3,),
}
_CREATED = datetime(2026, 11, 25, tzinfo=UTC)


def messages(*, required_only: bool = False) -> Catalog:
    """Return all messages of the pages in English, or those that every language needs."""
    catalogue = Catalog(project="Hedgerow", creation_date=_CREATED, fuzzy=False)
    for file, text, context in _in_sources():
        if not required_only or any(fnmatch(file, pattern) for pattern in REQUIRED):
            catalogue.add(text, context=context)
    for context, text in _in_data():
        catalogue.add(text, context=context)
    return catalogue


def updated(code: str, *, fill: bool = False) -> Catalog:
    """Return the catalogue of a language with the current messages; `fill` adds new ones untranslated, as in a complete
    language.
    """
    catalogue = _read(code)
    before = {(each.id, each.context) for each in catalogue}
    catalogue.update(messages(), no_fuzzy_matching=True)
    catalogue.project, catalogue.version, catalogue.revision_date = "Hedgerow", "1", _CREATED
    catalogue.last_translator = catalogue.language_team = catalogue.msgid_bugs_address = "Hedgerow"
    catalogue.obsolete.clear()
    if not fill and code not in COMPLETE:
        for id, context in [
            (each.id, each.context) for each in catalogue if each.id and (each.id, each.context) not in before
        ]:
            catalogue.delete(id, context)
    return catalogue


def missing(catalogue: Catalog, needed: Catalog | None = None) -> list[str]:
    """Return the messages without a translation in every plural form, of the catalogue itself or of those `needed`."""
    translations = ((each, catalogue.get(each.id, each.context)) for each in needed or catalogue if each.id)
    return [str(each.id) for each, found in translations if found is None or not all(_strings(found.string))]


def _strings(string: str | Iterable[str] | None) -> list[str]:
    return [string or ""] if string is None or isinstance(string, str) else list(string)


def _read(code: str) -> Catalog:
    path = catalogue_path(code)
    if not path.exists():
        return Catalog(locale=Locale.parse(code, sep="-"), creation_date=_CREATED, fuzzy=False)
    with path.open("rb") as file:
        return read_po(file, locale=path.stem)


@cache
def _in_sources() -> list[tuple[str, str | tuple[str, ...], str | None]]:
    """Return the file, text and context of each message in modules and templates, which take more than a second to
    read.
    """
    folders = (PACKAGE / "dashboards", PACKAGE / "app", PACKAGE / "features")
    found = (each for folder in folders for each in extract_from_dir(str(folder), _METHODS, _JINJA, _KEYWORDS))
    return [(file, text, context) for file, _line, text, _comments, context in found]


def _in_data() -> Iterator[tuple[str | None, str]]:
    """Yield messages from other packages' data, each after its context."""
    yield NAME_CONTEXT, SOURCE_NAME
    yield from ((None, profile.title) for profile in parse_policy(b"", None).profiles.values())
    yield from page_messages()


def page_messages() -> Iterator[tuple[str, str]]:
    """Yield the messages of the block page, each after its context."""
    yield from ((PAGE_CONTEXT, text) for text in _texts_in(english_words()))
    yield from ((TOPIC_CONTEXT, category.title) for category in builtin_categories())


def _texts_in(words: object) -> Iterator[str]:
    if isinstance(words, str):
        yield words
        return
    assert isinstance(words, dict | list)
    for each in words.values() if isinstance(words, dict) else words:
        yield from _texts_in(each)


def main() -> None:
    """Write every catalogue, and print the number of missing translations.

    Languages named as arguments get all messages.
    """
    named = sys.argv[1:]
    for code in dict.fromkeys((*TRANSLATED, *named)):
        catalogue = updated(code, fill=code in named)
        with catalogue_path(code).open("wb") as file:
            write_po(file, catalogue, width=140, no_location=True, sort_output=True)
        absent, required = len(missing(catalogue, messages())), len(missing(catalogue, messages(required_only=True)))
        print(f"{code}: {absent} messages without a translation, {required} of them required")


if __name__ == "__main__":
    main()
