"""The arithmetic of budgets: which minutes count, how many are left, and when exactly they run out. Pure: time is an argument.

A minute in which a device was active is marked. Between two marks that are no more than `BRIDGED_MINUTES` minutes apart the minutes
count too,
since a film or a game asks for something only now and then.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from hedgerow.policies.effective_users import EffectiveUsers
from hedgerow.policies.model import Policy
from hedgerow.policies.time_model import Allowance, Bonus, SpentBudget

BRIDGED_MINUTES = 3
"""Marks this many minutes apart, or fewer, are one stretch of use."""

type MarkedMinutes = Mapping[int, int]
"""Marked minutes by hour of the epoch: bit n of `marks[hour]` stands for its minute n."""


@dataclass(frozen=True, slots=True)
class BudgetStatus:
    """How an allowance stands at a moment. `limit` None: nothing limits it now.

    `since` is the instant from which it is used up (None: it is not); `until` the instant at which it begins anew.
    """

    used: int
    limit: int | None
    since: float | None
    until: float

    @property
    def left(self) -> int | None:
        return None if self.limit is None else max(0, self.limit - self.used)


def minute_of(instant: float) -> int:
    """The minute of the epoch that an instant lies in."""
    return int(instant // 60)


def mark(marks: dict[int, int], minute: int) -> bool:
    """Marks a minute; False if it was marked before."""
    hour, bit = divmod(minute, 60)
    before = marks.get(hour, 0)
    marks[hour] = before | 1 << bit
    return marks[hour] != before


def minutes_between(marks: MarkedMinutes, start: float, end: float) -> list[int]:
    """The marked minutes that begin in a half-open stretch of instants, in order."""
    first, last = -(-start // 60), -(-end // 60)
    return [
        hour * 60 + bit
        for hour in range(int(first // 60), int(last // 60) + 1)
        if (bits := marks.get(hour, 0))
        for bit in range(60)
        if bits >> bit & 1 and first <= hour * 60 + bit < last
    ]


def count_minutes(minutes: Iterable[int], limit: int) -> tuple[int, float | None]:
    """How many minutes count, and the instant from which `limit` is used up (None: it is not).

    That is the end of the minute that fills it; where a bridged gap leaps over the limit, the end of the gap.

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


def day_of(now: float, zone: ZoneInfo) -> tuple[date, float, float]:
    """The date on the clocks of a zone, and the instants at which that day begins and ends, also where clocks change."""
    today = datetime.fromtimestamp(now, zone).date()
    return today, _midnight(today, zone), _midnight(today + timedelta(days=1), zone)


def _midnight(day: date, zone: ZoneInfo) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()


def budget_status(
    allowance: Allowance, marks: MarkedMinutes, bonuses: Iterable[Bonus], zone: ZoneInfo, free: Collection[date], now: float
) -> BudgetStatus:  # fmt: skip
    """How `allowance` stands at `now`, after its marks and with its bonuses. Of the day's and the week's limit the nearer one counts.

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
        return BudgetStatus(len(minutes_between(marks, morning, midnight)), None, None, midnight)
    # The one that is used up; of two such the one that stays so for longer; otherwise the one with less left.
    return min(found, key=lambda each: (each.since is None, -each.until if each.since is not None else each.left or 0))


def _status_within(marks: MarkedMinutes, bonuses: tuple[Bonus, ...], limit: int, start: float, end: float) -> BudgetStatus:
    limit += sum(bonus.minutes for bonus in bonuses if start <= bonus.at < end)
    used, since = count_minutes(minutes_between(marks, start, end), limit)
    return BudgetStatus(used, limit, max(since, start) if since is not None else None, end)


def parse_minutes(text: str) -> int:
    """Minutes of `1h30m`, `45m`, `2h` or `90`. Raises ValueError with a plain sentence.

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
"""Whose minutes (`person:NAME` or `device:ID`), and of what: empty for all use, `category:NAME` or `service:NAME`."""


@dataclass(frozen=True, slots=True)
class BudgetBalance:
    """How one allowance of an account stands."""

    account: str
    subject: str
    allowance: Allowance
    budget_status: BudgetStatus


def balances(
    policy: Policy, marks: Mapping[BudgetAccount, MarkedMinutes], bonuses: Iterable[Bonus], now: float
) -> tuple[BudgetBalance, ...]:
    """How every allowance stands at `now` (seconds since the epoch), given the minutes that were used and those given on top."""
    users, given = EffectiveUsers(policy), tuple(bonuses)
    named = [f"person:{name}" for name in policy.people] + [f"device:{id}" for id in policy.devices]
    found = []
    for account in dict.fromkeys([*named, *(account for account, _ in marks)]):
        user = users.of_account(account)
        for allowance in user.budget[1] if user is not None else ():
            assert user is not None
            key = account, allowance.subject
            more = [each for each in given if (each.account, each.subject) == key]
            stands = budget_status(allowance, marks.get(key, {}), more, user.zone, user.free, now)
            found.append(BudgetBalance(account, allowance.subject, allowance, stands))
    return tuple(found)


def spent_budgets(balances: Iterable[BudgetBalance]) -> tuple[SpentBudget, ...]:
    """All that is used up, or will be at the end of a minute that runs."""
    return tuple(
        SpentBudget(each.account, each.subject, since, each.budget_status.until, each.budget_status.limit or 0, each.allowance.origin)
        for each in balances
        if (since := each.budget_status.since) is not None
    )
