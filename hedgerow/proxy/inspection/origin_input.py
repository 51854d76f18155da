"""Flow control of origins: their bytes are processed in the turns of the device that gets them, in portions between
which others have theirs.

The cost of a byte differs a hundredfold: a download passes, but chunks of one octet or frames without data each go
through all layers. Portions begin small, grow while they are cheap, and shrink when they are not.
"""

# mitmproxy annotates only some of its functions.
# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

from mitmproxy.connection import Connection

from hedgerow.proxy.inspection.shares import TURN_SECONDS, DeviceShare, DeviceShares, Turn

SMALLEST, LARGEST = 2048, 64 * 1024
"""Octets of a portion."""

_CHEAP_SECONDS = TURN_SECONDS / 4
"""Seconds below which a portion is followed by one of twice its length."""


class OriginInputQueue:
    """The bytes of a connection's origins that wait for a turn of its device.

    `process_whole` handles what an origin sends at a time, or returns False if it must be portioned. `process` handles
    a portion. Both may close this object. `pause` is told whether an origin must not be read.
    """

    def __init__(
        self,
        shares: DeviceShares,
        share: DeviceShare,
        *,
        process_whole: Callable[[Connection, bytes], bool],
        process: Callable[[Connection, bytes], None],
        pause: Callable[[Connection, bool], None],
    ) -> None:
        self._shares, self._share = shares, share
        self._process_whole, self._process, self._pause = process_whole, process, pause
        self._sizes: dict[Connection, int] = {}
        self._held: dict[Connection, bytearray] = {}
        self._ends: dict[Connection, Callable[[], None]] = {}
        self._turns: dict[Connection, Turn] = {}

    def holds(self, origin: Connection) -> bool:
        """Return whether bytes of an origin wait. What it sends next must wait too."""
        return origin in self._held

    def receive(self, origin: Connection, data: bytes, *, may_wait: bool = True) -> None:
        """Process bytes as far as the device's turn allows, after those that are held.

        Without `may_wait` this is the device's turn.
        """
        held = self._held.get(origin)
        if held is not None:
            held += data
        elif may_wait and self._shares.must_wait(self._share, perf_counter()):
            self._held[origin] = bytearray(data)
            self._pause(origin, True)
            self._turns[origin] = self._shares.wait(self._share, lambda: self._begin_later(origin))
        else:
            self._shares.run(self._share, self._begin, origin, data)

    def _begin_later(self, origin: Connection) -> None:
        self._turns.pop(origin, None)
        data = bytes(self._held.pop(origin))
        self._pause(origin, False)
        self._begin(origin, data)
        if origin not in self._held and (end := self._ends.pop(origin, None)) is not None:
            end()

    def _begin(self, origin: Connection, data: bytes) -> None:
        if self._process_whole(origin, data):
            return
        size = self._sizes.get(origin, SMALLEST)
        if len(data) <= size:
            self._process(origin, data)
            return
        self._held[origin] = bytearray(data)
        self._take_turn(origin)
        if origin in self._held:
            self._pause(origin, True)

    def defer(self, origin: Connection, end: Callable[[], None]) -> bool:
        """Call `end` after the bytes that are held; False if there are none."""
        if origin not in self._held:
            self._sizes.pop(origin, None)
            return False
        self._ends.setdefault(origin, end)
        return True

    def close(self) -> None:
        """Drop everything. The connection calls this once."""
        for turn in self._turns.values():
            turn.cancel()
        self._held.clear()
        self._ends.clear()
        self._turns.clear()
        del self._process_whole, self._process, self._pause  # references both ways

    def _take_turn(self, origin: Connection) -> None:
        self._turns.pop(origin, None)
        ends = perf_counter() + TURN_SECONDS
        size, began = self._sizes.get(origin, SMALLEST), perf_counter()
        while held := self._held.get(origin):
            data = bytes(held[:size])
            del held[:size]
            self._process(origin, data)
            now = perf_counter()
            if now - began < _CHEAP_SECONDS:
                size = min(2 * size, LARGEST)
            elif now - began > TURN_SECONDS:
                size = max(size // 2, SMALLEST)
            began = now
            if now >= ends:
                break
        if origin not in self._held:
            return  # closed meanwhile
        self._sizes[origin] = size
        if self._held[origin]:
            self._turns[origin] = self._shares.wait(self._share, lambda: self._take_turn(origin))
            return
        del self._held[origin]
        self._pause(origin, False)
        if (end := self._ends.pop(origin, None)) is not None:
            end()
