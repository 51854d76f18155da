"""Control's eye on the network: devices that show up in the neighbour table, with the names that they told the DHCP server.

What is new is told once, in the log and in the journal's events. A device that nobody has named is filtered from its first packet on.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import stat
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from hedgerow.app.snapshot import LoadedSnapshot
from hedgerow.journal.messages import DeviceSeen
from hedgerow.journal.reader import JournalReader
from hedgerow.journal.recorder import SystemEvent
from hedgerow.network.discovery import LEASE_FILES, Lease, VendorLookup, query_mdns_name
from hedgerow.network.neighbours import Neighbours

log = logging.getLogger("hedgerow.discovery")

SCAN_INTERVAL_S = 5.0
MAX_LEASE_FILE_BYTES = 4 * 1024 * 1024
MAX_SIGHTINGS = 4096  # more sightings than a LAN has devices: somebody makes addresses up

type LeaseFiles = Iterable[tuple[str, Callable[[str], tuple[Lease, ...]]]]


class DeviceDiscovery:
    """Looks every few seconds.

    `view` tells what is in force, None before the start is over; `hear` is told what devices call themselves.
    """

    def __init__(
        self,
        reader: JournalReader,
        record: Callable[[list[DeviceSeen | SystemEvent]], None],
        neighbours: Neighbours,
        view: Callable[[], LoadedSnapshot | None],
        update_names: Callable[[dict[str, str]], None],
    ) -> None:
        self._reader, self._record, self._neighbours, self._view, self._update_names = reader, record, neighbours, view, update_names
        self._names = HostNameResolver()
        self._vendors = VendorLookup()
        self._called: dict[str, str] = {}
        self._told: set[tuple[str, str, str]] = set()

    async def run(self) -> None:
        """Runs until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_looking())
            tasks.create_task(self._keep_naming())

    async def _keep_looking(self) -> None:
        # Before the workers tell of whom they serve: those are new.
        known: set[str] = {row.device for row in await asyncio.to_thread(self._reader.devices, time.time())}
        unread: list[str] = []
        while True:
            await asyncio.sleep(SCAN_INTERVAL_S)
            before, unread = unread, await asyncio.to_thread(unreadable_lease_files)
            for said in unread:
                if said not in before:
                    log.warning("leases that can't be used, so devices have no names by them: %s", said)
            view = self._view()
            if view is None:
                continue
            await asyncio.to_thread(self._find_vendors)
            self.look(view, await asyncio.to_thread(read_leases), known)

    async def _keep_naming(self) -> None:
        """Asks for names, which takes as long as whoever is asked likes."""
        while True:
            await asyncio.sleep(SCAN_INTERVAL_S)
            view, leases = self._view(), await asyncio.to_thread(read_leases)
            self._called = await self._names.find(leases, self._neighbours.entries(), time.time())
            if view is not None and any(device.hostnames for device in view.policy.devices.values()):
                self._update_names(self._called)

    def _find_vendors(self) -> None:
        """So that the look itself waits for no disk."""
        for mac in set(self._neighbours.entries().values()):
            self._vendors.vendor(mac)

    def look(self, view: LoadedSnapshot, leases: Iterable[Lease], known: set[str]) -> None:
        """One look; `known` are the ids of devices that were told of before."""
        now = time.time()
        names = {lease.mac: lease.name for lease in leases if lease.name and (lease.until is None or lease.until > now)}
        for address, mac in sorted(self._neighbours.entries().items(), key=lambda entry: ":" in entry[0]):
            if address.startswith("fe80:"):
                continue  # every device has another one too, and so has the provider's router
            device = view.rulesets.devices.find(address, mac)
            name = names.get(mac) or self._called.get(mac, "")
            if device is None or (device.id, address, name) in self._told:
                continue
            if len(self._told) >= MAX_SIGHTINGS:
                self._told.clear()
            self._told.add((device.id, address, name))
            ruleset = view.rulesets.ruleset(device, now)
            seen = DeviceSeen(now, device.id, address, mac, device.person, ruleset.profile, name)
            self._record([seen])
            if device.id not in known and not device.known:
                maker = self._vendors.vendor(mac)
                called = (name or "a device without a name") + (f" ({maker})" if maker else "")
                detail = f"{called} at {address}, filtered as {ruleset.profile}"
                log.info("new on the network: %s (%s)", detail, device.id)
                self._record([SystemEvent(now, "device", device.id, detail, seen)])
            known.add(device.id)


