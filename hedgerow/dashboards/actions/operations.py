"""Operations on the running Hedgerow that actions ask for, by subject. `app` implements them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from hedgerow.dashboards.accounts import Accounts
    from hedgerow.dashboards.actions.orders import BonusOrder, CodeOrder, ExtendOrder, SeatOrder
    from hedgerow.dashboards.control import BudgetRow, Control, MadeCode
    from hedgerow.journal.access_store import AccessCode
    from hedgerow.policies.expiry import UpcomingEnd
    from hedgerow.policies.model import Session
    from hedgerow.policies.time_model import Bonus


class SessionControl(Protocol):
    """The part that begins, changes and ends sessions at shared devices and seats.

    Raises `InvalidInput` for unknown names, `NoSuchEntry` where there is no session. `request` identifies a request:
    with one that was used for the same action before, nothing is done again.
    """

    async def start_session(self, device: str, order: SeatOrder, *, actor: str, request: str = "") -> Session:
        """Open a seat for a guest of a kind of session, or sign a person in at a shared device.

        A guest pays before or after; None for what the policy says. A session at a seat ends at its closing time.
        Raises `SeatTaken` if there is a session at the seat, other than the one with the id `replaces`, which ends.
        """

    async def end_session(self, device: str, *, actor: str, request: str = "") -> Session | None:
        """End a session and return it. None if an earlier `request` ended it and it is no longer known."""

    async def extend_session(self, device: str, order: ExtendOrder, *, actor: str, request: str = "") -> None:
        """Add minutes to a session that has an end."""

    async def pause_session(self, device: str, minutes: float, *, actor: str, request: str = "") -> None:
        """Close a seat for `minutes` or until resumed, while its session's time stands still.

        Raises `InvalidInput` if it is paused.
        """

    async def resume_session(self, device: str, *, actor: str) -> None:
        """End the pauses of a seat. Minutes that a pause added and that are not used up are taken away again."""

    async def reopen_session(self, session_id: str, ends: float | None, *, actor: str, request: str = "") -> None:
        """Undo the end of a session, within some minutes. It ends at `ends` then; at a seat, as it was to before."""


class TimeControl(Protocol):
    """Time of the running Hedgerow. Raises `InvalidInput` for unknown names."""

    def budgets(self) -> tuple[BudgetRow, ...]:
        """Return all budgets, from memory."""

    def endings(self, device: str) -> tuple[UpcomingEnd, ...]:
        """Return what ends a device's time within minutes, nearest first; nothing for an unknown device."""

    def sessions(self) -> tuple[Session, ...]:
        """Return the open sessions at seats and shared devices."""

    async def accept(self, session_id: str) -> None:
        """Record that a guest accepts the code of conduct. A session that is over is ignored."""

    def session_start(self, device: str) -> float:
        """Return the start of the session at a seat, since when the data is this guest's, or 0 for other devices.

        Blocks on the disk.
        """

    async def add_minutes(self, order: BonusOrder, *, actor: str) -> Bonus:
        """Give a person or device extra minutes today."""


class CodeControl(Protocol):
    """Codes of the running Hedgerow.

    Raises `InvalidInput` for unknown names and `NoSuchEntry` for a request or code that is not open.
    """

    async def make(self, order: CodeOrder, actor: str) -> MadeCode:
        """Make a code."""

    async def open(self) -> tuple[AccessCode, ...]:
        """Return the codes that can still be used, without their digits."""

    async def withdraw(self, code_id: str) -> None:
        """Make a code invalid."""

    async def redeem(self, device_id: str, typed: str) -> AccessCode:
        """Redeem a code typed on a device; in force everywhere on return. Raises `WrongCode`."""


class PartMaker(Protocol):
    """Access to the parts that features have in control."""

    def __call__[Part](self, make: Callable[[Any], Part], /) -> Part:
        """Return a part, which is made when it is first asked for."""


class Operations(Protocol):
    """The operations that actions of the core ask for. `session_control` returns what is in use now."""

    accounts: Accounts
    control: Control
    time: TimeControl
    session_control: Callable[[], SessionControl]
    codes: CodeControl
    part: PartMaker
    clock: Callable[[], float]
