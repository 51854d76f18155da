"""Arithmetic of budgets: the minutes that count, the minutes left, and the exact instant at which they run out. Pure.

A minute in which a device was active is marked. Minutes between two marks at most `BRIDGED_MINUTES` apart count too,
because a film or a game sends requests only now and then.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from hedgerow.policies.effective_users import EffectiveUser, EffectiveUsers
from hedgerow.policies.model import Policy
from hedgerow.policies.time_model import Allowance, Bonus, SpentBudget

BRIDGED_MINUTES = 3
"""Marks at most this many minutes apart are one period of use."""

type MarkedMinutes = Mapping[int, int]
"""Marked minutes by hour of the epoch: bit n of `marks[hour]` is its minute n."""


@dataclass(frozen=True, slots=True)
class BudgetStatus:
    """The state of an allowance. `limit` None: no limit today.

    `since` is the instant from which it is spent (None: it is not), `until` the instant at which it is reset.
    """

    used: int
    limit: int | None
    since: float | None
    until: float

    @property
    def left(self) -> int | None:
        return None if self.limit is None else max(0, self.limit - self.used)


def minute_of(instant: float) -> int:
    """Return the minute of the epoch that contains an instant."""
    return int(instant // 60)


def mark(marks: dict[int, int], minute: int) -> bool:
    """Mark a minute; return False if it was marked before."""
    hour, bit = divmod(minute, 60)
    before = marks.get(hour, 0)
    marks[hour] = before | 1 << bit
    return marks[hour] != before


def minutes_between(marks: MarkedMinutes, start: float, end: float) -> list[int]:
    """Return the marked minutes that begin in [start, end), in order."""
    first, last = -(-start // 60), -(-end // 60)
    return [
        hour * 60 + bit
        for hour in range(int(first // 60), int(last // 60) + 1)
        if (bits := marks.get(hour, 0))
        for bit in range(60)
        if bits >> bit & 1 and first <= hour * 60 + bit < last
    ]


def count_minutes(minutes: Iterable[int], limit: int) -> tuple[int, float | None]:
    """Return the number of minutes that count, and the instant from which `limit` is spent (None: it is not).

    That instant is the end of the minute that reaches the limit, or of the bridged gap that exceeds it.

    >>> count_minutes([10, 11, 14, 30], 6)
    (6, 1860.0)
    """
    used, before, since = 0, None, None
    for minute in minutes:
        bridged = minute - before - 1 if before is not None and minute - before <= BRIDGED_MINUTES else 0
        used += bridged + 1
        if since is None and used >= limit:
            since = float((minute if used > limit else minute + 1) * 60)
        before = minute
    return used, (0.0 if limit <= 0 else since)


def used_minutes(marks: MarkedMinutes, start: float, end: float) -> int:
    """Return the minutes of use in [start, end), as budgets, reports and pages count them."""
    return count_minutes(minutes_between(marks, start, end), 0)[0]


def minutes_within(marks: MarkedMinutes, use: MarkedMinutes) -> dict[int, int]:
    """Return the marks of a service, site or topic in minutes that are marked as use of anything.

    One name in a minute can come from an app that nobody looks at.
    """
    return {hour: bits & use.get(hour, 0) for hour, bits in marks.items()}


def day_of(now: float, zone: ZoneInfo) -> tuple[date, float, float]:
    """Return the date in a zone, and the instants at which that day begins and ends, even if the clocks change."""
    today = datetime.fromtimestamp(now, zone).date()
    return today, _midnight(today, zone), _midnight(today + timedelta(days=1), zone)


@functools.lru_cache(maxsize=256)
def _midnight(day: date, zone: ZoneInfo) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()


def budget_status(
    allowance: Allowance,
    marks: MarkedMinutes,
    bonuses: Iterable[Bonus],
    zone: ZoneInfo,
    free: Collection[date],
    now: float,
) -> BudgetStatus:
    """Return the state of `allowance` at `now`.

    Of the day's and the week's limit, the one that is reached first counts.

    `free` are the dates that are holidays.
    """
    today, morning, midnight = day_of(now, zone)
    monday = today - timedelta(days=today.weekday())
    weeks = _midnight(monday, zone), _midnight(monday + timedelta(days=7), zone)
    given = tuple(bonuses)
    daily = (allowance.free if today in free else allowance.daily)[today.weekday()]
    found = [
        _status_within(marks, given, limit, start, end)
        for limit, start, end in ((daily, morning, midnight), (allowance.weekly, *weeks))
        if limit is not None
    ]
    if not found:
        return BudgetStatus(used_minutes(marks, morning, midnight), None, None, midnight)
    # A spent limit first, and of two the one that lasts longer; otherwise the limit with fewer minutes left.
    return min(found, key=lambda each: (each.since is None, -each.until if each.since is not None else each.left or 0))


def _status_within(
    marks: MarkedMinutes, bonuses: tuple[Bonus, ...], limit: int, start: float, end: float
) -> BudgetStatus:
    limit += sum(bonus.minutes for bonus in bonuses if start <= bonus.at < end)
    used, since = count_minutes(minutes_between(marks, start, end), limit)
    return BudgetStatus(used, limit, max(since, start) if since is not None else None, end)


def parse_minutes(text: str) -> int:
    """Return the minutes of `1h30m`, `45m`, `2h` or `90`. Raises ValueError with a sentence.

    >>> [parse_minutes(text) for text in ("1h30m", "45m", "2h", "1.5h", "90")]
    [90, 45, 120, 90, 90]
    """
    match = re.fullmatch(r"(?:(\d{1,3}(?:\.\d)?)\s*h)?\s*(?:(\d{1,5})\s*m?(?:in)?)?", text.strip().lower())
    if match is None or match[1] is match[2] is None:
        raise ValueError(f"'{text}' is not an amount of time, such as 1h30m, 45m or none")
    minutes = round(float(match[1] or 0) * 60) + int(match[2] or 0)
    if minutes > 7 * 24 * 60:
        raise ValueError(f"'{text}' is longer than a week")
    return minutes


type BudgetAccount = tuple[str, str]
"""Account (`person:NAME` or `device:ID`) and subject: empty for all use, `category:NAME` or `service:NAME`."""


@dataclass(frozen=True, slots=True)
class BudgetBalance:
    """The state of one allowance of an account."""

    account: str
    subject: str
    allowance: Allowance
    budget_status: BudgetStatus


class BudgetBook:
    """The balances of all budgets of one policy.

    Each is computed again only after its minutes, its bonuses or the day have changed.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._all_users = EffectiveUsers(policy)
        self._users: dict[str, EffectiveUser | None] = {}
        for account in (*(f"person:{name}" for name in policy.people), *(f"device:{id}" for id in policy.devices)):
            self._add(account)
        self._known: dict[BudgetAccount, tuple[tuple[object, ...], BudgetBalance]] = {}

    def balances(
        self, marks: Mapping[BudgetAccount, MarkedMinutes], bonuses: Iterable[Bonus], now: float
    ) -> tuple[BudgetBalance, ...]:
        """Return the state of every allowance at `now` (seconds since the epoch).

        Of one book, marks are only ever added.
        """
        given: dict[BudgetAccount, list[Bonus]] = {}
        for bonus in bonuses:
            given.setdefault((bonus.account, bonus.subject), []).append(bonus)
        for account, _ in marks:
            if account not in self._users:
                self._add(account)
        dates: dict[ZoneInfo, date] = {}
        found = []
        for account, user in self._users.items():
            if user is None:
                continue
            if user.zone not in dates:
                dates[user.zone] = day_of(now, user.zone)[0]
            for allowance in user.budget[1]:
                key = account, allowance.subject
                own, more = marks.get(key, {}), given.get(key, [])
                state = dates[user.zone], sum(own.values()), more  # the sum of the bits tells whether any was added
                known = self._known.get(key)
                if known is None or known[0] != state:
                    stands = budget_status(allowance, own, more, user.zone, user.free, now)
                    known = self._known[key] = state, BudgetBalance(account, allowance.subject, allowance, stands)
                found.append(known[1])
        return tuple(found)

    def _add(self, account: str) -> None:
        user = self._all_users.of_account(account)
        self._users[account] = user if user is not None and user.budget[1] else None


def balances(
    policy: Policy, marks: Mapping[BudgetAccount, MarkedMinutes], bonuses: Iterable[Bonus], now: float
) -> tuple[BudgetBalance, ...]:
    """Return the state of every allowance at `now` (seconds since the epoch), from the minutes used and the bonuses."""
    return BudgetBook(policy).balances(marks, bonuses, now)


def spent_budgets(balances: Iterable[BudgetBalance]) -> tuple[SpentBudget, ...]:
    """Return the budgets that are spent, or will be at the end of the current minute."""
    return tuple(
        SpentBudget(
            each.account,
            each.subject,
            since,
            each.budget_status.until,
            each.budget_status.limit or 0,
            each.allowance.origin,
        )
        for each in balances
        if (since := each.budget_status.since) is not None
    )
