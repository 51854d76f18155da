"""Reasons of decisions as sentences in a parent's words: "The limit of 1 hour was used up." Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from babel.units import format_unit

from hedgerow.dashboards.words.labels import OF_CONNECTIONS, title_of
from hedgerow.dashboards.words.languages import Language, message
from hedgerow.policies.model import Reason

_HOMEWORK = "homework by "
"""The place of the rules that a pause for homework makes."""

# Each reason alone, and with the deciding rule, topic or service.
_SENTENCES: dict[Reason, tuple[str, str]] = {
    Reason.LIFELINE: (message("It is a helpline, which is always open."),) * 2,
    Reason.PAUSE: (message("The internet is paused."),) * 2,
    Reason.NO_SESSION: (message("Nobody has opened this seat yet."),) * 2,
    Reason.CONDUCT: (message("The code of conduct has not been accepted yet."),) * 2,
    Reason.BEDTIME: (message("It is bedtime."),) * 2,
    Reason.SCHEDULE: (message("It is closed at this time of the week."), message("It is closed during %(what)s.")),
    Reason.BUDGET: (message("The time was used up."), message("The time for %(what)s was used up.")),
    Reason.UNNAMED: (message("Nobody has said whose device this is, and the internet is closed for a child."),) * 2,
    Reason.GRANT: (message("Somebody allowed it."), message("Somebody allowed %(what)s.")),
    Reason.EXCEPTION: (message("A rule opens it."), message("The rule for %(what)s opens it.")),
    Reason.RULE: (message("A rule closes it."), message("The rule for %(what)s closes it.")),
    Reason.BYPASS: (message("It is a way round the filter."),) * 2,
    Reason.SERVICE: (message("This app is closed here."), message("%(what)s is closed here.")),
    Reason.CATEGORY: (message("Its topic is closed here."), message("It belongs to %(what)s, which is closed here.")),
    Reason.RECOGNISED: (
        message("It looks like something that is closed here."),
        message("It looks like %(what)s, which is closed here."),
    ),
    Reason.SAFE_SEARCH: (message("Searches are kept safe for children."),) * 2,
    Reason.SEARCH: (message("The words of the search are closed here."),) * 2,
    Reason.PAGE: (message("The words on the page are not for this age."),) * 2,
    Reason.FILE: (message("This kind of file is closed here."),) * 2,
    Reason.PICTURE: (message("The picture looks explicit."),) * 2,
    Reason.DEFAULT: (message("No rule is against it."),) * 2,
}
_LIMIT = (message("The limit of %(limit)s was used up."), message("The limit of %(limit)s for %(what)s was used up."))
_AT_HOMEWORK = message("It is time for homework, and %(what)s is closed.")


def reason_sentence(reason: Reason, what: str, reader: Language, *, rule: str = "", limit: int | None = None) -> str:
    """Return a sentence about what decided. `rule` is its place, `limit` the minutes per day that were used up.

    >>> from hedgerow.dashboards.words.languages import language
    >>> reason_sentence(Reason.BUDGET, "", language("en"), limit=60)
    'The limit of 1 hour was used up.'
    >>> reason_sentence(Reason.BUDGET, "games", language("en"), limit=45)
    'The limit of 45 minutes for Games was used up.'
    >>> reason_sentence(Reason.CATEGORY, "gambling", language("en"))
    'It belongs to Gambling, which is closed here.'
    """
    if what in OF_CONNECTIONS:
        text = reader.gettext(OF_CONNECTIONS[what])
        return f"{text[:1].upper()}{text[1:]}."
    what = "" if what == reason.value else what
    texts = _SENTENCES[reason] if reason is not Reason.BUDGET or limit is None else _LIMIT
    text = _AT_HOMEWORK if rule.startswith(_HOMEWORK) else texts[bool(what)]
    return reader.gettext(text, what=title_of(what, reader), limit=duration_text(limit or 0, reader))


def stored_reason_sentence(text: str, reader: Language, limits: Mapping[str, int | None] = MappingProxyType({})) -> str:
    """Return the sentence for a reason that the journal stores as text, with or without its subject.

    `limits` are the minutes per day by subject, of the person whom it is about.

    >>> from hedgerow.dashboards.words.languages import language
    >>> stored_reason_sentence("category: gambling", language("en"))
    'It belongs to Gambling, which is closed here.'
    >>> stored_reason_sentence("budget", language("en"), {"": 60}), stored_reason_sentence("bedtime", language("en"))
    ('The limit of 1 hour was used up.', 'It is bedtime.')
    """
    reason, _, what = text.partition(": ")
    if reason not in set(Reason):
        return text
    return reason_sentence(Reason(reason), what, reader, limit=limits.get(what) if reason == Reason.BUDGET else None)


def duration_text(minutes: int, reader: Language) -> str:
    """Return an amount of time, to the minute.

    >>> from hedgerow.dashboards.words.languages import language
    >>> duration_text(90, language("en")), duration_text(60, language("de")), duration_text(0, language("en"))
    ('1 hour 30 minutes', '1 Stunde', '0 minutes')
    """
    parts = [(count, unit) for count, unit in ((minutes // 60, "hour"), (minutes % 60, "minute")) if count]
    return " ".join(
        str(format_unit(count, f"duration-{unit}", locale=reader.locale)) for count, unit in parts or [(0, "minute")]
    )
