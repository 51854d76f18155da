"""Languages of the pages: choice, message catalogues, and formats of dates, times, durations and numbers.

Catalogues are the `.po` files next to this module (`policies/text/locales.py`). Missing messages appear in English;
`tools/catalogues.py` counts them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cache
from zoneinfo import ZoneInfo

from babel import Locale
from babel.dates import format_date, format_datetime, format_skeleton, format_time, format_timedelta, get_day_names
from babel.lists import format_list
from babel.numbers import format_currency, format_decimal, get_currency_precision
from markupsafe import Markup, escape
from starlette.requests import HTTPConnection

from hedgerow.policies.text.locales import LANGUAGES, read_translations, text_direction
from hedgerow.policies.text.locales import message as message
from hedgerow.proxy.pages.translations import category_titles, choose_language, instant_text, page_words

LANGUAGE_COOKIE = "hedgerow_language"
"""Holds the chosen language; without it the browser's Accept-Language decides."""

_LOCALES = {"en": "en_GB", "pt": "pt_PT", "pt-BR": "pt_BR"}
_ARABIC_SCRIPT = frozenset({"ar", "ckb", "fa", "ps", "sd", "ug", "ur"})


class Language:
    """A language. Messages are English sentences with `%(name)s` for each value."""

    def __init__(self, code: str) -> None:
        self.code = code
        self.direction = text_direction(code)
        self.locale = Locale.parse(_LOCALES.get(code, code), sep="_" if code in _LOCALES else "-")
        self.translations = read_translations(code)

    def gettext(self, text: str, /, **values: object) -> str:
        """Return a message in this language with its values."""
        translation = self.translations.gettext(text)
        return translation % values if values else translation

    def ngettext(self, one: str, many: str, count: int, /, **values: object) -> str:
        """Return a message in the plural form for `count`, which is one of its values."""
        return self.translations.ngettext(one, many, count) % {"count": self.number(count), **values}

    def number(self, value: float) -> str:
        """Format a number."""
        return str(format_decimal(value, locale=self.locale))

    def money(self, amount: int, currency: str) -> str:
        """Format an amount in a currency's smallest unit; the bare number without a currency.

        >>> language("de").money(250, "EUR"), language("en").money(250, "JPY"), language("en").money(3, "")
        ('2,50\xa0€', 'JP¥250', '3')
        """
        if not currency:
            return self.number(amount)
        return str(
            format_currency(Decimal(amount).scaleb(-get_currency_precision(currency)), currency, locale=self.locale)
        )

    def clock(self, at: float, now: float, where: ZoneInfo) -> str:
        """Format an instant: one to come as block pages do; else the time if today, day and time if this year, else
        the date.
        """
        if at > now:
            return instant_text(page_words(self.code), at, now, where, self.date)
        moment, today = datetime.fromtimestamp(at, where), datetime.fromtimestamp(now, where)
        if moment.date() == today.date():
            return str(format_time(moment, "short", locale=self.locale))
        if moment.year == today.year:
            return (
                f"{format_skeleton('MMMd', moment, locale=self.locale)}"
                f" {format_time(moment, 'short', locale=self.locale)}"
            )
        return str(format_skeleton("yMMMd", moment, locale=self.locale))

    def date_and_time(self, at: float, timezone: str) -> str:
        """Format an instant with its whole date."""
        return str(format_datetime(datetime.fromtimestamp(at, ZoneInfo(timezone)), "short", locale=self.locale))

    def duration(self, seconds: float) -> str:
        """Format a duration in its largest suitable unit."""
        return str(format_timedelta(timedelta(seconds=max(0.0, seconds)), threshold=1.5, locale=self.locale))

    def ago(self, seconds: float) -> str:
        """Format the time since an event."""
        return str(
            format_timedelta(
                -timedelta(seconds=max(0.0, seconds)), threshold=1.5, add_direction=True, locale=self.locale
            )
        )

    def day(self, weekday: int, width: str = "wide") -> str:
        """Return the name of a day; 0 is Monday. `width` is wide or abbreviated."""
        return str(get_day_names(width, "stand-alone", self.locale)[weekday])  # type: ignore[arg-type]

    def date(self, day: date) -> str:
        """Format a date with its year."""
        return str(format_date(day, "medium", locale=self.locale))

    def country(self, code: str) -> str:
        """Return the name of a country by its ISO 3166 code."""
        return str(self.locale.territories.get(code, code))

    @property
    def comma(self) -> str:
        """The comma between items, with its space."""
        return "، " if self.locale.language in _ARABIC_SCRIPT else ", "

    def listed(self, items: Iterable[str]) -> str:
        """Join items with commas and the word for "and"."""
        return str(format_list(list(items), locale=self.locale))

    def category(self, name: str, title: str) -> str:
        """Return the title of a category; `title` is the English one."""
        return category_titles(self.code).get(name, title)


@cache
def language(code: str) -> Language:
    """Return the language of a code in `LANGUAGES`."""
    return Language(code)


def language_of(connection: HTTPConnection) -> Language:
    """Return the language that the client chose, else the best match for its browser."""
    chosen = connection.cookies.get(LANGUAGE_COOKIE, "")
    return language(chosen if chosen in LANGUAGES else choose_language(connection.headers.get("accept-language", "")))


def with_code(text: str) -> Markup:
    """Return a sentence as HTML. What it has in backticks, such as a command, is code.

    >>> with_code("`doh` & more")
    Markup('<code lang="en">doh</code> &amp; more')
    """
    code = Markup('<code lang="en">{}</code>')
    parts = enumerate(re.split("`([^`]+)`", text))
    return Markup("").join(code.format(part) if place % 2 else escape(part) for place, part in parts)
