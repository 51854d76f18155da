"""Bounds of the octets that an inspector keeps for its devices: what is being scanned, and what a client or an origin
does not read.

A device has room for some of them, however many connections it has. While that is full, no origin is read but those of
the connection that has kept some for longest, so that each comes to its end in turn. What is not read has less room:
beyond it, the connection that was not read for longest ends.

If all devices together keep much, each has less room before its origins wait. If they keep too much, connections that
are not read end at those devices that keep more than an equal part, the largest first.
"""

from __future__ import annotations

import ctypes
from collections.abc import Hashable
from typing import Protocol

MOST_KEPT = 16 * 1024 * 1024
"""Octets that are kept for one device before its origins have to wait."""

MOST_UNREAD = MOST_KEPT // 2
"""Octets of them that a device or an origin may leave unread before a connection ends."""

MOST_KEPT_IN_ALL = 2 * MOST_KEPT
"""Octets that are kept for all devices before each has less room, and those that keep most lose connections."""

_MUCH = 4 * 1024 * 1024
"""Octets after which the C library is asked to give memory back. It would keep what lies between blocks in use."""

_SCARCE = 16
"""Part of its room that a device has while all devices together keep much. One that keeps no more loses nothing."""


class Keeper(Hashable, Protocol):
    """A connection that keeps octets."""

    def update(self) -> None:
        """Read the origins, or pause, as `KeptOctets.may_read` says."""

    def abort(self) -> None:
        """End the connection."""


class KeptInAll:
    """The octets that are kept for all devices together."""

    def __init__(self) -> None:
        self.is_scarce = False
        self._octets = self._most = 0
        self._devices: dict[KeptOctets, None] = {}

    def note(self, device: KeptOctets, change: int) -> None:
        """Add to the octets, or take from them."""
        self._octets += change
        self._most = max(self._most, self._octets)
        if device.octets:
            self._devices[device] = None
        else:
            self._devices.pop(device, None)
        most = MOST_KEPT_IN_ALL // 2 if self.is_scarce else MOST_KEPT_IN_ALL
        if self.is_scarce is not (self._octets > most):
            self.is_scarce = not self.is_scarce
            for each in tuple(self._devices):
                each.check()
        while change > 0 and self._octets > MOST_KEPT_IN_ALL:
            most = max(MOST_KEPT_IN_ALL // len(self._devices), MOST_KEPT // _SCARCE)
            above = [each for each in self._devices if each.unread and each.octets > most]
            if not above:
                break
            max(above, key=lambda each: each.octets).end_oldest()

    def give_back(self) -> None:
        """Give memory back to the system after much was kept, once little is."""
        if self._most > _MUCH > 4 * self._octets:
            self._most = 0
            if (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
                trim(0)


class KeptOctets:
    """The octets that are kept for one device."""

    def __init__(self, in_all: KeptInAll | None = None) -> None:
        self.octets = self.unread = 0
        self._in_all = in_all or KeptInAll()
        self._is_full = False
        self._keepers: dict[Keeper, tuple[int, int]] = {}  # octets of each, and those of them that are not read
        self._keeping: dict[Keeper, None] = {}  # that keep some, for longest first
        self._not_read: dict[Keeper, None] = {}  # that are not read, for longest first

    def add(self, keeper: Keeper) -> None:
        """Add a connection, which keeps nothing by now."""
        self._keepers[keeper] = (0, 0)

    def remove(self, keeper: Keeper) -> None:
        """Remove a connection with what it keeps. A second call does nothing."""
        self.note(keeper, 0, unread=0)
        self._keepers.pop(keeper, None)

    def may_read(self, keeper: Keeper) -> bool:
        """Return whether a connection may read its origins."""
        return not self._is_full or next(iter(self._keeping), keeper) is keeper

    def note(self, keeper: Keeper, scanned: int, *, unread: int) -> None:
        """Note what a connection keeps now."""
        before = self._keepers.get(keeper)
        if before is None or before == (scanned + unread, unread):
            return
        self._keepers[keeper] = (scanned + unread, unread)
        change = scanned + unread - before[0]
        self.octets += change
        self.unread += unread - before[1]
        _note_order(self._keeping, keeper, is_in=scanned + unread > 0)
        _note_order(self._not_read, keeper, is_in=unread > 0)
        self._in_all.note(self, change)
        self.check()
        if self._is_full:
            keeper.update()

    def check(self) -> None:
        """Adapt to what is kept: end what is not read for longest, pause the origins, or read them again."""
        while self.unread > MOST_UNREAD:
            self.end_oldest()
        most = MOST_KEPT // (_SCARCE if self._in_all.is_scarce else 1)
        is_full, self._is_full = self._is_full, self.octets > (most * 5 // 8 if self._is_full else most)
        if is_full is not self._is_full:
            for each in tuple(self._keepers):
                each.update()
        elif is_full and self._keeping:
            next(iter(self._keeping)).update()  # its turn may have come

    def end_oldest(self) -> None:
        """End the connection that was not read for longest."""
        oldest = next(iter(self._not_read))
        self.remove(oldest)
        oldest.abort()


def _note_order(order: dict[Keeper, None], keeper: Keeper, *, is_in: bool) -> None:
    if is_in:
        order.setdefault(keeper)
    else:
        order.pop(keeper, None)
