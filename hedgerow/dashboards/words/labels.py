"""Labels of decisions, reasons, times, browsers and people. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from zlib import crc32
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from hedgerow.blocklists.categories import builtin_categories
from hedgerow.dashboards.words.languages import Language, language, message
from hedgerow.dns.extended_errors import PRIVATE_ADDRESS, UPSTREAM_BLOCKS
from hedgerow.journal.reader import ReasonCount
from hedgerow.policies.content import CERTIFICATE_REFUSED, CLIENT_CERTIFICATE, PASS_THROUGH, TUNNEL_TRAFFIC, UNREAD_APP
from hedgerow.policies.effective_users import ALL_UNNAMED
from hedgerow.policies.expiry import PersonTimes, UpcomingEnd
from hedgerow.policies.host_facts import Services
from hedgerow.policies.model import Grant, Reason, Verdict
from hedgerow.policies.sites_seen import NEW_DOMAINS, registration_of
from hedgerow.policies.targets import correctable_topics
from hedgerow.policies.time_model import LATER_BEDTIME
from hedgerow.policies.unlisted import UNTRUSTED_CERTIFICATE
from hedgerow.policies.youtube import YOUTUBE_CHOSEN

OF_CONNECTIONS = {
    PASS_THROUGH: message("passed through uninspected: an app does not accept the network's certificate"),
    CERTIFICATE_REFUSED: message(
        "not opened: an app does not accept the network's certificate, and the rules here need it"
    ),
    UNREAD_APP: message("an app does not accept the network's certificate, and somebody in charge can let it through"),
    CLIENT_CERTIFICATE: message("the site asks for a certificate of the device's own, which the filter cannot show"),
    UNTRUSTED_CERTIFICATE: message("the site cannot prove who it is: its certificate is not trusted"),
    TUNNEL_TRAFFIC: message("nearly all traffic of the device goes there, as with a tunnel past the filter"),
    YOUTUBE_CHOSEN: message("not one of the chosen YouTube channels"),
    PRIVATE_ADDRESS: message("the site leads to a device in this network, as in an attack"),
    UPSTREAM_BLOCKS: message("the DNS server of the provider blocks it"),
}
"""What a decision names that is neither a rule nor a topic."""

_ABOUT_SITES = frozenset({Reason.CATEGORY, Reason.RECOGNISED, Reason.PAGE})

_UNREAD_REQUESTS = {
    UNREAD_APP: message(
        "An app on %(device)s does not accept the network's certificate for %(what)s. "
        "Let it through without looking inside?"
    ),
    CLIENT_CERTIFICATE: message(
        "%(what)s asks %(device)s for a certificate of its own, which the filter cannot show. "
        "Let it through without looking inside?"
    ),
    TUNNEL_TRAFFIC: message(
        "Nearly all traffic of %(device)s goes to %(what)s, as with a tunnel past the filter. Let it through?"
    ),
}
"""Requests that no person made, by what their reason names."""

_PRESETS = {"homework": message("homework"), "dinner": message("dinner"), "quiet-hour": message("Quiet hour")}
"""Schedules by the names that presets give them in English, and a pause with a name. In a file for several languages
they stay so.
"""

_UNNAMED = message("a device without a name")
_REGISTERED = message("registered on %(date)s")
_VERDICTS = {
    Verdict.ALLOW: message("allowed"),
    Verdict.INSPECT: message("allowed"),
    Verdict.BLOCK: message("blocked"),
    Verdict.REWRITE: message("made safe"),
}

# Each reason alone, and with the deciding rule, topic or service.
_REASONS: dict[Reason, tuple[str, str]] = {
    Reason.LIFELINE: (message("a helpline"), message("a helpline")),
    Reason.PAUSE: (message("the network is paused"), message("the network is paused")),
    Reason.NO_SESSION: (message("nobody has opened this seat yet"), message("nobody has opened this seat yet")),
    Reason.CONDUCT: (
        message("the code of conduct has not been accepted yet"),
        message("the code of conduct has not been accepted yet"),
    ),
    Reason.BEDTIME: (message("bedtime"), message("bedtime")),
    Reason.SCHEDULE: (message("closed at this time"), message("closed at this time (%(what)s)")),
    Reason.BUDGET: (message("time is used up"), message("time is used up (%(what)s)")),
    Reason.UNNAMED: (message("a device without a name, while the internet is closed for a child"),) * 2,
    Reason.GRANT: (message("granted"), message("granted: %(what)s")),
    Reason.EXCEPTION: (message("opened by a rule"), message("opened by the rule for %(what)s")),
    Reason.RULE: (message("closed by a rule"), message("closed by the rule for %(what)s")),
    Reason.BYPASS: (message("a way round the filter"), message("a way round the filter")),
    Reason.SERVICE: (message("a service"), message("service: %(what)s")),
    Reason.CATEGORY: (message("a topic"), message("topic: %(what)s")),
    Reason.RECOGNISED: (message("looks like something that is closed here"), message("looks like: %(what)s")),
    Reason.SAFE_SEARCH: (message("safe search"), message("safe search: %(what)s")),
    Reason.SEARCH: (message("search words"), message("search words: %(what)s")),
    Reason.PAGE: (message("words on the page"), message("words on the page: %(what)s")),
    Reason.FILE: (message("kind of file"), message("kind of file: %(what)s")),
    Reason.PICTURE: (message("what a picture shows"), message("what a picture shows")),
    Reason.DEFAULT: (message("no rule against it"), message("no rule against it")),
}


def zone(name: str) -> ZoneInfo:
    """Return a time zone by its name, or UTC if it is unknown."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")


