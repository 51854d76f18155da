"""Translations of the proxy's pages: the choice of a language, and decisions in its words.

The English texts are in `en.yaml`, the others in the message catalogues (`policies/text/locales.py`). Pure, except that
both are read when a language is used for the first time.
"""

from __future__ import annotations

import gettext
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from hedgerow.blocklists.categories import builtin_categories
from hedgerow.blocklists.yaml_files import read_yaml
from hedgerow.policies.model import Decision, Privacy, Profile, Reason
from hedgerow.policies.remembered import is_by_label, is_by_page
from hedgerow.policies.sites_seen import registration_of
from hedgerow.policies.text.locales import LANGUAGES, SOURCE_LANGUAGE, read_translations, text_direction

PAGES = Path(__file__).parent
PAGE_CONTEXT, TOPIC_CONTEXT = "block page", "topic"
"""Contexts of the messages in the catalogues: texts of `en.yaml`, and titles of categories."""

_LANGUAGE_RANGE = re.compile(r"\s*([A-Za-z]{1,8}(?:-[A-Za-z0-9-]*)?|\*)\s*(?:;\s*q\s*=\s*([01](?:\.[0-9]{0,3})?)\s*)?")
_MAX_RANGES = 20
_YOUNG_BELOW_AGE = 8
_YOUNG_PROFILE = "child-under-8"
_MOST_SUBTAGS = 4
_BY_LOWER_CASE = {code.lower(): code for code in LANGUAGES}
_REASONS_WITH_OWN_WORDS = frozenset({Reason.BYPASS, Reason.PAUSE, Reason.RULE, Reason.RECOGNISED, Reason.SAFE_SEARCH})
_PAGE_SCORE = re.compile(r"(\d+) of (\d+)")  # as the scanners for words and pictures write it


@dataclass(frozen=True, slots=True)
class PageReader:
    """The reader of a response: the language, whether the device is a small child's, whether it is that of another
    child of a family, who reads the family's words, and whether it has no name and may be a child's. `recorded` is the
    level if more than counts is stored about a child of a family.
    """

    language: str = "en"
    young: bool = False
    is_family: bool = False
    is_unnamed: bool = False
    recorded: Privacy | None = None


@dataclass(frozen=True, slots=True)
class Permission:
    """The subject of a grant and its end, None for good.

    `now` is the page's instant. Both are in seconds since the epoch.
    """

    what: str
    until: float | None
    now: float


def is_young(age: int | None, profile: str) -> bool:
    """True if a page has simpler words: by a person's age, else by the device's profile."""
    return age < _YOUNG_BELOW_AGE if age is not None else profile == _YOUNG_PROFILE


def is_child_of_family(person: str | None, profile: Profile | None, *, at_seat: bool) -> bool:
    """True if pages use the words of a family: for a person with the rules of a child, except at a café's seat."""
    return person is not None and profile is not None and profile.is_for_children and not at_seat


def choose_language(accept: str) -> str:
    """The language that an Accept-Language field (RFC 9110, section 12.5.4) prefers among ours, or else English.

    A range is looked up as in RFC 4647, section 3.4: without its last subtags, until we have a language of that name.

    >>> choose_language("pt-BR,pt;q=0.9,en;q=0.8"), choose_language("pt-PT,pt;q=0.9,pt-BR;q=0.8"), choose_language("")
    ('pt-BR', 'pt', 'en')
    """
    best, best_quality = "en", 0.0
    for part in accept.split(",")[:_MAX_RANGES]:
        match = _LANGUAGE_RANGE.fullmatch(part)
        if match is None:
            continue
        quality = 1.0 if match[2] is None else float(match[2])
        language = _look_up(match[1].lower())
        if language is not None and quality > best_quality:
            best, best_quality = language, quality
    return best


def _look_up(language_range: str) -> str | None:
    subtags = language_range.split("-")[:_MOST_SUBTAGS]
    shorter = ("-".join(subtags[:count]) for count in range(len(subtags), 0, -1))
    return next((_BY_LOWER_CASE[tag] for tag in shorter if tag in _BY_LOWER_CASE), None)


