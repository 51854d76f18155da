"""The languages of the pages: which one somebody reads, its catalogue, and how it writes dates, times, durations and numbers.

A catalogue is a file beside this one, named for its locale (`de.po`, `pt_BR.po`) and read as it is: a checkout needs no compiling. What a
catalogue lacks is shown in English; `catalogues` says what that is, and a test sees to it that it is nothing.
"""

from __future__ import annotations

import gettext
import io
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

from babel import Locale
from babel.dates import format_date, format_skeleton, format_time, format_timedelta, get_day_names
from babel.lists import format_list
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal
from starlette.requests import HTTPConnection

from hedgerow.policies.text.locales import LANGUAGES
from hedgerow.proxy.pages.translations import category_titles, choose_language

CATALOGUES_DIR = Path(__file__).parent
LANGUAGE_COOKIE = "hedgerow_language"
"""Holds the language that somebody chose; without it the browser's Accept-Language decides."""

_LOCALES = {"en": "en_GB", "pt": "pt_PT", "pt-BR": "pt_BR"}


def message(text: str) -> str:
    """Marks a text that is translated where it is shown."""
    return text


class Language:
    """One language. Messages are English sentences with `%(name)s` where a value goes."""

    def __init__(self, code: str) -> None:
        self.code = code
        self.locale = Locale.parse(_LOCALES.get(code, code))
        self.translations = gettext.NullTranslations() if code == "en" else _translations(code)

    def gettext(self, text: str, /, **values: object) -> str:
        """The message in this language, with its values."""
        found = self.translations.gettext(text)
        return found % values if values else found

    def ngettext(self, one: str, many: str, count: int, /, **values: object) -> str:
        """The message in the form for so many; `count` is among its values."""
        return self.translations.ngettext(one, many, count) % {"count": self.number(count), **values}

    def number(self, value: float) -> str:
        """With the separators of this language."""
        return str(format_decimal(value, locale=self.locale))

    def clock(self, at: float, now: float, where: ZoneInfo) -> str:
        """An instant as people say it: the time today, the day and time this year, the date before that."""
        moment, today = datetime.fromtimestamp(at, where), datetime.fromtimestamp(now, where)
        if moment.date() == today.date():
            return str(format_time(moment, "short", locale=self.locale))
        if moment.year == today.year:
            return f"{format_skeleton('MMMd', moment, locale=self.locale)} {format_time(moment, 'short', locale=self.locale)}"
        return str(format_skeleton("yMMMd", moment, locale=self.locale))

    def duration(self, seconds: float) -> str:
        """How long something took, in its largest fitting unit."""
        return str(format_timedelta(timedelta(seconds=max(0.0, seconds)), threshold=1.5, locale=self.locale))

    def ago(self, seconds: float) -> str:
        """How long something is past."""
        return str(format_timedelta(-timedelta(seconds=max(0.0, seconds)), threshold=1.5, add_direction=True, locale=self.locale))

    def day(self, weekday: int, width: str = "wide") -> str:
        """The name of a day; 0 is Monday. `width` is wide or abbreviated."""
        return str(get_day_names(width, "stand-alone", self.locale)[weekday])  # type: ignore[arg-type]

    def date(self, day: date) -> str:
        """A date with its year."""
        return str(format_date(day, "medium", locale=self.locale))

    def country(self, code: str) -> str:
        """The name of a country by its ISO 3166 code."""
        return str(self.locale.territories.get(code, code))

    def listed(self, items: Iterable[str]) -> str:
        """Several with commas and the word for "and"."""
        return str(format_list(list(items), locale=self.locale))

    def category(self, name: str, title: str) -> str:
        """The title of a category; `title` is the English one."""
        return category_titles(self.code).get(name, title)


@cache
def language(code: str) -> Language:
    """The language of this code, one of `LANGUAGES`."""
    return Language(code)


def language_of(connection: HTTPConnection) -> Language:
    """What the asker chose, else what their browser likes best of what there is."""
    chosen = connection.cookies.get(LANGUAGE_COOKIE, "")
    return language(chosen if chosen in LANGUAGES else choose_language(connection.headers.get("accept-language", "")))


def read_catalogue(code: str) -> Catalog:
    """The messages and translations of a language, from its file."""
    with catalogue_path(code).open("rb") as file:
        return read_po(file, locale=catalogue_path(code).stem)


def catalogue_path(code: str) -> Path:
    """The file of a language's catalogue, which has gettext's name for the locale: `pt_BR.po` for `pt-BR`."""
    return CATALOGUES_DIR / f"{code.replace('-', '_')}.po"


def _translations(code: str) -> gettext.NullTranslations:
    compiled = io.BytesIO()
    write_mo(compiled, read_catalogue(code))
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)