def device_name(device: str, reader: Language) -> str:
    """Return the name of a device; those that the journal no longer tells apart have no name."""
    return reader.gettext(_UNNAMED) if device == ALL_UNNAMED else device


def reason_text(reason: Reason, what: str, reader: Language | None = None) -> str:
    """Return a reason as the end of a sentence, by default in English.

    >>> reason_text(Reason.CATEGORY, "gambling"), reason_text(Reason.DEFAULT, "")
    ('topic: Gambling', 'no rule against it')
    >>> reason_text(Reason.BEDTIME, "bedtime"), reason_text(Reason.SCHEDULE, "homework")
    ('bedtime', 'closed at this time (homework)')
    """
    reader = reader or language("en")
    if what in OF_CONNECTIONS:
        return reader.gettext(OF_CONNECTIONS[what])
    alone, with_what = _REASONS[reason]
    return reader.gettext(alone) if what in ("", reason) else reader.gettext(with_what, what=title_of(what, reader))


def rule_text(rule: str, reader: Language) -> str:
    """Return the place of a rule, or when a site was registered that is new.

    >>> rule_text("profiles/adult.yaml:7", language("en")), rule_text("registered 2026-11-26", language("en"))
    ('profiles/adult.yaml:7', 'registered on 26 Nov 2026')
    """
    registered = registration_of(rule)
    return rule if registered is None else reader.gettext(_REGISTERED, date=reader.date(registered))


def count_by_reason(counts: Iterable[ReasonCount], reader: Language) -> list[tuple[str, int]]:
    """Return the count of each reason text, most frequent first. Reasons with the same text are added up.

    A service or a topic is its name alone.

    >>> count_by_reason([ReasonCount(Verdict.BLOCK, Reason.BYPASS, what, 2) for what in ("vpn", "doh")], language("en"))
    [('a way round the filter', 4)]
    >>> count_by_reason([ReasonCount(Verdict.BLOCK, Reason.SERVICE, "roblox", 1)], language("en"))
    [('Roblox', 1)]
    """
    totals: Counter[str] = Counter()
    for each in counts:
        totals[short_reason(each.reason, each.what, reader)] += each.count
    return totals.most_common()


def short_reason(reason: Reason, what: str, reader: Language) -> str:
    """Return a reason for a table: the name alone of a service or a topic."""
    is_named = reason in (Reason.SERVICE, Reason.CATEGORY) and what not in ("", reason, *OF_CONNECTIONS)
    return title_of(what, reader) if is_named else reason_text(reason, what, reader)


def unread_request_text(reason: str, device: str, host: str, reader: Language) -> str:
    """Return the question of a request to let a host pass unread, by its stored reason. Empty for other requests.

    >>> unread_request_text("default: unread-app", "tablet", "api.example", language("en"))[:41]
    'An app on tablet does not accept the netw'
    >>> unread_request_text("service: roblox", "tablet", "roblox", language("en"))
    ''
    """
    text = _UNREAD_REQUESTS.get(reason.partition(": ")[2])
    return reader.gettext(text, device=device, what=host) if text else ""


def title_of(name: str, reader: Language) -> str:
    """Return the title of a category, a service or a schedule that a preset made; other texts unchanged."""
    return reader.gettext(_PRESETS[name]) if name in _PRESETS else reader.category(name, _titles().get(name, name))


def grant_title(subject: str, reader: Language) -> str:
    """Return the title of what a grant opens."""
    return reader.gettext(message("Later bedtime")) if subject == LATER_BEDTIME else title_of(subject, reader)


def open_until(grant: Grant, times: PersonTimes | None) -> float | None:
    """Return the instant until which a grant opens something: its end, or the person's bedtime before it.

    None: no end is set.
    """
    bedtime = (
        times.bedtime if times is not None and times.bedtime is not None and times.bedtime > grant.starts else None
    )
    return (
        min((each for each in (grant.ends, bedtime) if each is not None), default=None)
        if grant.ends is not None
        else None
    )


@cache
def _titles() -> dict[str, str]:
    services = {id: service.title for id, service in Services.load().by_id.items()}
    return services | {category.name: category.title for category in builtin_categories()}


def verdict_text(verdict: Verdict, reader: Language) -> str:
    """Return a verdict in one word."""
    return reader.gettext(_VERDICTS[verdict])


