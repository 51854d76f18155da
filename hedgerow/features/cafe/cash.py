"""The money of a café's till: what should be in it, and what was counted. Pure, except `till`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from zoneinfo import ZoneInfo

from babel.numbers import get_currency_precision

from hedgerow.dashboards.control import InvalidInput
from hedgerow.features.cafe.business_day import business_day, business_day_start
from hedgerow.features.cafe.counter_store import CounterEntry, CounterStore
from hedgerow.features.cafe.settings import cafe_of
from hedgerow.policies.model import Policy

MOST = 1_000_000_000
"""The largest amount, in the smallest unit of a currency."""

COUNT_NOTE = "expected {}, counted {}, left {}"
_AMOUNTS = re.compile(COUNT_NOTE.replace("{}", "(-?[0-9]+)"))


@dataclass(frozen=True, slots=True)
class CashCount:
    """A count of the till. `difference` is negative if something is missing."""

    id: int
    at: float
    actor: str
    currency: str
    expected: int
    counted: int
    left: int
    difference: int

    @staticmethod
    def of(entry: CounterEntry) -> CashCount:
        """Return the count of an entry."""
        found = _AMOUNTS.fullmatch(entry.note)
        expected, counted, left = map(int, found.groups()) if found is not None else (0, 0, 0)
        return CashCount(entry.id, entry.at, entry.actor, entry.currency, expected, counted, left, counted - expected)


@dataclass(frozen=True, slots=True)
class Till:
    """The till as it should be: what was left by the last count, and what was paid since, by who took it.

    `last` is the id of that count, 0 before the first. `others` is what should be there in other currencies.
    """

    last: int
    since: float
    left: int
    taken: int
    expected: int
    currency: str
    by: Mapping[str, int] = field(default_factory=dict)
    others: Mapping[str, int] = field(default_factory=dict)


def till(store: CounterStore, policy: Policy, now: float, currency: str | None = None) -> Till:
    """Return what should be in the till now, in a currency, by default that of the policy. Before its first count, that
    is what was paid today.

    Waits for the disk.
    """
    currency = cafe_of(policy).currency if currency is None else currency
    zone, counts = ZoneInfo(policy.network.timezone), store.last_counts()
    others = {
        each: part.expected
        for each, last in counts.items()
        if each != currency and (part := _till(store, zone, now, each, last)).expected
    }
    return replace(_till(store, zone, now, currency, counts.get(currency)), others=others)


def _till(store: CounterStore, zone: ZoneInfo, now: float, currency: str, last: CounterEntry | None) -> Till:
    if last is None:
        since = business_day_start(business_day(now, zone), zone)
        number, left, by = 0, 0, store.payments(0, since, currency)
    else:
        since, number = last.at, last.id
        left, by = CashCount.of(last).left, store.payments(last.id, 0.0, currency)
    taken = sum(by.values())
    return Till(number, since, left, taken, left + taken, currency, by)


def amount_text(amount: int, currency: str) -> str:
    """Return an amount for the command line, in the units in which people count.

    >>> amount_text(1250, "EUR"), amount_text(-5, "EUR"), amount_text(350, "JPY"), amount_text(3, "")
    ('12.50 EUR', '-0.05 EUR', '350 JPY', '3')
    """
    digits = get_currency_precision(currency) if currency else 0
    return f"{Decimal(amount).scaleb(-digits):.{digits}f} {currency}".rstrip()


def parse_amount(text: str, currency: str) -> int:
    """Return an amount that somebody typed, in the smallest unit of the currency. Raises `InvalidInput`.

    >>> parse_amount("12,5", "EUR"), parse_amount("350", "JPY")
    (1250, 350)
    >>> parse_amount("1e3", "EUR")
    Traceback (most recent call last):
    hedgerow.dashboards.control.InvalidInput: Write an amount as a number, such as 12.50.
    """
    try:
        if not re.fullmatch(r"[0-9]+(?:[.,][0-9]+)?", text.strip(), re.ASCII):
            raise InvalidOperation
        amount = Decimal(text.strip().replace(",", ".")).scaleb(get_currency_precision(currency) if currency else 0)
        if amount != amount.to_integral_value() or not 0 <= amount <= MOST:
            raise InvalidOperation
    except InvalidOperation:
        raise InvalidInput("Write an amount as a number, such as 12.50.") from None
    return int(amount)
