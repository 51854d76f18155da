"""Sessions at a café's seats and at shared devices, and minutes on top of today's budget."""

from __future__ import annotations

from typing import Annotated

from annotated_types import MaxLen

from hedgerow.dashboards.actions.action import Caller, CommandOf, FormOf, Shown, UndoForm, action
from hedgerow.dashboards.actions.operations import Operations
from hedgerow.dashboards.actions.orders import (
    COUNTER_PATH,
    BonusOrder,
    ExtendOrder,
    ReopenOrder,
    SeatOrder,
    SeatPauseOrder,
    SessionId,
)
from hedgerow.policies.model import Session
from hedgerow.policies.text.locales import message
from hedgerow.policies.time_model import Bonus

SEAT = {"device": "seat"}
"""The field of a form for the device of a session."""
_SEAT_AND_MINUTES = {"seat": "device", "minutes": "minutes"}

Device = Annotated[str, MaxLen(253), Shown("A seat, or a device that several people share.", "SEAT")]


def _more_minutes(name: str, minutes: int, subject: str) -> str:
    return f"{name} has {minutes} more minutes today{f', for {subject}' if subject else ''}."


@action("POST", "/bonus", status=201, form=FormOf("/bonus"), command=CommandOf(_more_minutes))
async def bonus(core: Operations, caller: Caller, order: BonusOrder) -> Bonus:
    """Give extra minutes on top of today's budget."""
    return await core.time.add_minutes(order, actor=caller.actor)


@action("POST", "/sessions/{device}", status=201, is_once=True, form=FormOf(f"{COUNTER_PATH}/open", SEAT))
async def start_session(core: Operations, caller: Caller, device: Device, order: SeatOrder) -> Session:
    """Begin a session.

    One at a seat is refused with 409 if the seat is taken and `replaces` is not the id of the session there.
    """
    return await core.session_control().start_session(device, order, actor=caller.actor, request=caller.key)


@action(
    "POST",
    "/sessions/{device}/end",
    is_once=True,
    form=FormOf(f"{COUNTER_PATH}/end", SEAT),
    command=CommandOf(lambda device: f"{device} is free.", {"ended": "device"}),
)
async def end_session(core: Operations, caller: Caller, device: Device) -> Session | None:
    """End a session now; the seat then has the rules for children."""
    return await core.session_control().end_session(device, actor=caller.actor, request=caller.key)


@action(
    "POST",
    "/sessions/{device}/extend",
    is_once=True,
    form=FormOf(f"{COUNTER_PATH}/extend", SEAT),
    command=CommandOf(
        lambda device, minutes: f"The session at {device} lasts {minutes:g} minutes longer.", _SEAT_AND_MINUTES
    ),
)
async def extend_session(core: Operations, caller: Caller, device: Device, order: ExtendOrder) -> None:
    """Extend a session."""
    await core.session_control().extend_session(device, order, actor=caller.actor, request=caller.key)


@action(
    "POST",
    "/sessions/{device}/pause",
    is_once=True,
    form=FormOf(
        f"{COUNTER_PATH}/pause",
        SEAT,
        says=message("%(device)s is paused for %(minutes)s minutes at most."),
        undo=UndoForm(f"{COUNTER_PATH}/resume", {"seat": "device"}),
    ),
    command=CommandOf(
        lambda device, minutes: f"{device} is paused, for {minutes:g} minutes at most.", _SEAT_AND_MINUTES
    ),
)
async def pause_session(core: Operations, caller: Caller, device: Device, order: SeatPauseOrder) -> None:
    """Close a seat while its guest is away; the session's time stands still."""
    await core.session_control().pause_session(device, order.minutes, actor=caller.actor, request=caller.key)


@action(
    "POST",
    "/sessions/{device}/resume",
    form=FormOf(f"{COUNTER_PATH}/resume", SEAT, says=message("%(device)s is open again.")),
    command=CommandOf(lambda device: f"{device} is open again.", {"seat": "device"}),
)
async def resume_session(core: Operations, caller: Caller, device: Device) -> None:
    """End the pause of a seat."""
    await core.session_control().resume_session(device, actor=caller.actor)


@action(
    "POST",
    "/sessions/{session}/reopen",
    is_once=True,
    form=FormOf(f"{COUNTER_PATH}/reopen", says=message("Undone: the session goes on.")),
)
async def reopen_session(core: Operations, caller: Caller, session: SessionId, order: ReopenOrder) -> None:
    """Undo the end of a session, within some minutes."""
    await core.session_control().reopen_session(session, order.ends, actor=caller.actor, request=caller.key)


SESSION_ACTIONS = (
    bonus,
    start_session,
    end_session,
    extend_session,
    pause_session,
    resume_session,
    reopen_session,
)
