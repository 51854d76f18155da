"""Minutes of use: which requests count against which budget, and their reports to control."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.policies.effective_users import Meter
from hedgerow.policies.host_facts import is_background
from hedgerow.policies.identity import Grade, Use, is_enough
from hedgerow.policies.model import Decision, DeviceId, Privacy, Reason, Request, RequestKind, Verdict
from hedgerow.policies.ruleset import Ruleset
from hedgerow.policies.time_model import ActiveMinute
from hedgerow.policies.times.budget import minute_of


def matches_subject(subject: str, ruleset: Ruleset, catalogue: Catalogue, host: str, mask: int) -> bool:
    """Return whether a host with the categories `mask` belongs to `category:NAME` or `service:NAME`.

    Every host belongs to "".
    """
    kind, _, name = subject.partition(":")
    if kind == "category":
        return bool(mask & catalogue.mask_of([name]))
    if kind == "service":
        return name in ruleset.host_facts.services_of(host)
    return True


BACKGROUND_CATEGORIES = ("ads-trackers", "malware", "crypto-mining")
REPORT_TOPICS = ("education", "kids", "games", "video", "social", "messaging", "ai-chat", "forums", "news", "shopping")
"""Categories whose minutes the weekly report shows. Private ones (health, sexual education) are not among them."""

MIN_NAMES_PER_MINUTE = 2
MIN_BUSY_BYTES = 64 * 1024
"""Bytes per minute, in both directions together, that are use.

Less keeps connections alive, or brings push messages.
"""
MIN_BUSY_BACKGROUND_BYTES = 4 * 1024**2
"""The same for background hosts. An update that takes longer than a moment counts for the minutes that it takes."""
REPEAT_REPORT_S = 10.0
"""Interval of repeated reports during use, because a report is lost if control ends."""


def is_counted(ruleset: Ruleset, catalogue: Catalogue, request: Request, decision: Decision, octets: int = 0) -> bool:
    """Return whether a request can be use: not if it is blocked, for a helpline or little background traffic.

    `octets` is what the device moved in this minute in connections to the host or, if it is a background host, to all
    background hosts.
    """
    if not is_metered(ruleset) or decision.verdict is Verdict.BLOCK or decision.reason is Reason.LIFELINE:
        return False
    if octets < MIN_BUSY_BACKGROUND_BYTES and is_background(request.host):
        return False
    return not catalogue.host_mask(request.host) & catalogue.mask_of(BACKGROUND_CATEGORIES)


def meters_of(ruleset: Ruleset, catalogue: Catalogue, request: Request) -> Iterator[Meter]:
    """Yield the meters that a request counts for if it is use."""
    mask = catalogue.host_mask(request.host)
    for meter in ruleset.meters:
        if matches_subject(meter.subject, ruleset, catalogue, request.host, mask) and _may_count(
            ruleset, meter, request.device
        ):
            yield meter
    if reports_topics(ruleset):
        account = f"person:{ruleset.person}"
        yield Meter(account, "")
        yield from (
            Meter(account, f"category:{topic}") for topic in REPORT_TOPICS if mask & catalogue.mask_of((topic,))
        )


def total_meters(ruleset: Ruleset, device: DeviceId) -> tuple[Meter, ...]:
    """Return the meters of all use, for traffic of which nothing but its size is known."""
    reported = (Meter(f"person:{ruleset.person}", ""),) if reports_topics(ruleset) else ()
    own = (meter for meter in ruleset.meters if not meter.subject and _may_count(ruleset, meter, device))
    return tuple(dict.fromkeys((*own, *reported)))


def _may_count(ruleset: Ruleset, meter: Meter, device: DeviceId) -> bool:
    """Return whether a device's minutes count for a meter: another's are not used up by whoever takes its host name."""
    grade = Grade.HOST_NAME if ruleset.is_claimed else Grade.CLIENT_ID
    return is_enough(grade, Use.BUDGET) or meter.account == f"device:{ruleset.limited_as(device)}"


def is_metered(ruleset: Ruleset) -> bool:
    """Return whether any minutes are counted under a ruleset."""
    return bool(ruleset.meters) or reports_topics(ruleset)


def reports_topics(ruleset: Ruleset) -> bool:
    """Return whether the weekly report may show the minutes of the person by topic."""
    return ruleset.person is not None and ruleset.privacy is not Privacy.NONE and not ruleset.is_claimed


class ActivityLog:
    """One worker's log, which reports each minute of each meter soon after it begins, and again every few seconds
    during use.

    A minute of a category or service is a minute of use too: the first name of a minute waits for the second.
    """

    def __init__(self, report: Callable[[ActiveMinute], None]) -> None:
        self._report = report
        self._minute = 0
        self._in_use: set[DeviceId] = set()
        self._names: dict[DeviceId, set[str]] = {}
        self._waiting: dict[DeviceId, dict[Meter, None]] = {}
        self._reported_at: dict[Meter, float] = {}

    def note(
        self, ruleset: Ruleset, catalogue: Catalogue, request: Request, decision: Decision, now: float, octets: int = 0
    ) -> None:
        """Count a request that was answered at `now` (seconds since the epoch). `octets` as in `is_counted`."""
        if not is_counted(ruleset, catalogue, request, decision, octets):
            return
        minute = minute_of(now)
        if minute != self._minute:
            self._minute = minute
            for each in (self._in_use, self._names, self._waiting, self._reported_at):
                each.clear()
        meters = dict.fromkeys(meters_of(ruleset, catalogue, request))
        if not self._is_use(request):
            self._waiting.setdefault(request.device, {}).update(meters)
            return
        for meter in self._waiting.pop(request.device, {}) | meters:
            self._report_minute(meter, minute, now)

    def _is_use(self, request: Request) -> bool:
        if request.device not in self._in_use:
            names = self._names.setdefault(request.device, set())
            names.add(request.host)
            if request.kind is RequestKind.DNS and len(names) < MIN_NAMES_PER_MINUTE:
                return False
            self._in_use.add(request.device)
        return True

    def _report_minute(self, meter: Meter, minute: int, now: float) -> None:
        last = self._reported_at.get(meter)
        if last is None or not last <= now < last + REPEAT_REPORT_S:
            self._reported_at[meter] = now
            self._report(ActiveMinute(minute, meter.account, meter.subject))