def read_leases(files: LeaseFiles = LEASE_FILES) -> list[Lease]:
    """All leases of the DHCP servers on this machine; a file that can't be used has none, and `unreadable_lease_files` tells why."""
    found: list[Lease] = []
    for place, parse in files:
        try:
            with _open_lease_file(Path(place)) as file:
                found += parse(file.read(MAX_LEASE_FILE_BYTES).decode("utf-8", "replace"))
        except OSError:
            continue
    return found


def unreadable_lease_files(files: LeaseFiles = LEASE_FILES) -> list[str]:
    """A few words for each file of leases that is there and can't be used, so that its devices have no names."""
    said: list[str] = []
    for place, _ in files:
        try:
            _open_lease_file(Path(place)).close()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            said.append(f"{place}: {error.strerror or error}")
    return said


def _open_lease_file(path: Path) -> BinaryIO:
    """Raises OSError, also where the file tells nothing that could be believed: in a folder in which everybody may write, such as /tmp,
    only what belongs to root or to us is the DHCP server's. Nothing but a file is waited for."""
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    status = os.fstat(file.fileno())
    why_not = ""
    if not stat.S_ISREG(status.st_mode):
        why_not = "is no file"
    elif path.parent.stat().st_mode & stat.S_IWOTH and status.st_uid not in {0, os.geteuid()}:
        why_not = "could be anybody's, in a folder where everybody may write"
    elif status.st_size > MAX_LEASE_FILE_BYTES:
        why_not = f"is larger than {MAX_LEASE_FILE_BYTES // 1024**2} MB"
    if why_not:
        file.close()
        raise OSError(why_not)
    return file


NAME_CACHE_S = 300.0
MAX_LABEL_LENGTH = 63  # RFC 1035 §2.3.4
LOOKUP_THREADS = 8
MAX_LOOKUPS = 64
"""Reverse names asked for in one look; each may wait for the system's resolver."""


def reverse_name(address: str) -> str:
    """The name of an address by hosts file and DNS (PTR), else by the device itself; empty where there is none. Waits for the resolver."""
    try:
        return socket.getnameinfo((address, 0), socket.NI_NAMEREQD)[0]
    except OSError:
        return query_mdns_name(address)


def first_label(name: str) -> str:
    """What a policy writes of a host name; empty where a device calls itself what nobody could read, such as lines of a log.

    >>> first_label("Mias-Tablet.lan"), first_label("tv\\n2026-11-25 control: all is well")
    ('mias-tablet', '')
    """
    label = name.partition(".")[0].lower()
    return label if label.isprintable() and len(label) <= MAX_LABEL_LENGTH else ""


class HostNameResolver:
    """Remembers reverse names for some minutes. `reverse` may block; it is called in a thread."""

    def __init__(self, reverse: Callable[[str], str] = reverse_name, clock: Callable[[], float] = time.monotonic) -> None:
        self._reverse, self._clock = reverse, clock
        self._asked: dict[str, tuple[float, str]] = {}

    async def find(self, leases: Iterable[Lease], neighbours: Mapping[str, str], now: float) -> dict[str, str]:
        """MAC address, and IP address where no MAC is known, → first label of the name. `neighbours` is IP address → MAC address."""
        names = {lease.mac: first_label(lease.name) for lease in leases if lease.name and (lease.until is None or lease.until > now)}
        unnamed = [(address, mac) for address, mac in sorted(neighbours.items()) if mac not in names and not address.startswith("fe80:")]
        limit = self._clock() - NAME_CACHE_S
        due = [address for address, _ in unnamed if self._asked.get(address, (limit, ""))[0] <= limit][:MAX_LOOKUPS]
        found = await asyncio.to_thread(self._ask, due)
        self._asked |= {address: (self._clock(), first_label(name)) for address, name in found}
        self._asked = {address: self._asked[address] for address, _ in unnamed if address in self._asked}
        return names | {mac: name for address, mac in unnamed if (name := self._asked.get(address, (0.0, ""))[1])}

    def _ask(self, addresses: list[str]) -> list[tuple[str, str]]:
        """A few at once: where the system's resolver is silent, each waits for ten seconds before the device itself is asked."""
        if not addresses:
            return []
        with ThreadPoolExecutor(LOOKUP_THREADS, "host-names") as pool:
            return list(zip(addresses, pool.map(self._reverse, addresses), strict=True))