def ending_text(ending: UpcomingEnd, reader: Language) -> str:
    """Return a sentence about time that ends soon."""
    what = title_of(ending.what.rpartition(":")[2], reader)
    if ending.reason is not Reason.BUDGET:
        return reader.ngettext(
            "%(count)s minute until the internet closes.",
            "%(count)s minutes until the internet closes.",
            ending.minutes,
        )
    if what:
        return reader.ngettext(
            "%(count)s minute left for %(what)s.", "%(count)s minutes left for %(what)s.", ending.minutes, what=what
        )
    return reader.ngettext("%(count)s minute is left.", "%(count)s minutes are left.", ending.minutes)


def iso_timestamp(at: float) -> str:
    """Return an instant in ISO 8601, in UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def minutes_left(ends: float | None, now: float) -> int | None:
    """Return the minutes until a session ends, rounded up, or None without an end."""
    return None if ends is None else max(0, int((ends - now + 59) // 60))


def midnight_before(now: float, where: ZoneInfo) -> float:
    """Return the instant at which the local day of `now` began."""
    day = datetime.fromtimestamp(now, where)
    return day.replace(hour=0, minute=0, second=0, microsecond=0, fold=0).timestamp()


_BROWSERS = (
    # Each User-Agent also contains names of the browsers below it.
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS", "Firefox"),
    ("CriOS", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
_SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Macintosh", "Mac"),
    ("CrOS", "Chromebook"),
    ("Linux", "Linux"),
)
_MAX_AGENT_LENGTH = 60


def user_agent_text(agent: str) -> str:
    """Return browser and operating system of a User-Agent, or its beginning if both are unknown.

    >>> user_agent_text("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36")
    'Chrome, Linux'
    >>> user_agent_text("curl/8.14.1"), user_agent_text("")
    ('curl/8.14.1', '')
    """  # noqa: E501
    browser = next((name for sign, name in _BROWSERS if sign in agent), "")
    system = next((name for sign, name in _SYSTEMS if sign in agent), "")
    return ", ".join(filter(None, (browser, system))) or agent[:_MAX_AGENT_LENGTH]


HUES = 8
"""Colours for people in the style sheet, `hue-0` to `hue-7`."""


def hues(people: Iterable[str]) -> dict[str, int]:
    """Return the number of each person's colour (0 to 7).

    It depends on the name, and on the people before who have the same.

    >>> before, after = hues(["mia", "tom"]), hues(["mia", "tom", "zoe"])
    >>> before.items() < after.items(), len(set(after.values()))
    (True, 3)
    """
    chosen: dict[str, int] = {}
    taken: set[int] = set()
    for name in people:
        wanted = crc32(name.encode()) % HUES
        hue = next((hue for step in range(HUES) if (hue := (wanted + step) % HUES) not in taken), wanted)
        taken.add(hue)
        chosen[name] = hue
    return chosen


GLYPHS = {
    **{"games": "console", "video": "video", "social": "people", "music": "music", "shopping": "bag"},
    **dict.fromkeys(("messaging", "forums", "random-chat"), "bubble"),
    **dict.fromkeys(("file-sharing", "piracy"), "tray"),
    **dict.fromkeys(("bypass", "vpn"), "protection"),
    **dict.fromkeys(("malware", "phishing"), "warning"),
    **dict.fromkeys(("internet", "mirrors"), "globe"),
    **{"ai-chat": "spark", "gambling": "dice", "dating": "heart", "app-stores": "apps", "unsafe-search": "search"},
}
"""Symbols of `static/icons.svg` for topics and groups of services."""


def monogram(title: str) -> str:
    """Return one or two letters for a service, a topic or a site that has no symbol.

    >>> monogram("TikTok"), monogram("Roblox"), monogram("4chan"), monogram("www.example.org"), monogram("")
    ('TT', 'R', '4', 'E', '?')
    """
    capitals = "".join(letter for letter in title if letter.isupper() or letter.isdecimal())
    return capitals[:2] or title.removeprefix("www.")[:1].upper() or "?"


def initials(name: str) -> str:
    """Return one or two letters that stand for a name.

    >>> initials("mia"), initials("Anna Lena"), initials("7"), initials("")
    ('M', 'AL', '7', '?')
    """
    words = name.split()
    letters = [words[0][0], *([words[-1][0]] if len(words) > 1 else [])] if words else ["?"]
    return "".join(letters).upper()


def topic_to_correct(reason: str) -> str:
    """Return the topic that was a reason to block, as the log has it, if a site may be wrong in it; else empty.

    >>> topic_to_correct("category: adult"), topic_to_correct("category: illegal"), topic_to_correct("bedtime: ")
    ('adult', '', '')
    """
    kind, _, topic = reason.partition(": ")
    return (
        topic if kind in _ABOUT_SITES and topic != NEW_DOMAINS and correctable_topics(_known_topics() & {topic}) else ""
    )


@cache
def _known_topics() -> frozenset[str]:
    return frozenset(category.name for category in builtin_categories())
