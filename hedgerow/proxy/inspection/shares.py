"""Fair shares of an inspector's time: each device has an account of HTTP/2 frames and a place in the queue of turns.

A device that lately used more than its part of the event loop's time waits for its turn, unless little such work was
done in this round of the loop. One turn, or as many as are short, is run per round, so that devices with little to do
are served in between.

Devices that the policy does not name have one such part together, since any of them may be many. While both wait, every
second turn is of a named device.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from hedgerow.frame_budget import MAX_TOKENS, FrameTokens
from hedgerow.policies.model import DeviceId
from hedgerow.proxy.inspection.kept_octets import KeptInAll, KeptOctets

TURN_SECONDS = 0.003
"""Seconds of work after which a connection's turn ends."""

ROUND_SECONDS = 0.001
"""Seconds of work after which no further turn begins in a round of the event loop.

Most turns are as short as a handshake.
"""

FREE_SECONDS = 0.02
"""Seconds of work beyond its part that a device may use without waiting."""

PART = 0.5
"""Part of the loop's time that a device may use without waiting.

Nobody waits for longer than others have work to do.
"""

CONNECTIONS = 8
"""Connections whose HTTP/2 frames a device's tokens pay for. Browsers open more, and get their answers."""

_MAX_LEAD = 0.25
_MAX_SHARES = 4096


class DeviceTokens(FrameTokens):
    """The tokens of a device's HTTP/2 frames, restored by time even if they are spent.

    >>> tokens = DeviceTokens()
    >>> tokens.charge(CONNECTIONS * MAX_TOKENS + 1)
    >>> tokens.are_spent(now=1.0), tokens.are_spent(now=60.0)
    (True, False)
    """

    __slots__ = ("_are_spent",)

    def __init__(self) -> None:
        super().__init__(CONNECTIONS)
        self._are_spent = False

    def are_spent(self, now: float) -> bool:
        """Return whether the device may open no connection: those before overspent, and few tokens are restored."""
        was_spent = self._are_spent or self.left < 0
        if was_spent:
            self.refill(now)
            self._are_spent = self.left < MAX_TOKENS / 2
        return self._are_spent


@dataclass(slots=True, eq=False)
class Turn:
    """A place in the queue; `run` is called once unless it is cancelled."""

    run: Callable[[], None]
    is_cancelled: bool = False

    def cancel(self) -> None:
        self.is_cancelled = True


@dataclass(slots=True, eq=False)
class DeviceShare:
    """The share of one device, however many connections it has.

    `strangers` is that of all devices without a name, for one of these.
    """

    strangers: DeviceShare | None = None
    tokens: DeviceTokens = field(default_factory=DeviceTokens)
    turns: deque[Turn] = field(default_factory=deque)
    kept: KeptOctets = field(default_factory=KeptOctets)
    _lead: float = 0.0  # seconds of work beyond the device's part
    _at: float = 0.0

    def is_ahead(self, now: float) -> bool:
        """Return whether the device has lately used more than its part. `now` is `time.perf_counter()`."""
        is_ahead = self._lead - (now - self._at) * PART > FREE_SECONDS
        return is_ahead or (self.strangers is not None and self.strangers.is_ahead(now))

    def charge(self, seconds: float, now: float) -> None:
        """Record work for the device."""
        lead = self._lead - (now - self._at) * PART
        lead = seconds if lead < 0.0 else lead + seconds
        self._lead = lead if lead < _MAX_LEAD else _MAX_LEAD
        self._at = now
        if self.strangers is not None:
            self.strangers.charge(seconds, now)

    @property
    def is_idle(self) -> bool:
        """True if the share is the same as a new one."""
        return not self.turns and self.tokens.is_full and not self.kept.octets


