"""The `cafe` section of a policy: prices of sessions and vouchers, and limits of what each role at the counter may do
in a day.

Amounts are integers in the smallest unit of the currency, such as cents.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from typing import Protocol
from zoneinfo import ZoneInfo

from hedgerow.blocklists.rules import Origin

SEAT_PREFIX = "seat-"
"""Beginning of the names of profiles for guests at seats.

The rest is the kind of session: child, adult, or one of the policy's own.
"""

DAY_BEGINS = time(5)
"""The time at which a new day of business begins, since cafés are open after midnight."""

_ORDER = {"child": 0, "adult": 2}


def session_kinds(profiles: Iterable[str]) -> tuple[str, ...]:
    """Return the kinds of session that a guest can have, given the names of all profiles: children first, adults last.

    >>> session_kinds(["adult", "seat-adult", "seat-teen", "seat-child"])
    ('child', 'teen', 'adult')
    """
    kinds = [name.removeprefix(SEAT_PREFIX) for name in profiles if name.startswith(SEAT_PREFIX)]
    return tuple(sorted(kinds, key=lambda kind: (_ORDER.get(kind, 1), kind)))


class _Audience(Protocol):
    @property
    def is_for_children(self) -> bool: ...


def is_adult_kind(kind: str, profiles: Mapping[str, _Audience]) -> bool:
    """Return whether a kind of session is for adults."""
    profile = profiles.get(SEAT_PREFIX + kind)
    return profile is not None and not profile.is_for_children


def business_day(at: float, zone: ZoneInfo) -> date:
    """Return the day of business to which an instant belongs.

    >>> [str(business_day(at, ZoneInfo("UTC"))) for at in (17_999, 18_000)]
    ['1969-12-31', '1970-01-01']
    """
    return (datetime.fromtimestamp(at, zone) - timedelta(hours=DAY_BEGINS.hour)).date()


def business_day_start(day: date, zone: ZoneInfo) -> float:
    """Return the instant at which a day of business begins."""
    return datetime.combine(day, DAY_BEGINS, zone).timestamp()


@dataclass(frozen=True, slots=True)
class ConductAccepted:
    """A guest's consent to the code of conduct, for one session."""

    when: float
    session: str


@dataclass(frozen=True, slots=True)
class CodeOfConduct:
    """A café's code of conduct: its text, and the place in the policy that names its file."""

    text: str
    origin: Origin


class Payment(StrEnum):
    """The moment at which a guest pays."""

    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True, slots=True)
class Tariff:
    """Prices of some lengths: pairs of minutes and amount, the shortest first.

    Other lengths cost their share of these.
    """

    steps: tuple[tuple[int, int], ...]

    def price(self, minutes: int) -> int:
        """Return the price of a length: its own, else its share of the next shorter one's, but not more than the next
        longer one's.

        >>> tariff = Tariff(((30, 120), (60, 200)))
        >>> [tariff.price(minutes) for minutes in (0, 15, 30, 45, 59, 60, 90)]
        [0, 60, 120, 180, 200, 200, 300]
        """
        length, amount = next((step for step in reversed(self.steps) if step[0] <= minutes), self.steps[0])
        share = -(-minutes * amount // length)
        return min([share, *(longer for length, longer in self.steps if length >= minutes)])


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """Bits per second to a seat (`down`) and from it (`up`)."""

    down: int
    up: int


@dataclass(frozen=True, slots=True)
class RoleLimits:
    """Limits of one person of a role in a day; None for no limit."""

    adult_sessions: int | None = None
    adult_vouchers: int | None = None
    early_ends: int | None = None


@dataclass(frozen=True, slots=True)
class CafeSettings:
    """A café's name, currency (ISO 4217), prices and bandwidth by kind of session, and roles."""

    name: str = ""
    currency: str = ""
    sessions: dict[str, Tariff] = field(default_factory=dict)
    vouchers: dict[str, Tariff] = field(default_factory=dict)
    pays: Payment = Payment.BEFORE
    roles: dict[str, RoleLimits] = field(default_factory=dict)
    bandwidth: dict[str, Bandwidth] = field(default_factory=dict)

    def session_price(self, kind: str, minutes: int) -> int:
        """Return the price of a session; 0 for a kind without a price."""
        return self.sessions[kind].price(minutes) if kind in self.sessions else 0

    def free_kinds(self, profiles: Iterable[str]) -> tuple[str, ...]:
        """Return the kinds of session without a price, if others have one.

        >>> CafeSettings(sessions={"child": Tariff(((60, 200),))}).free_kinds(["seat-child", "seat-teen"])
        ('teen',)
        """
        return tuple(kind for kind in session_kinds(profiles) if kind not in self.sessions) if self.sessions else ()

    def voucher_price(self, kind: str, minutes: int) -> int:
        """Return the price of a voucher, by default that of a session."""
        return self.vouchers[kind].price(minutes) if kind in self.vouchers else self.session_price(kind, minutes)

    def facts(self) -> frozenset[str]:
        """Return each setting as text, to compare policies by.

        >>> sorted(CafeSettings(currency="EUR", sessions={"child": Tariff(((60, 200),))}).facts())
        ['child: 200 EUR for 60 minutes', 'payment before the session']
        """
        prices = [
            f"{kind}{of}: {amount} {self.currency} for {minutes} minutes"
            for of, tariffs in (("", self.sessions), (" by voucher", self.vouchers))
            for kind, tariff in tariffs.items()
            for minutes, amount in tariff.steps
        ]
        lines = [
            f"{kind}: {limit.down / 1e6:g} Mbit/s to the seat, {limit.up / 1e6:g} from it"
            for kind, limit in self.bandwidth.items()
        ]
        return frozenset(
            [
                *prices,
                *lines,
                f"payment {self.pays} the session",
                *filter(None, [self.name]),
                *map(str, self.roles.items()),
            ]
        )
