"""The kernel's neighbour table, read through rtnetlink (rtnetlink(7), linux/neighbour.h).

Reading does not block: the kernel answers before `recv` is called.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import socket
import time
from collections.abc import Callable, Collection, Iterator
from struct import Struct
from typing import Final, NamedTuple

from hedgerow.network import netlink

_NEIGHBOUR: Final = Struct("=BxxxiHBB")  # struct ndmsg: family, interface, state, flags, type
_DONE, _NEW, _GET = 3, 28, 30  # NLMSG_DONE, RTM_NEWNEIGH, RTM_GETNEIGH
_NEIGHBOUR_GROUP: Final = 1 << 2  # RTNLGRP_NEIGH is 3
_DUMP: Final = 0x300  # NLM_F_ROOT | NLM_F_MATCH
_ADDRESS, _LINK_ADDRESS = 1, 2  # NDA_DST, NDA_LLADDR
_REACHABLE, _BEING_ASKED = 0x02, 0x01 | 0x08 | 0x10  # linux/neighbour.h: incomplete, delay, probe
_DISCARD_PORT: Final = 9
_FAMILIES: Final = {socket.AF_INET: 4, socket.AF_INET6: 16}


class Neighbour(NamedTuple):
    """An entry: the IP address as text, the MAC address with colons, the state as in linux/neighbour.h."""

    address: str
    mac: str
    state: int


def dump_table() -> list[Neighbour]:
    """Return all IPv4 and IPv6 entries with a link-layer address of six bytes. Raises OSError."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
        sock.settimeout(1.0)
        sock.sendto(netlink.message(_GET, _DUMP, 1, _NEIGHBOUR.pack(0, 0, 0, 0, 0)), (0, 0))
        table: list[Neighbour] = []
        while True:
            neighbours, is_last = parse_dump(sock.recv(netlink.BUFFER))
            table += neighbours
            if is_last:
                return table


async def answering(macs: Collection[str], addresses: Collection[str], patience_s: float = 10.0) -> set[str]:
    """Return those of the MAC and IP addresses that answer now, by ARP or neighbour discovery. Raises OSError.

    The kernel asks by itself once a packet is to be sent there. A sleeping phone answers, or its access point does.
    """

    def known() -> list[Neighbour]:
        return [entry for entry in dump_table() if entry.mac in macs or entry.address in addresses]

    unsure = {entry.address for entry in known() if not entry.state & _REACHABLE}
    for address in unsure.union(addresses):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        # a link-local address, or no route
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"", (address, _DISCARD_PORT))
    deadline = time.monotonic() + patience_s
    while any(entry.state & _BEING_ASKED for entry in known()) and time.monotonic() < deadline:  # noqa: ASYNC110  nothing tells
        await asyncio.sleep(0.5)
    found = [entry for entry in known() if entry.state & _REACHABLE]
    return {key for entry in found for key in (entry.mac, entry.address)}


def open_events() -> socket.socket:
    """Return a non-blocking socket on which the kernel reports changes of the table (RTNLGRP_NEIGH). Raises OSError."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
    try:
        sock.bind((0, _NEIGHBOUR_GROUP))
    except OSError:
        sock.close()
        raise
    return sock


def read_events(sock: socket.socket) -> list[Neighbour] | None:
    """Return the changes since the last call, or None if some were lost or cannot be read."""
    found: list[Neighbour] = []
    while True:
        try:
            found += parse_dump(sock.recv(netlink.BUFFER))[0]
        except BlockingIOError:
            return found
        except OSError:  # ENOBUFS: some of it is lost
            return None


def parse_dump(datagram: bytes) -> tuple[list[Neighbour], bool]:
    """Return the entries in one datagram, and True if it is the last one.

    Raises OSError for the kernel's errors and malformed data.
    """
    found: list[Neighbour] = []
    for kind, _, body in netlink.messages(datagram):
        if kind == _DONE:
            return found, True
        if kind == netlink.ERROR and (problem := netlink.error_in(body)) is not None:
            raise problem
        if kind == _NEW:
            found += _parse_neighbour(body)
    return found, False


def _parse_neighbour(body: bytes) -> Iterator[Neighbour]:
    if len(body) < _NEIGHBOUR.size:
        return
    family, _, state, *_ = _NEIGHBOUR.unpack_from(body)
    values = netlink.attributes(body[_NEIGHBOUR.size :])
    address, link = values.get(_ADDRESS, b""), values.get(_LINK_ADDRESS, b"")
    if len(link) == 6 and len(address) == _FAMILIES.get(family):
        yield Neighbour(socket.inet_ntop(family, address), link.hex(":"), state)


log = logging.getLogger("hedgerow.neighbours")

# From linux/neighbour.h: states in which the link-layer address is valid or recent.
_USABLE = 0x02 | 0x04 | 0x08 | 0x10 | 0x80  # reachable, stale, delay, probe, permanent

# Unknown addresses between two readings. More than a LAN has are made up.
_MAX_MISSED = 4096


def read_neighbours() -> dict[str, str]:
    """Return MAC addresses (lower case, colons) by IP address, as the kernel knows them now. Raises OSError."""
    return {entry.address: entry.mac for entry in dump_table() if _is_usable(entry)}


def neighbours_of_this_machine() -> dict[str, str]:
    """Return what `read_neighbours` returns, or nothing if the kernel does not tell."""
    try:
        return read_neighbours()
    except OSError:
        return {}


def _is_usable(entry: Neighbour) -> bool:
    return bool(entry.state & _USABLE) and entry.mac != "00:00:00:00:00:00"


class Neighbours:
    """A copy of the table, refreshed every `every_s`, and at once for an unknown address, but at most every
    `soonest_s`.
    """

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
        """Return the MAC address of an IP address, or None if unknown; the table is then read again soon."""
        mac = self._table.get(address)
        if mac is not None or address in self._absent or len(self._missed) >= _MAX_MISSED:
            return mac
        self._missed.add(address)
        if time.monotonic() - self._read_at < self._soonest_s:
            self._wanted.set()
            return None
        self._read()
        return self._table.get(address)

    def entries(self) -> dict[str, str]:
        """Return a copy of the table: MAC addresses by IP address."""
        return dict(self._table)

    async def keep_fresh(self) -> None:
        """Keep the copy up to date until cancelled."""
        loop, events = asyncio.get_running_loop(), _open_event_socket()
        if events is not None:
            loop.add_reader(events, self._read_changes, events)
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
            table = read_neighbours()  # does not block
        except OSError as error:
            log.warning("The neighbour table cannot be read: %s", error)
            table = self._table
        self._absent = self._missed - table.keys()
        self._missed = set()
        if table != self._table:
            self._table = table
            self._on_change()

    def _read_changes(self, events: socket.socket) -> None:
        changes = read_events(events)
        if changes is None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(events)  # libuv stops watching a socket after an error until it is added again
            loop.add_reader(events, self._read_changes, events)
            self._wanted.set()
            return
        news = {entry.address: entry.mac for entry in changes if _is_usable(entry)}
        if any(self._table.get(address) != mac for address, mac in news.items()):
            self._table = self._table | news
            self._absent -= news.keys()
            self._on_change()


def _open_event_socket() -> socket.socket | None:
    try:
        return open_events()
    except OSError as error:
        log.warning(
            "The kernel does not report changes of the neighbour table, so they are seen seconds later: %s", error
        )
        return None
