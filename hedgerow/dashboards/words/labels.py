"""Decisions and instants in plain words. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from typing import assert_never
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from hedgerow.blocklists.categories import builtin_categories
from hedgerow.dashboards.words.languages import Language, language, message
from hedgerow.journal.reader import ReasonCount
from hedgerow.policies.content import CERTIFICATE_REFUSED, PASS_THROUGH
from hedgerow.policies.expiry import UpcomingEnd
from hedgerow.policies.host_facts import Services
from hedgerow.policies.model import Reason, Verdict

_PASSED_THROUGH = message("passed through uninspected: an app does not accept the network's certificate")
_REFUSED = message("not opened: an app does not accept the network's certificate, and the rules here need it")

# How a reason is said alone, and with what decided.
_REASONS: dict[Reason, tuple[str, str]] = {
    Reason.LIFELINE: (message("a helpline"), message("a helpline")),
    Reason.PAUSE: (message("the network is paused"), message("the network is paused")),
    Reason.NO_SESSION: (message("nobody has opened this seat yet"), message("nobody has opened this seat yet")),
    Reason.CONDUCT: (message("the code of conduct has not been accepted yet"), message("the code of conduct has not been accepted yet")),
    Reason.BEDTIME: (message("bedtime"), message("bedtime (%(what)s)")),
    Reason.SCHEDULE: (message("closed at this time"), message("closed at this time (%(what)s)")),
    Reason.BUDGET: (message("time is used up"), message("time is used up (%(what)s)")),
    Reason.GRANT: (message("granted"), message("granted: %(what)s")),
    Reason.EXCEPTION: (message("allowed by the policy"), message("allowed by the policy: %(what)s")),
    Reason.RULE: (message("blocked by the policy"), message("blocked by the policy: %(what)s")),
    Reason.BYPASS: (message("a way round the filter"), message("a way round the filter")),
    Reason.SERVICE: (message("a service"), message("service: %(what)s")),
    Reason.CATEGORY: (message("a topic"), message("topic: %(what)s")),
    Reason.SAFE_SEARCH: (message("safe search"), message("safe search: %(what)s")),
    Reason.SEARCH: (message("search words"), message("search words: %(what)s")),
    Reason.PAGE: (message("words on the page"), message("words on the page: %(what)s")),
    Reason.FILE: (message("kind of file"), message("kind of file: %(what)s")),
    Reason.DEFAULT: (message("no rule against it"), message("no rule against it")),
}


def zone(name: str) -> ZoneInfo:
    """The time zone of this name, UTC where it is not known."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")


def reason_text(reason: Reason, what: str, reader: Language | None = None) -> str:
    """Why, as the end of a sentence; in English where no language is given.

    >>> reason_text(Reason.CATEGORY, "gambling"), reason_text(Reason.DEFAULT, "")
    ('topic: Gambling', 'no rule against it')
    """
    reader = reader or language("en")
    if what == PASS_THROUGH:
        return reader.gettext(_PASSED_THROUGH)
    if what == CERTIFICATE_REFUSED:
        return reader.gettext(_REFUSED)
    alone, with_what = _REASONS[reason]
    return reader.gettext(with_what, what=title_of(what, reader)) if what else reader.gettext(alone)


def count_by_reason(counts: Iterable[ReasonCount], reader: Language) -> list[tuple[str, int]]:
    """How often for each reason, the most frequent first; reasons that are said in the same words are one.

    >>> count_by_reason([ReasonCount(Verdict.BLOCK, Reason.BYPASS, what, 2) for what in ("vpn", "doh")], language("en"))
    [('a way round the filter', 4)]
    """
    told: Counter[str] = Counter()
    for each in counts:
        told[reason_text(each.reason, each.what, reader)] += each.count
    return told.most_common()


def stored_reason_text(text: str, reader: Language) -> str:
    """Why, where the journal has it as text: a reason, or a reason and what decided.

    >>> stored_reason_text("category: gambling", language("en")), stored_reason_text("bedtime", language("en"))
    ('topic: Gambling', 'bedtime')
    """
    reason, _, what = text.partition(": ")
    return reason_text(Reason(reason), what, reader) if reason in set(Reason) else text


def title_of(name: str, reader: Language) -> str:
    """What a category or service is called; any other text as it is."""
    return reader.category(name, _titles().get(name, name))


@cache
def _titles() -> dict[str, str]:
    services = {id: service.title for id, service in Services.load().by_id.items()}
    return services | {category.name: category.title for category in builtin_categories()}


def verdict_text(verdict: Verdict, reader: Language) -> str:
    """What happened to it, in one word."""
    match verdict:
        case Verdict.ALLOW | Verdict.INSPECT:
            return reader.gettext("allowed")
        case Verdict.BLOCK:
            return reader.gettext("blocked")
        case Verdict.REWRITE:
            return reader.gettext("made safe")
        case _:
            assert_never(verdict)


def ending_text(ending: UpcomingEnd, reader: Language) -> str:
    """What ends soon, as a sentence."""
    what = title_of(ending.what.rpartition(":")[2], reader)
    if ending.reason is not Reason.BUDGET:
        return reader.ngettext(
            "%(count)s minute until the internet closes.", "%(count)s minutes until the internet closes.", ending.minutes
        )
    if what:
        return reader.ngettext("%(count)s minute left for %(what)s.", "%(count)s minutes left for %(what)s.", ending.minutes, what=what)
    return reader.ngettext("%(count)s minute is left.", "%(count)s minutes are left.", ending.minutes)


def iso_timestamp(at: float) -> str:
    """An instant for machines, in UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def minutes_left(ends: float | None, now: float) -> int | None:
    """Until a session ends, the minute that runs included; None where no end is set."""
    return None if ends is None else max(0, int((ends - now + 59) // 60))


def midnight_before(now: float, where: ZoneInfo) -> float:
    """The instant at which the local day of `now` began."""
    day = datetime.fromtimestamp(now, where)
    return day.replace(hour=0, minute=0, second=0, microsecond=0, fold=0).timestamp()


_BROWSERS = (
    # Each of them calls itself by the names of those below, too.
    ("Edg", "Edge"), ("OPR/", "Opera"), ("SamsungBrowser", "Samsung Internet"), ("Firefox/", "Firefox"), ("FxiOS", "Firefox"),
    ("CriOS", "Chrome"), ("Chrome/", "Chrome"), ("Safari/", "Safari"),
)  # fmt: skip
_SYSTEMS = (
    ("iPhone", "iPhone"), ("iPad", "iPad"), ("Android", "Android"), ("Windows", "Windows"), ("Macintosh", "Mac"), ("CrOS", "Chromebook"),
    ("Linux", "Linux"),
)  # fmt: skip
_MAX_AGENT_LENGTH = 60


def user_agent_text(agent: str) -> str:
    """The browser and its system; of what is not known, the beginning as it is.

    >>> user_agent_text("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36")
    'Chrome, Linux'
    >>> user_agent_text("curl/8.14.1"), user_agent_text("")
    ('curl/8.14.1', '')
    """
    browser = next((name for sign, name in _BROWSERS if sign in agent), "")
    system = next((name for sign, name in _SYSTEMS if sign in agent), "")
    return ", ".join(filter(None, (browser, system))) or agent[:_MAX_AGENT_LENGTH]
