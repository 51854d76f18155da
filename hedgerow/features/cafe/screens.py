"""The screens of seats: commands of the counter for the program that runs there, and computers that are woken.

The program (`seat_agent`) asks every few seconds, with a number of its own that is new each time. It takes only an
answer that the site's key has signed together with that number, so nobody can make one up or use one again.
Deliberately absent: any view of a screen, and any other command.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from hedgerow.app.control.access_rule import AccessChange, ChangeKind
from hedgerow.app.control.sessions import device_called
from hedgerow.app.signing_keys import SigningKey, canonical
from hedgerow.dashboards.control import InvalidInput
from hedgerow.features.cafe.counter import CounterService, counter_of
from hedgerow.features.cafe.counter_store import CounterAction
from hedgerow.features.cafe.rules import key_of
from hedgerow.features.cafe.wake import send_magic_packets
from hedgerow.features.contract import Core
from hedgerow.network.own_addresses import own_addresses
from hedgerow.policies.model import Device, DeviceId, Policy

COMMANDS_OF = "hedgerow seat commands 1"
"""Beginning of what is signed, which no other signature of the key has."""

SILENT_S, KEPT_S = 15.0, 30.0
"""Seconds after which a program that has not asked is not running, and for which a message waits for one."""

AGENT = Path(__file__).with_name("seat_agent.py")


class ScreenCommand(StrEnum):
    """A command for the program at a seat, or for the network card there."""

    LOCK = "lock"
    UNLOCK = "unlock"
    MESSAGE = "message"
    SHUTDOWN = "shutdown"
    WAKE = "wake"


@dataclass(frozen=True, slots=True)
class Screen:
    """The screen of a seat. `is_on`: its program has asked within the last seconds; only then is `is_locked` known."""

    seat: DeviceId
    is_on: bool
    is_locked: bool


@dataclass(frozen=True, slots=True)
class _Waiting:
    at: float
    do: ScreenCommand
    text: str


class SeatScreens:
    """The screens as their programs tell, and the commands that wait for these. All on one event loop.

    `wake` takes MAC addresses and this machine's own addresses at the seats, and raises OSError.
    """

    def __init__(
        self,
        counter: CounterService,
        policy: Callable[[], Policy],
        key_file: Path,
        clock: Callable[[], float] = time.time,
        wake: Callable[[Iterable[str], Iterable[str]], None] = send_magic_packets,
    ) -> None:
        self._counter, self._policy, self._key_file = counter, policy, key_file
        self._clock, self._wake = clock, wake
        self._asked: dict[DeviceId, tuple[float, bool]] = {}
        self._wanted: dict[DeviceId, bool] = {}
        self._waiting: defaultdict[DeviceId, list[_Waiting]] = defaultdict(list)
        self._key: SigningKey | None = None

    def key(self) -> SigningKey:
        """Return the site's key, which is made first if need be. Raises OSError and ValueError."""
        self._key = self._key or SigningKey.load_or_make(self._key_file)
        return self._key

    def agent(self, server: str) -> str:
        """Return the program for the seats, which knows the address of this server and the key. Raises OSError."""
        known = f'SERVER, KEY = {server!r}, "{self.key().public.public_bytes_raw().hex()}"'
        return AGENT.read_text(encoding="utf-8").replace('SERVER, KEY = "", ""', known, 1)

    def screens(self) -> tuple[Screen, ...]:
        """Return the screens of all seats."""
        return tuple(self.screen(device.id) for device in self._policy().devices.values() if device.is_seat)

    def screen(self, seat: DeviceId) -> Screen:
        at, is_locked = self._asked.get(seat, (0.0, False))
        is_on = self._clock() - at < SILENT_S
        return Screen(seat, is_on, is_on and is_locked)

    async def command(self, device: str, do: ScreenCommand, text: str = "", *, actor: str, request: str = "") -> None:
        """Have something done at a seat. `text` is that of a message.

        Raises `InvalidInput` if nobody is on duty, or if nothing at the seat could do it.
        """
        seat = device_called(device, self._policy())
        if not seat.is_seat:
            raise InvalidInput("%(device)s is not a seat.", device=device)
        if do is ScreenCommand.WAKE and not seat.macs:
            raise InvalidInput("%(seat)s can't be woken: the policy does not say its MAC address.", seat=seat.id)
        key = key_of(request, CounterAction.SCREEN, f"{seat.id} {do}")
        is_new = await self._counter.in_turn(lambda: self._record(seat, do, actor, key))
        if do is ScreenCommand.WAKE:  # also at a repetition, of which the first may have failed after its entry
            await asyncio.to_thread(self._wake_up, seat)
        elif is_new and do in (ScreenCommand.LOCK, ScreenCommand.UNLOCK):
            self._wanted[seat.id] = do is ScreenCommand.LOCK
        elif is_new:
            self._waiting[seat.id].append(_Waiting(self._clock(), do, text))

    def _record(self, seat: Device, do: ScreenCommand, actor: str, key: str | None) -> bool:
        """Write the entry of a command, without the text of a message, before it is carried out.

        Return False if it was given before.
        """
        if self._counter.done_before(key) is not None:
            return False
        change = AccessChange(kind=ChangeKind.ALLOW, actor=actor, device=seat, subject=do)
        entry = replace(self._counter.entry_of(change, CounterAction.SCREEN), session="", kind="", key=key)
        if do is not ScreenCommand.WAKE and not self.screen(seat.id).is_on:
            raise InvalidInput(
                "The program on the screen of %(seat)s does not answer. Is the computer on?", seat=seat.id
            )
        self._counter.store.add(entry)
        return True

    def _wake_up(self, seat: Device) -> None:
        lan = self._policy().network.lan
        here = [each for each in own_addresses() if any(ipaddress.ip_address(each) in network for network in lan)]
        try:
            self._wake(seat.macs, [each for each in here if ":" not in each])
        except OSError as error:
            raise InvalidInput(
                "%(seat)s can't be woken: %(problem)s.", seat=seat.id, problem=error.strerror or str(error)
            ) from None

    def take(self, seat: DeviceId, nonce: str, *, is_locked: bool) -> dict[str, str]:
        """Return what the program at a seat shall do now, signed for the number with which it asks.

        It is empty for nothing, and no command is returned twice. It reads the key's file unless `key` was called
        before. Raises OSError and ValueError without a key.
        """
        now, wanted = self._clock(), self._wanted.get(seat, is_locked)
        self._asked[seat] = now, is_locked
        waiting = [each for each in self._waiting.pop(seat, ()) if each.at > now - KEPT_S]
        commands = [{"do": each.do, "text": each.text} for each in waiting]
        if wanted != is_locked:
            commands.append({"do": ScreenCommand.LOCK if wanted else ScreenCommand.UNLOCK, "text": ""})
        if not commands:
            return {}
        order = f"{COMMANDS_OF}\n{canonical({'seat': seat, 'nonce': nonce, 'commands': commands})}"
        return {"order": order, "signature": self.key().sign(order)}


def screens_of(core: Core) -> SeatScreens:
    """Make the part of control for the screens of seats."""
    return SeatScreens(core.part(counter_of), lambda: core.policy, core.settings.statement_key, core.clock)
