"""Settings of a café: prices of sessions and vouchers, bandwidth, and limits of each role at the counter."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar

from hedgerow.policies.model import Policy
from hedgerow.policies.seats import Payment, session_kinds


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

    def price_of_more(self, before: int, minutes: int) -> int:
        """Return the price of minutes on top of those before, so that all together cost what they cost at once.

        >>> tariff = Tariff(((30, 120), (60, 200)))
        >>> [tariff.price(30), tariff.price_of_more(30, 30), tariff.price(60)]
        [120, 80, 200]
        """
        return self.price(before + minutes) - self.price(before)

    def __str__(self) -> str:
        return " ".join(f"{minutes}:{amount}" for minutes, amount in self.steps)

    @classmethod
    def parse(cls, steps: Iterable[str]) -> Tariff:
        """Return the tariff of these steps, as its text has them.

        >>> Tariff.parse("30:120 60:200".split())
        Tariff(steps=((30, 120), (60, 200)))
        """
        pairs = (step.split(":") for step in steps)
        return cls(tuple((int(minutes), int(amount)) for minutes, amount in pairs))


FREE = Tariff(((60, 0),))
"""The tariff of a kind of session without a price."""


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
    """A café's name, currency (ISO 4217), prices and bandwidth by kind of session, roles, and articles with prices.

    Amounts are integers in the smallest unit of the currency, such as cents.
    """

    KEY: ClassVar[str] = "cafe"

    name: str = ""
    currency: str = ""
    sessions: dict[str, Tariff] = field(default_factory=dict)
    vouchers: dict[str, Tariff] = field(default_factory=dict)
    pays: Payment = Payment.BEFORE
    roles: dict[str, RoleLimits] = field(default_factory=dict)
    bandwidth: dict[str, Bandwidth] = field(default_factory=dict)
    articles: dict[str, int] = field(default_factory=dict)

    def tariff(self, kind: str) -> Tariff:
        """Return the prices of a kind of session, which is free without any."""
        return self.sessions.get(kind, FREE)

    def session_price(self, kind: str, minutes: int) -> int:
        """Return the price of a session; 0 for a kind without a price."""
        return self.tariff(kind).price(minutes)

    def free_kinds(self, profiles: Iterable[str]) -> tuple[str, ...]:
        """Return the kinds of session without a price, if anything has one.

        >>> CafeSettings(sessions={"child": Tariff(((60, 200),))}).free_kinds(["seat-child", "seat-teen"])
        ('teen',)
        """
        if not (self.sessions or self.vouchers):
            return ()
        return tuple(kind for kind in session_kinds(profiles) if kind not in self.sessions)

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
        articles = [f"{name}: {amount} {self.currency}" for name, amount in self.articles.items()]
        return frozenset(
            [
                *prices,
                *articles,
                *lines,
                f"payment {self.pays} the session",
                *filter(None, [self.name]),
                *map(str, self.roles.items()),
            ]
        )


def cafe_of(policy: Policy) -> CafeSettings:
    """Return the settings of a policy; those of a counter without prices if it has none."""
    return policy.settings(CafeSettings) or CafeSettings()
