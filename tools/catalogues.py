"""Update the message catalogues after a change of the pages: `python tools/catalogues.py`.

New messages get an empty translation, and unused ones are removed.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import write_po

import hedgerow
from hedgerow.dashboards.words.languages import catalogue_path, read_catalogue
from hedgerow.policies.reading.load import parse_policy
from hedgerow.policies.text.locales import LANGUAGES

PACKAGE = Path(hedgerow.__file__).parent
TRANSLATED = tuple(code for code in LANGUAGES if code != "en")

# Scripts are answered in English.
_ENGLISH_ONLY = ("api/policy.py", "api/accounts.py", "api/notices.py", "api/access.py")
_TEMPLATES = "**/templates/**.*"
_METHODS = [
    *((pattern, "ignore") for pattern in _ENGLISH_ONLY),
    (_TEMPLATES, "jinja2.ext:babel_extract"),
    ("**.py", "python"),
]
_JINJA = {_TEMPLATES: {"trimmed": "true", "silent": "false", "newstyle_gettext": "true"}}
# Positions of the messages among the arguments.
_KEYWORDS = {
    "_": None, "gettext": None, "ngettext": (1, 2), "message": None, "localized": None,
    "InvalidInput": None, "WrongCode": None, "SignInRefused": None, "Admission": (3,),
}  # fmt: skip
_CREATED = datetime(2026, 11, 25, tzinfo=UTC)


def messages() -> Catalog:
    """Return all messages of the pages, in English."""
    catalogue = Catalog(project="Hedgerow", creation_date=_CREATED, fuzzy=False)
    for folder in (PACKAGE / "dashboards", PACKAGE / "app"):
        for _file, _line, text, _comments, context in extract_from_dir(str(folder), _METHODS, _JINJA, _KEYWORDS):
            catalogue.add(text, context=context)
    for text in _in_data():
        catalogue.add(text)
    return catalogue


def updated(code: str) -> Catalog:
    """Return the catalogue of a language with all current messages, new ones untranslated."""
    catalogue = read_catalogue(code)
    catalogue.update(messages(), no_fuzzy_matching=True)
    catalogue.project, catalogue.version, catalogue.revision_date = "Hedgerow", "1", _CREATED
    catalogue.last_translator = catalogue.language_team = catalogue.msgid_bugs_address = "Hedgerow"
    catalogue.obsolete.clear()
    return catalogue


def missing(catalogue: Catalog) -> list[str]:
    """Return the messages without a translation in every plural form."""
    return [
        str(each.id)
        for each in catalogue
        if each.id and not all(each.string if isinstance(each.string, list | tuple) else [each.string])
    ]  # fmt: skip


def _in_data() -> Iterator[str]:
    """Yield messages from other packages' data. Categories are translated with the block page."""
    yield from (profile.title for profile in parse_policy(b"", None).profiles.values())


def main() -> None:
    """Write every catalogue, and print the number of missing translations."""
    for code in TRANSLATED:
        catalogue = updated(code)
        with catalogue_path(code).open("wb") as file:
            write_po(file, catalogue, width=140, no_location=True, sort_output=True)
        print(f"{code}: {len(catalogue)} messages, {len(missing(catalogue))} without a translation")


if __name__ == "__main__":
    main()
