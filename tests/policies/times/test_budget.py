from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.policies.activity import MIN_BUSY_BACKGROUND_BYTES, ActivityLog
from hedgerow.policies.decide import decide
from hedgerow.policies.host_facts import is_background
from hedgerow.policies.model import DeviceId, Request, RequestKind
from hedgerow.policies.reading.load import parse_policy
from hedgerow.policies.ruleset import Rulesets
from hedgerow.policies.time_model import ActiveMinute, Bonus
from hedgerow.policies.times.budget import (
    BRIDGED_MINUTES,
    BudgetBook,
    balances,
    count_minutes,
    mark,
    minute_of,
    minutes_between,
    minutes_within,
    parse_minutes,
    used_minutes,
)

NOON = 1_795_521_600.0  # 2026-11-24 12:00 UTC
POLICY = b"""
network: {timezone: UTC}
people: {mia: {age: 9, devices: [192.168.1.9], block: [news.example], budget: {every-day: 2h, games: 1h}}}
"""

minutes = st.lists(st.integers(0, 400), unique=True, max_size=60).map(sorted)


@given(minutes, st.integers(1, 300))
def test_counted_minutes_agree_with_a_simple_count(used: list[int], limit: int) -> None:
    counted = {
        minute
        for minute in range(401)
        for a in used
        for b in used
        if (a <= minute <= b and b - a <= BRIDGED_MINUTES) or minute in (a, b)
    }
    total, since = count_minutes(used, limit)
    assert total == len(counted)
    assert (since is not None) == (total >= limit)


@given(minutes, st.integers(1, 300))
def test_a_budget_is_spent_at_the_end_of_its_last_minute(used: list[int], limit: int) -> None:
    since = count_minutes(used, limit)[1]
    if since is None:
        return
    before = [minute for minute in used if (minute + 1) * 60 <= since]
    filling = next(
        minute for minute in used if count_minutes([each for each in used if each <= minute], limit)[1] is not None
    )
    assert since in (filling * 60, (filling + 1) * 60)
    assert count_minutes([each for each in before if each != filling], limit)[1] is None


@given(st.sets(st.integers(29_000_000, 29_000_600)))
def test_marked_minutes_round_trip(used: set[int]) -> None:
    marks: dict[int, int] = {}
    assert [mark(marks, minute) for minute in used] == [True] * len(used)
    assert [mark(marks, minute) for minute in used] == [False] * len(used)
    assert minutes_between(marks, 29_000_000 * 60, 29_000_601 * 60) == sorted(used)
    half = 29_000_300 * 60
    assert minutes_between(marks, 29_000_000 * 60, half) == sorted(minute for minute in used if minute * 60 < half)


@pytest.mark.parametrize("text", ["", "h", "m", "1.25h", "-1h", "1h30", "90s", "1:30", "10081", "200h"])
def test_invalid_amounts(text: str) -> None:
    if text == "1h30":
        assert parse_minutes(text) == 90
        return
    with pytest.raises(ValueError):
        parse_minutes(text)


@given(
    st.dictionaries(st.integers(0, 2), st.integers(0, 2**60 - 1)),
    st.dictionaries(st.integers(0, 2), st.integers(0, 2**60 - 1)),
)
def test_a_part_of_the_use_has_no_more_minutes_than_all(marks: dict[int, int], use: dict[int, int]) -> None:
    assert used_minutes(minutes_within(marks, use), 0, 3 * 3600) <= used_minutes(use, 0, 3 * 3600)