class DeviceShares:
    """The shares of all devices, and the queue of their turns."""

    def __init__(self) -> None:
        self._shares: dict[DeviceId, DeviceShare] = {}
        self.kept = KeptInAll()
        self._strangers = DeviceShare(kept=KeptOctets(self.kept))
        self._named: OrderedDict[DeviceShare, None] = OrderedDict()  # which wait for their turns
        self._others: OrderedDict[DeviceShare, None] = OrderedDict()
        self._is_turn_of_named = True
        self._is_scheduled = False
        self._running: DeviceShare | None = None
        # for devices that are ahead; None: none had work in this round of the loop
        self._round_ends: float | None = None

    def of(self, device: DeviceId, *, is_named: bool = True) -> DeviceShare:
        """Return a device's share. It outlives the device's connections."""
        share = self._shares.get(device)
        if share is None:
            if len(self._shares) >= _MAX_SHARES:
                self._shares = {each: kept for each, kept in self._shares.items() if not kept.is_idle}
            self._shares[device] = share = DeviceShare(kept=KeptOctets(self.kept))
        if share not in self._named and share not in self._others:
            share.strangers = None if is_named else self._strangers
        return share

    def serves(self, share: DeviceShare) -> bool:
        """Return whether work for the device is being done."""
        return self._running is share

    def must_wait(self, share: DeviceShare, now: float) -> bool:
        """Return whether a device's work must wait for a turn. `now` is `time.perf_counter()`.

        Waiting gains nothing while all devices that are ahead of their parts do no more in a round than fits into one
        turn. It gains nothing either if the work follows from what the same device is doing now. No connection waits
        only for others of its own device.
        """
        if self._running is share or not share.is_ahead(now):
            return False
        waiting = len(self._named) + len(self._others)
        if waiting and (waiting > 1 or share not in self._line_of(share)):
            return True
        if self._round_ends is None:
            self._round_ends = now + TURN_SECONDS
            asyncio.get_running_loop().call_soon(self._end_round)
        return now >= self._round_ends

    def _end_round(self) -> None:
        self._round_ends = None

    def run[*A](self, share: DeviceShare, work: Callable[[*A], None], *arguments: *A) -> None:
        """Do a device's work now, and charge it, once if it is a part of other work."""
        if self._running is share:
            work(*arguments)
            return
        began, self._running = time.perf_counter(), share
        try:
            work(*arguments)
        finally:
            self._running = None
            now = time.perf_counter()
            share.charge(now - began, now)

    def wait(self, share: DeviceShare, run: Callable[[], None]) -> Turn:
        """Call `run` in one of the next rounds of the event loop, in fair order."""
        turn = Turn(run)
        share.turns.append(turn)
        self._line_of(share)[share] = None
        self._schedule()
        return turn

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._run)

    def _run(self) -> None:
        """Run one turn of each device that is not ahead, or else turns of those that have waited for longest, if they
        are short.
        """
        self._is_scheduled = False
        now = time.perf_counter()
        ends = now + ROUND_SECONDS
        due = [share for share in (*self._named, *self._others) if not share.is_ahead(now)]
        try:
            for share in due:
                self._run_one(share)
            while not due and (self._named or self._others) and now < ends:
                self._run_one(self._next())
                now = time.perf_counter()
        finally:
            if self._named or self._others:
                self._schedule()

    def _line_of(self, share: DeviceShare) -> OrderedDict[DeviceShare, None]:
        return self._named if share.strangers is None else self._others

    def _next(self) -> DeviceShare:
        """Return the share that has waited for longest, alternately of a named device and of one without a name."""
        line = self._named if self._named and (self._is_turn_of_named or not self._others) else self._others
        self._is_turn_of_named = line is self._others
        return next(iter(line))

    def _run_one(self, share: DeviceShare) -> None:
        line = self._line_of(share)
        del line[share]
        while share.turns:
            turn = share.turns.popleft()
            if not turn.is_cancelled:
                break
        else:
            return
        if share.turns:
            line[share] = None
        self.run(share, turn.run)
