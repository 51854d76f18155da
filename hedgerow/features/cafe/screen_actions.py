"""Actions for the screens of seats: lock, unlock, message, shutdown and wake."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import MaxLen, MinLen

from hedgerow.dashboards.actions.action import Caller, CommandOf, FormOf, Order, Shown, UndoForm, action
from hedgerow.dashboards.actions.operations import Operations
from hedgerow.dashboards.actions.orders import COUNTER_PATH
from hedgerow.dashboards.actions.sessions import SEAT, Device
from hedgerow.features.cafe.screens import ScreenCommand, screens_of
from hedgerow.policies.text.locales import message

SCREENS_PATH = f"{COUNTER_PATH}/screens"


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageOrder(Order):
    """A text for the guest of a seat. It is shown once and stored nowhere."""

    text: Annotated[str, MinLen(1), MaxLen(300), Shown("What the guest shall read.", "TEXT")]


def _form(name: str, says: str, undo: str = "") -> FormOf:
    path = f"{SCREENS_PATH}/{name}"
    return FormOf(path, SEAT, says=says, undo=UndoForm(f"{SCREENS_PATH}/{undo}", {"seat": "device"}) if undo else None)


@action(
    "POST",
    "/screens/{device}/lock",
    is_once=True,
    form=_form("lock", message("The screen of %(device)s is locked."), undo="unlock"),
    command=CommandOf(lambda device: f"The screen of {device} is locked.", {"seat": "device"}),
)
async def lock_screen(core: Operations, caller: Caller, device: Device) -> None:
    """Cover the screen of a seat until it is unlocked, whatever its session."""
    await core.part(screens_of).command(device, ScreenCommand.LOCK, actor=caller.actor, request=caller.key)


@action(
    "POST",
    "/screens/{device}/unlock",
    is_once=True,
    form=_form("unlock", message("The screen of %(device)s is unlocked."), undo="lock"),
    command=CommandOf(lambda device: f"The screen of {device} is unlocked.", {"seat": "device"}),
)
async def unlock_screen(core: Operations, caller: Caller, device: Device) -> None:
    """Unlock the screen of a seat."""
    await core.part(screens_of).command(device, ScreenCommand.UNLOCK, actor=caller.actor, request=caller.key)


@action(
    "POST",
    "/screens/{device}/message",
    is_once=True,
    form=_form("message", message("The message is shown at %(device)s.")),
    command=CommandOf(lambda device: f"The message is shown at {device}.", {"seat": "device"}),
)
async def message_screen(core: Operations, caller: Caller, device: Device, order: MessageOrder) -> None:
    """Show a message on the screen of a seat."""
    screens = core.part(screens_of)
    await screens.command(device, ScreenCommand.MESSAGE, order.text, actor=caller.actor, request=caller.key)


@action(
    "POST",
    "/screens/{device}/shutdown",
    is_once=True,
    form=_form("shutdown", message("The computer at %(device)s shuts down in half a minute.")),
    command=CommandOf(lambda device: f"The computer at {device} shuts down in half a minute.", {"seat": "device"}),
)
async def shut_down_seat(core: Operations, caller: Caller, device: Device) -> None:
    """Shut the computer of a seat down. Its guest is told 30 seconds before."""
    await core.part(screens_of).command(device, ScreenCommand.SHUTDOWN, actor=caller.actor, request=caller.key)


@action(
    "POST",
    "/screens/{device}/wake",
    is_once=True,
    form=_form("wake", message("The network card of %(device)s was told to start the computer.")),
    command=CommandOf(
        lambda device: f"The network card of {device} was told to start the computer.", {"seat": "device"}
    ),
)
async def wake_seat(core: Operations, caller: Caller, device: Device) -> None:
    """Start the computer of a seat by Wake-on-LAN, which needs its MAC address in the policy."""
    await core.part(screens_of).command(device, ScreenCommand.WAKE, actor=caller.actor, request=caller.key)


SCREEN_ACTIONS = (lock_screen, unlock_screen, message_screen, shut_down_seat, wake_seat)