class _Stand:
    """A worker's log for the policy above."""

    def __init__(self, catalogue: Catalogue, policy: bytes = POLICY) -> None:
        self.reported: list[ActiveMinute] = []
        self.subjects = ("", "category:games")  # those of the policy's budget
        self._log, self._catalogue = ActivityLog(self.reported.append), catalogue
        self._rulesets = Rulesets(parse_policy(policy, None), (), (), catalogue)

    def ask(self, host: str, kind: RequestKind = RequestKind.DNS, at: float = NOON, octets: int = 0) -> list[str]:
        """The subjects that were told for one request on a connection that has moved `octets` in this minute."""
        device = self._rulesets.devices.find("192.168.1.9")
        assert device is not None
        ruleset, request = self._rulesets.ruleset(device, at), Request(DeviceId(device.id), kind, host, 443)
        before = len(self.reported)
        self._log.note(ruleset, self._catalogue, request, decide(ruleset, self._catalogue, request), at, octets)
        return [each.subject for each in self.reported[before:] if each.subject in self.subjects]


def test_a_minute_of_dns_counts_from_the_second_name(catalogue: Catalogue) -> None:
    stand = _Stand(catalogue)
    assert stand.ask("en.wikipedia.org") == []
    assert stand.ask("en.wikipedia.org") == []
    assert stand.ask("commons.wikimedia.org") == [""]
    assert stand.ask("www.wikidata.org") == [], "told once"
    assert stand.ask("www.wikidata.org", at=NOON + 15) == [""], "and again while use goes on, in case it was lost"
    assert stand.ask("en.wikipedia.org", at=NOON + 60) == [], "a new minute"
    assert {each.minute for each in stand.reported if each.subject == ""} == {NOON // 60}
    assert {each.account for each in stand.reported} == {"person:mia"}


def test_a_topic_counts_in_minutes_of_use_only(catalogue: Catalogue) -> None:
    """An app that nobody looks at asks for one name in a minute: of its topic no more than of all use."""
    stand = _Stand(catalogue)
    for minute in range(4):
        assert stand.ask("www.roblox.com", at=NOON + 60 * minute) == []
        assert stand.ask("mtalk.google.com", at=NOON + 60 * minute) == [], "background traffic"
        assert stand.ask("news.example", at=NOON + 60 * minute) == [], "blocked"
    assert stand.ask("www.roblox.com", at=NOON + 240) == []
    assert set(stand.ask("en.wikipedia.org", at=NOON + 240)) == {"", "category:games"}, "the first name counts, too"
    assert set(stand.ask("www.roblox.com", RequestKind.TUNNEL, at=NOON + 300)) == {"", "category:games"}


def test_a_budget_of_a_topic_alone_counts_in_minutes_of_any_use(catalogue: Catalogue) -> None:
    stand = _Stand(catalogue, POLICY.replace(b"age: 9,", b"age: 9, privacy: none,").replace(b"every-day: 2h, ", b""))
    assert stand.ask("en.wikipedia.org") == []
    assert stand.ask("www.roblox.com") == ["category:games"]


def test_background_hosts_count_above_a_size(catalogue: Catalogue) -> None:
    stand = _Stand(catalogue)
    for host in ("dl.google.com", "mtalk.google.com"):
        assert stand.ask(host, RequestKind.TUNNEL, octets=MIN_BUSY_BACKGROUND_BYTES - 1) == []
    assert stand.ask("dl.google.com", RequestKind.TUNNEL, octets=MIN_BUSY_BACKGROUND_BYTES) == [""]


def test_parts_of_many_pages_do_not_make_a_minute(catalogue: Catalogue) -> None:
    stand = _Stand(catalogue)
    for host in ("fonts.googleapis.com", "cdnjs.cloudflare.com", "www.gstatic.com", "en.wikipedia.org"):
        assert stand.ask(host) == []
    assert stand.ask("commons.wikimedia.org") == [""]


@pytest.mark.parametrize(
    "host",
    [
        "d111.cloudfront.net",
        "cdn.jsdelivr.net",
        "storage.googleapis.com",
        "ocsp.somebody.example",
        "ntp.somebody.example",
    ],
)
def test_hosts_of_anybodys_files_count(catalogue: Catalogue, host: str) -> None:
    """A game may come from any of them, or be called like a server of certificates."""
    stand = _Stand(catalogue)
    assert stand.ask("en.wikipedia.org") == []
    assert stand.ask(host) == [""]


def test_topics_are_reported_unless_privacy_is_none(catalogue: Catalogue) -> None:
    def reported(policy: bytes, host: str) -> set[str]:
        rulesets, seen = Rulesets(parse_policy(policy, None), (), (), catalogue), list[ActiveMinute]()
        device = rulesets.devices.find("192.168.1.9")
        assert device is not None
        ruleset, request = rulesets.ruleset(device, NOON), Request(device.id, RequestKind.TUNNEL, host, 443)
        ActivityLog(seen.append).note(ruleset, catalogue, request, decide(ruleset, catalogue, request), NOON)
        return {f"{each.account} {each.subject}".strip() for each in seen}

    adult = b"people: {ada: {age: 40, devices: [192.168.1.9], privacy: %s}}"
    assert reported(adult % b"category", "en.wikipedia.org") == {"person:ada", "person:ada category:education"}
    assert reported(adult % b"none", "en.wikipedia.org") == set()
    assert reported(adult % b"category", "www.childline.org.uk") == set()
    assert reported(b"", "en.wikipedia.org") == set(), "a device of nobody"


def test_a_page_or_tunnel_counts_immediately(catalogue: Catalogue) -> None:
    assert _Stand(catalogue).ask("en.wikipedia.org", RequestKind.TUNNEL) == [""]


@pytest.mark.parametrize(
    "host",
    [
        "www.childline.org.uk",
        "news.example",
        "gambling.example",
        "push.apple.com",
        "1-courier.push.apple.com",
        "time.google.com",
        "content-autofill.googleapis.com",
        "fonts.gstatic.com",
        "ocsp.sectigo.com",
        "crl4.digicert.com",
        "r3.o.lencr.org",
        "v20.events.data.microsoft.com",
        "2.debian.pool.ntp.org",
    ],
)
def test_background_traffic_and_helplines_do_not_count(catalogue: Catalogue, host: str) -> None:
    stand = _Stand(catalogue)
    assert stand.ask(host, RequestKind.TUNNEL) == []


def test_sites_that_people_open_are_not_background() -> None:
    for host in (
        "www.apple.com",
        "www.google.com",
        "www.microsoft.com",
        "www.youtube.com",
        "play.google.com",
        "store.steampowered.com",
        "youtubei.googleapis.com",
        "youtube.googleapis.com",
        "meet.googleapis.com",
        "docs.google.com",
    ):
        assert not is_background(host), host


def test_days_follow_the_wall_clock() -> None:
    zone = ZoneInfo("America/New_York")
    policy = parse_policy(
        b"people: {mia: {age: 9, timezone: America/New_York, devices: [192.168.1.9], budget: 1h}}", None
    )
    moment = datetime(2026, 11, 24, 22, 0, tzinfo=zone).timestamp()
    marks = {("person:mia", ""): {int(moment // 3600) - 2: (1 << 60) - 1}}
    (balance,) = [each for each in balances(policy, marks, (), moment) if each.account == "person:mia"]
    assert (balance.budget_status.used, balance.budget_status.left) == (60, 0)
    assert balance.budget_status.until == datetime(2026, 11, 25, tzinfo=zone).timestamp()


def test_a_book_follows_minutes_bonuses_and_days() -> None:
    policy = parse_policy(POLICY, None)
    book, marks = BudgetBook(policy), {("person:mia", ""): dict[int, int]()}

    def check(bonuses: tuple[Bonus, ...], at: float) -> None:
        assert book.balances(marks, bonuses, at) == balances(policy, marks, bonuses, at)
        assert book.balances(marks, bonuses, at)[0] is book.balances(marks, bonuses, at)[0]

    check((), NOON)
    mark(marks["person:mia", ""], minute_of(NOON))
    check((), NOON)
    check((Bonus("a", "person:mia", "", 15, "ana", NOON),), NOON)
    check((Bonus("a", "person:mia", "", 15, "ana", NOON),), NOON + 86400)
    mark(marks.setdefault(("device:192.168.1.77", ""), {}), minute_of(NOON))
    check((), NOON)
