"""API of time: budgets, bonus minutes, and sessions at seats and shared devices."""

from __future__ import annotations

from typing import Annotated, Protocol

from fastapi import Path
from pydantic import Field

from hedgerow.dashboards.api.schema import OnDuty, RequestKey, StrictModel
from hedgerow.dashboards.control import BudgetRow
from hedgerow.dashboards.routes import OPERATE, READ, ScopedRouter
from hedgerow.policies.cafe import Payment
from hedgerow.policies.expiry import UpcomingEnd
from hedgerow.policies.model import Session
from hedgerow.policies.time_model import Bonus

LATEST = 4e9
"""Latest end of a session, in seconds since the epoch: in the year 2096."""

_NAME_LIMIT = 253


class TimeControl(Protocol):
    """Time of the running Hedgerow. Raises `InvalidInput` for unknown names and `NoSuchEntry` where there is no session.

    `request` identifies a request: with one that was used for the same action before, nothing is done again.
    """

    def budgets(self) -> tuple[BudgetRow, ...]:
        """Return all budgets, from memory."""

    def endings(self, device: str) -> tuple[UpcomingEnd, ...]:
        """Return what ends a device's time within minutes, nearest first; nothing for an unknown device."""

    def sessions(self) -> tuple[Session, ...]:
        """Return the open sessions at seats and shared devices."""

    async def accept(self, session_id: str) -> None:
        """Record that a guest accepts the code of conduct. A session that is over is ignored."""

    def session_start(self, device: str) -> float:
        """Return the start of the session at a seat, since when the data is this guest's, or 0 for other devices. Blocks on the disk."""

    async def add_minutes(self, name: str, subject: str, minutes: int, actor: str) -> Bonus:
        """Give a person or device extra minutes today."""

    async def start_session(
        self,
        device: str,
        actor: str,
        *,
        person: str | None,
        band: str | None,
        minutes: float | None,
        name: str,
        pays: str | None = None,
        replaces: str = "",
        request: str = "",
    ) -> Session:
        """Open a seat for a guest of a kind of session, or sign a person in at a shared device.

        A guest pays before or after; None for what the policy says. A session at a seat ends at its closing time. Raises `SeatTaken` if
        there is a session at the seat, other than the one with the id `replaces`, which ends.
        """

    async def end_session(self, device: str, actor: str, request: str = "") -> Session | None:
        """End a session and return it. None if an earlier `request` ended it and it is no longer known."""

    async def extend_session(self, device: str, minutes: float, actor: str, request: str = "") -> None:
        """Add minutes to a session that has an end."""

    async def move_session(self, device: str, to: str, actor: str, request: str = "") -> None:
        """Move the guest of a seat to a free one, with the session, grants and pause."""

    async def pause_session(self, device: str, actor: str, minutes: float, request: str = "") -> None:
        """Close a seat for `minutes` or until resumed, while its session's time stands still. Raises `InvalidInput` if it is paused."""

    async def resume_session(self, device: str, actor: str) -> None:
        """End the pauses of a seat. Minutes that a pause added and that are not used up are taken away again."""

    async def pay_session(self, session_id: str, actor: str, request: str = "") -> None:
        """Record the payment for a session. Raises `InvalidInput` if nothing is owed."""

    async def reopen_session(self, session_id: str, ends: float | None, actor: str, request: str = "") -> None:
        """Undo the end of a session, within some minutes. It ends at `ends` then; at a seat, when it was to end before."""


class BonusOrder(StrictModel):
    """Extra minutes for a person or device. `subject` is a category or service with a budget of its own."""

    name: str = Field(min_length=1, max_length=_NAME_LIMIT)
    subject: str = Field("", max_length=_NAME_LIMIT)
    minutes: int = Field(ge=1, le=24 * 60)


