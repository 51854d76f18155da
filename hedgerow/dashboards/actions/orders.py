"""Orders: the typed input of the core's actions, and of the operations that carry them out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from annotated_types import Ge, Gt, Le, MaxLen, MinLen

from hedgerow.dashboards.actions.action import Order, Shown
from hedgerow.policies.model import GrantDuration
from hedgerow.policies.text.notes import NOTE_LIMIT
from hedgerow.policies.time_model import PauseKind

COUNTER_PATH = "/counter"
"""Address of the counter's page, and of its forms."""
LATEST = 4e9
"""Latest end of a session, in seconds since the epoch: in the year 2096."""
DEFAULT_VALID_MINUTES = 15

Name = Annotated[str, MaxLen(253)]
PersonName = Annotated[str, MaxLen(60)]
WholeMinutes = Annotated[int, Ge(1), Le(24 * 60)]
SessionId = Annotated[str, MaxLen(40)]
JournalId = Annotated[int, Ge(1), Le(2**62)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval(Order):
    """Duration of a grant. It opens the service to which the address belongs, on all devices of the person who asks.

    `only_address` opens the address alone, `only_device` the device alone. Something dangerous is opened if you are
    `sure`.
    """

    how_long: GrantDuration
    only_address: bool = False
    only_device: bool = False
    sure: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal(Order):
    """A sentence to the person who asks, such as "Homework first". It can be read on that person's own page."""

    why: Annotated[str, MaxLen(NOTE_LIMIT)] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantTarget(Order):
    """A device or a person; neither means everybody."""

    device: Name | None = None
    person: Name | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseOrder(GrantTarget):
    """Target of a pause and its minutes; without minutes it lasts until resumed. One without a target says `everybody`.

    A pause for everybody spares the account's person and the device that sends the order unless `me_too`, and the named
    exceptions.
    `kind` is `homework` for a pause of what distracts only.
    """

    minutes: Annotated[float | None, Gt(0), Le(60 * 24 * 365), Shown("For how long.", option="--minutes", least=1)] = (
        None
    )
    everybody: bool = False
    me_too: bool = False
    except_person: Name | None = None
    except_device: Name | None = None
    kind: PauseKind = PauseKind.ALL


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantOrder(GrantTarget):
    """Site, URL pattern, service or category to allow, and a note for those who see the grant.

    A site that belongs to a service means the service, unless `only_address`. Something dangerous is opened if you are
    `sure`.
    """

    subject: Annotated[str, MinLen(1), MaxLen(2048), Shown("A site, a service or a category.", "WHAT")]
    how_long: Annotated[GrantDuration, Shown("For how long.", option="--for")]
    only_address: Annotated[
        bool, Shown("Only this address, not the service that it belongs to.", option="--only-address")
    ] = False
    note: Annotated[str, MaxLen(300), Shown("The reason, shown with the grant.", option="--note")] = ""
    sure: Annotated[bool, Shown("Open it even if it is dangerous.", option="--yes")] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LaterBedtime(Order):
    """Minutes by which bedtime is later tonight."""

    minutes: Annotated[int, Ge(1), Le(480), Shown("By how many minutes.", "MINUTES")] = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class BonusOrder(Order):
    """Extra minutes for a person or device. `subject` is a category or service with a budget of its own."""

    name: Annotated[str, MinLen(1), MaxLen(253), Shown("A person, or a device with a budget of its own.")]
    minutes: Annotated[int, Ge(1), Le(24 * 60), Shown("How many minutes to add today.", "MINUTES")]
    subject: Annotated[
        str, MaxLen(253), Shown("A category or service that has a budget of its own.", metavar="WHAT", option="--for")
    ] = ""


class PaymentWay(StrEnum):
    """The way in which a guest pays: in cash at once, after the session, or at once from the balance of a member."""

    BEFORE = "before"
    AFTER = "after"
    BALANCE = "balance"


Pays = Annotated[PaymentWay | None, Shown("How the guest pays.", option="--pays")]
PayingMember = Annotated[
    JournalId | None, Shown("The number of the member from whose balance it is paid.", "NUMBER", option="--member")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeatOrder(Order):
    """A guest of an age band at a seat, or a person at a shared device.

    `band` is child, adult, or the rest of another profile's name after `seat-`. `pays`: by default as the policy says,
    and from the balance of the `member` if you name one.
    `replaces` is the id of the session that may end for this one.
    """

    band: Annotated[str, MaxLen(100)] | None = None
    person: Name | None = None
    minutes: Annotated[float | None, Gt(0), Le(24 * 60), Shown(least=1)] = None
    name: Annotated[str, MaxLen(100)] = ""
    pays: Pays = None
    member: PayingMember = None
    replaces: Annotated[str, MaxLen(40)] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtendOrder(Order):
    """Minutes to add to a session.

    `pays` is by default how the session is paid: from a balance if one has paid for it. `member` is by default the one
    whose balance has.
    """

    minutes: Annotated[float, Gt(0), Le(24 * 60), Shown("How many minutes to add.", "MINUTES", least=1)]
    pays: Pays = None
    member: PayingMember = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeatPauseOrder(Order):
    """Minutes after which the pause ends by itself."""

    minutes: Annotated[
        float,
        Gt(0),
        Le(24 * 60),
        Shown("Minutes after which the pause ends by itself.", option="--minutes", least=1),
    ] = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class ReopenOrder(Order):
    """The end of the session, in seconds since the epoch; null for none."""

    ends: Annotated[float, Ge(0), Le(LATEST)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeOrder(Order):
    """A code that approves a request, or that gives a device or person minutes or access to something.

    A site that belongs to a service means the service, unless `only_address`. Something dangerous is opened if you are
    `sure`.
    """

    request: JournalId | None = None
    device: Name | None = None
    person: Name | None = None
    subject: Annotated[str, MaxLen(2048)] = ""
    only_address: bool = False
    how_long: GrantDuration = GrantDuration.HOUR
    minutes: WholeMinutes | None = None
    valid_minutes: WholeMinutes = DEFAULT_VALID_MINUTES
    sure: bool = False