class PageTranslation:
    """One language. `words` has its texts. `titles` names services in English."""

    def __init__(self, words: Mapping[str, Any], titles: Mapping[str, str], timezone: ZoneInfo) -> None:
        self.words = words
        self._titles = {**titles, **words["categories"]}
        self._timezone = timezone

    def reason(self, decision: Decision, *, young: bool = False) -> tuple[str, str]:
        """The heading and the sentence for a blocked request."""
        reasons = self.words["young"]["reasons"] if young else self.words["reasons"]
        has_own_words = decision.reason in _REASONS_WITH_OWN_WORDS
        own = reasons.get(f"{decision.reason}-{decision.what}") or reasons.get(decision.what)
        detail = own if has_own_words else None  # such as the way round the filter
        if is_by_page(decision):
            detail = reasons.get("recognised-label" if is_by_label(decision) else "recognised-page")
        words = detail or reasons.get(decision.reason.value) or reasons["default"]
        title = self.title(decision.what)
        return words["heading"].format(title=title), words["why"].format(title=title)

    def title(self, what: str) -> str:
        """The title of a service or category; another text as it is."""
        return str(self._titles.get(what, what))

    def opened(self, permission: Permission) -> str:
        """The heading that says what is open, and until when."""
        words, title = self.words["open"], self.title(permission.what)
        if permission.until is None:
            return str(words["title"].format(title=title))
        return str(words["title_until"].format(title=title, time=self.until(permission.until, permission.now)))

    def detail(self, decision: Decision) -> str:
        """The score of a page's words, the kind of a file, the date of a new site, or ''."""
        details: Mapping[str, str] = self.words["details"]
        match decision.reason:
            case Reason.FILE:
                return details.get(decision.what, "")
            case Reason.PAGE | Reason.PICTURE:
                if (score := _PAGE_SCORE.fullmatch(decision.what)) is not None:
                    return details[decision.reason.value].format(score=score[1], limit=score[2])
                return details["too-long" if decision.what.startswith("too long") else "unchecked"]
            case Reason.RECOGNISED:
                date = registration_of(str(decision.rule))
                return "" if date is None else details["registered"].format(date=date)
            case _:
                return ""

    def until(self, until: float, now: float) -> str:
        """An instant to come as wall-clock time. Both arguments are in seconds since the epoch."""
        return instant_text(self.words, until, now, self._timezone)


class PageTranslations(dict[PageReader, PageTranslation]):
    """The words for each kind of reader. They are loaded when they are first used. Times are shown in `timezone`."""

    def __init__(self, titles: Mapping[str, str], timezone: ZoneInfo) -> None:
        super().__init__()
        self._titles, self._timezone = titles, timezone

    def __missing__(self, reader: PageReader) -> PageTranslation:
        try:
            words = page_words(reader.language)
        except OSError:  # the package was replaced under a running worker
            words = page_words(SOURCE_LANGUAGE)
        if reader.is_family:
            words = _replaced(words, words["family"])
        translation = self[reader] = PageTranslation(words, self._titles, self._timezone)
        return translation


def instant_text(
    words: Mapping[str, Any], at: float, now: float, where: ZoneInfo, date_text: Callable[[date], str] = str
) -> str:
    """An instant to come as people say it, rounded up to the minute: the one form for pages, block pages and notices.

    `words` are those of a language (`page_words`). The midnight after today is "tomorrow".
    """
    then, today = (datetime.fromtimestamp(instant, where) for instant in (at, now))
    if then.second or then.microsecond:
        then = then.replace(second=0, microsecond=0) + timedelta(minutes=1)
    time, days, forms = f"{then:%H:%M}", (then.date() - today.date()).days, words["until"]
    if days == 0:
        return str(forms["time"].format(time=time))
    day = forms["midnight"] if days == 1 else words["days"][then.weekday()] if days < 7 else date_text(then.date())
    if time == "00:00":
        return str(day)
    return str(forms["tomorrow"].format(time=time) if days == 1 else forms["day"].format(day=day, time=time))


def _replaced(words: Any, own: Any) -> Any:
    """Return words with those of `own` in the place of the same ones."""
    if not isinstance(own, dict):
        return own
    return {**words, **{key: _replaced(words[key], each) for key, each in own.items()}}


@cache
def category_titles(language: str) -> Mapping[str, str]:
    """The titles of categories in a language. Missing ones are in English."""
    translations = read_translations(language)
    return {category.name: translations.pgettext(TOPIC_CONTEXT, category.title) for category in builtin_categories()}


@cache
def page_words(language: str) -> dict[str, Any]:
    """The texts of `en.yaml` in a language, with its `lang` and `dir`."""
    words: dict[str, Any] = _translated(english_words(), read_translations(language))
    return words | {"lang": language, "dir": text_direction(language), "categories": category_titles(language)}


def _translated(words: Any, translations: gettext.NullTranslations) -> Any:
    if isinstance(words, dict):
        return {key: _translated(each, translations) for key, each in words.items()}
    if isinstance(words, list):
        return [_translated(each, translations) for each in words]
    return translations.pgettext(PAGE_CONTEXT, words)


@cache
def english_words() -> dict[str, Any]:
    """The texts of `en.yaml`."""
    words = read_yaml(PAGES / "en.yaml")
    assert isinstance(words, dict)
    return words
