"""The terms of an agreement, and where both sides are with it. Pure: time is an argument."""

from __future__ import annotations

import hashlib
from calendar import monthrange
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from zoneinfo import ZoneInfo

from hedgerow.codec import decode, encode
from hedgerow.dashboards.words.rule_facts import RuleFacts
from hedgerow.policies.growing import day_at, first_instant

MONTHS = (1, 3, 6, 12)
"""Months after which both look at the rules again, to choose from."""
USUAL_MONTHS = 3
WAIT_DAYS = 30
"""Days by which either side can put off a look that is due."""


class Side(StrEnum):
    """A side of an agreement."""

    CHILD = "child"
    PARENT = "parent"

    @property
    def other(self) -> Side:
        return Side.PARENT if self is Side.CHILD else Side.CHILD


@dataclass(frozen=True, slots=True, kw_only=True)
class Promises:
    """Promises of the parents: names of ready ones, a line of their own, and the months until the next look."""

    names: tuple[str, ...] = ()
    words: str = ""
    months: int = USUAL_MONTHS


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The rules of a child and the promises of its parents: what both say yes to."""

    rules: RuleFacts
    promises: Promises

    def to_json(self) -> str:
        """Return the terms as one line."""
        return encode(self).decode()

    @classmethod
    def from_json(cls, text: str) -> Terms | None:
        """Return kept terms, None if they are none that this version knows."""
        try:
            return decode(cls, text.encode())
        except ValueError:
            return None

    @property
    def digest(self) -> str:
        """A short text that is the same for the same terms."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Yes:
    """The last yes of a side: to which terms, when, and in which round."""

    terms: Terms | None = None
    at: float = 0.0
    round: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """The agreement of a child with its parents. `round` counts the times that both have agreed.

    `version` counts the changes of the row, 0 for none yet. `reminded` is the round whose end was told.
    """

    person: str
    version: int = 0
    promises: Promises = field(default_factory=Promises)
    round: int = 0
    child: Yes = field(default_factory=Yes)
    parent: Yes = field(default_factory=Yes)
    parent_name: str = ""
    agreed_at: float = 0.0
    look_at: float = 0.0
    reminded: int = 0

    def yes_of(self, side: Side) -> Yes:
        """Return the last yes of a side."""
        return self.child if side == Side.CHILD else self.parent  # templates name a side by its value


@dataclass(frozen=True, slots=True)
class Standing:
    """An agreement at an instant, compared with the rules that are in force."""

    agreement: Agreement
    terms: Terms
    now: float

    @property
    def is_due(self) -> bool:
        """True if it is time to look at the rules again."""
        return self.agreement.round > 0 and self.now >= self.agreement.look_at

    @property
    def is_agreed(self) -> bool:
        """True if both have said yes to the rules as they are, and the next look is yet to come."""
        here = self.agreement.round
        return here > 0 and not self.is_due and all(self._is_to_these_terms(side, here) for side in Side)

    @property
    def is_changed(self) -> bool:
        """True if both had agreed, and something has changed since."""
        here = self.agreement.round
        return here > 0 and not all(self._is_to_these_terms(side, here) for side in Side)

    def has_said_yes(self, side: Side) -> bool:
        """Return whether a side has said yes to the rules as they are, also if the other has yet to."""
        return self.is_agreed or self._is_to_these_terms(side, self.agreement.round + 1)

    def agreed_terms(self, side: Side) -> Terms | None:
        """Return what a side said yes to last."""
        return self.agreement.yes_of(side).terms

    def _is_to_these_terms(self, side: Side, from_round: int) -> bool:
        yes = self.agreement.yes_of(side)
        return yes.round >= from_round and yes.terms == self.terms


def look_after(now: float, months: int, zone: ZoneInfo) -> float:
    """Return the beginning of the day that is so many months after an instant."""
    today = day_at(now, zone)
    years, month = divmod(today.month - 1 + months, 12)
    year = today.year + years
    return first_instant(date(year, month + 1, min(today.day, monthrange(year, month + 1)[1])), zone)
