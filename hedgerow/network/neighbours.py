"""The neighbour table of the kernel: IP address → MAC address, for both families.

A device is its MAC address; its IP addresses come and go.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import socket
import time
from collections.abc import Callable

from hedgerow.network.netlink import Neighbour, drain, open_events, read_table

log = logging.getLogger("hedgerow.neighbours")

# From linux/neighbour.h: states in which the kernel holds the link-layer address to be true or at least recent.
_USABLE = 0x02 | 0x04 | 0x08 | 0x10 | 0x80  # reachable, stale, delay, probe, permanent

# Addresses asked for between two readings; more than a LAN holds means that somebody makes them up.
_MISSED_MOST = 4096


def read_neighbours() -> dict[str, str]:
    """IP address → MAC address (lower case, colons) of all the kernel knows now; raises OSError."""
    return {entry.address: entry.mac for entry in read_table() if _is_usable(entry)}


def _is_usable(entry: Neighbour) -> bool:
    return bool(entry.state & _USABLE) and entry.mac != "00:00:00:00:00:00"


class Neighbours:
    """A copy of the table, refreshed on a timer, and at once when an address is met that is not in it, but at most every `soonest_s`."""

    def __init__(self, on_change: Callable[[], None], every_s: float = 10.0, soonest_s: float = 0.5) -> None:
        self._on_change = on_change
        self._every_s = every_s
        self._soonest_s = soonest_s
        self._table: dict[str, str] = {}
        self._missed: set[str] = set()
        self._absent: set[str] = set()
        self._wanted = asyncio.Event()
        self._read_at = -math.inf

    def mac_of(self, address: str) -> str | None:
        """The MAC address behind `address`; None while unknown, in which case the table is read again shortly."""
        mac = self._table.get(address)
        if mac is not None or address in self._absent or len(self._missed) >= _MISSED_MOST:
            return mac
        self._missed.add(address)
        if time.monotonic() - self._read_at < self._soonest_s:
            self._wanted.set()
            return None
        self._read()
        return self._table.get(address)

    def entries(self) -> dict[str, str]:
        """IP address → MAC address of all that is known now; a copy."""
        return dict(self._table)

    async def keep_fresh(self) -> None:
        """Runs until cancelled."""
        loop, events = asyncio.get_running_loop(), _events()
        if events is not None:
            loop.add_reader(events, self._hear, events)
        try:
            while True:
                started = time.monotonic()
                self._wanted.clear()
                self._read()
                await asyncio.sleep(max(0.0, self._soonest_s - (time.monotonic() - started)))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wanted.wait(), self._every_s)
        finally:
            if events is not None:
                loop.remove_reader(events)
                events.close()

    def _read(self) -> None:
        try:
            table = read_neighbours()  # the kernel answers while it is asked: no time to wait for
        except OSError as error:
            log.warning("%s", error)
            table = self._table
        self._absent = self._missed - table.keys()
        self._missed = set()
        if table != self._table:
            self._table = table
            self._on_change()

    def _hear(self, events: socket.socket) -> None:
        told = drain(events)
        if told is None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(events)  # libuv's loops never again look at a socket that had an error, unless they are told to
            loop.add_reader(events, self._hear, events)
            self._wanted.set()
            return
        news = {entry.address: entry.mac for entry in told if _is_usable(entry)}
        if any(self._table.get(address) != mac for address, mac in news.items()):
            self._table = self._table | news
            self._absent -= news.keys()
            self._on_change()


def _events() -> socket.socket | None:
    try:
        return open_events()
    except OSError as error:
        log.warning("The kernel does not tell changes of the neighbour table, so they are seen seconds later: %s", error)
        return None