class SeatOrder(StrictModel):
    """A guest of an age band at a seat, or a person at a shared device.

    `band` is child, adult, or the rest of another profile's name after `seat-`. `pays`: by default as the policy says. `replaces` is the
    id of the session that may end for this one.
    """

    band: str | None = Field(None, max_length=100)
    person: str | None = Field(None, max_length=_NAME_LIMIT)
    minutes: float | None = Field(None, gt=0, le=60 * 24)
    name: str = Field("", max_length=100)
    pays: Payment | None = None
    replaces: str = Field("", max_length=40)


class ExtendOrder(StrictModel):
    """Minutes to add to a session."""

    minutes: float = Field(gt=0, le=60 * 24)


class SeatPauseOrder(StrictModel):
    """Minutes after which the pause ends by itself."""

    minutes: float = Field(60, gt=0, le=60 * 24)


class MoveOrder(StrictModel):
    """The free seat to which a guest moves."""

    to: str = Field(min_length=1, max_length=_NAME_LIMIT)


class ReopenOrder(StrictModel):
    """The end of the session, in seconds since the epoch; null for none."""

    ends: float | None = Field(None, ge=0, le=LATEST)


Device = Annotated[str, Path(max_length=_NAME_LIMIT)]


def add_time_routes(api: ScopedRouter, control: TimeControl) -> None:
    """Add the routes."""

    @api.serve("GET", "/budgets", OPERATE, READ)
    async def budgets() -> tuple[BudgetRow, ...]:
        """Return the state of all budgets."""
        return control.budgets()

    @api.serve("POST", "/bonus", OPERATE, status_code=201)
    async def bonus(actor: OnDuty, order: BonusOrder) -> Bonus:
        """Add minutes to today's budget of a person or device."""
        return await control.add_minutes(order.name, order.subject, order.minutes, actor)

    @api.serve("GET", "/endings/{device}", READ)
    async def endings(device: Device) -> tuple[UpcomingEnd, ...]:
        """Return what ends a device's time within minutes."""
        return control.endings(device)

    @api.serve("GET", "/sessions", OPERATE, READ)
    async def sessions() -> tuple[Session, ...]:
        return control.sessions()

    @api.serve("POST", "/sessions/{device}", OPERATE, status_code=201)
    async def start_session(actor: OnDuty, key: RequestKey, device: Device, order: SeatOrder) -> Session:
        """Begin a session. One at a seat is refused with 409 if the seat is taken and `replaces` is not the id of the session there."""
        return await control.start_session(
            device,
            actor,
            person=order.person,
            band=order.band,
            minutes=order.minutes,
            name=order.name,
            pays=order.pays,
            replaces=order.replaces,
            request=key,
        )

    @api.serve("POST", "/sessions/{device}/end", OPERATE, status_code=204)
    async def end_session(actor: OnDuty, key: RequestKey, device: Device) -> None:
        await control.end_session(device, actor, key)

    @api.serve("POST", "/sessions/{device}/extend", OPERATE, status_code=204)
    async def extend_session(actor: OnDuty, key: RequestKey, device: Device, order: ExtendOrder) -> None:
        await control.extend_session(device, order.minutes, actor, key)

    @api.serve("POST", "/sessions/{device}/move", OPERATE, status_code=204)
    async def move_session(actor: OnDuty, key: RequestKey, device: Device, order: MoveOrder) -> None:
        await control.move_session(device, order.to, actor, key)

    @api.serve("POST", "/sessions/{device}/pause", OPERATE, status_code=204)
    async def pause_session(actor: OnDuty, key: RequestKey, device: Device, order: SeatPauseOrder) -> None:
        await control.pause_session(device, actor, order.minutes, key)

    @api.serve("POST", "/sessions/{device}/resume", OPERATE, status_code=204)
    async def resume_session(actor: OnDuty, device: Device) -> None:
        await control.resume_session(device, actor)

    @api.serve("POST", "/sessions/{session}/reopen", OPERATE, status_code=204)
    async def reopen_session(actor: OnDuty, key: RequestKey, session: Annotated[str, Path(max_length=40)], order: ReopenOrder) -> None:
        """Undo the end of a session, within some minutes."""
        await control.reopen_session(session, order.ends, actor, key)
