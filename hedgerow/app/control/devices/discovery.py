"""Discovery of devices: those in the neighbour table, with the host names from DHCP leases, DNS and mDNS.

A new device is reported once, in the log and in the journal's events. Filtering does not wait for it: it starts with
the first packet.
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
from hedgerow.ticks import next_tick

log = logging.getLogger("hedgerow.discovery")

SCAN_INTERVAL_S = 5.0
MAX_LEASE_FILE_BYTES = 4 * 1024 * 1024
MAX_SIGHTINGS = 4096  # above this, a client is inventing addresses
MAX_NEW_PER_HOUR = 30
"""New devices that are reported one by one. More are made up, and each would be a row and a notice."""

type LeaseFiles = Iterable[tuple[str, Callable[[str], tuple[Lease, ...]]]]


class DeviceDiscovery:
    """A scan, every few seconds, for the devices of the network and their host names.

    `view` returns the snapshot in force, None during start-up. `update_names` receives the devices' host names by MAC
    and IP address.
    """

    def __init__(
        self,
        reader: JournalReader,
        record: Callable[[list[DeviceSeen | SystemEvent]], None],
        neighbours: Neighbours,
        view: Callable[[], LoadedSnapshot | None],
        update_names: Callable[[dict[str, str]], None],
    ) -> None:
        self._reader, self._record, self._neighbours, self._view, self._update_names = (
            reader,
            record,
            neighbours,
            view,
            update_names,
        )
        self._names = HostNameResolver()
        self._vendors = VendorLookup()
        self._host_names: dict[str, str] = {}
        self._reported: set[tuple[str, str, str]] = set()
        self._hour, self._new_in_hour = 0, 0

    async def run(self) -> None:
        """Scan until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._scan_devices())
            tasks.create_task(self._scan_names())

    async def _scan_devices(self) -> None:
        # Read before the workers report their clients, which count as new.
        known: set[str] = {row.device for row in await asyncio.to_thread(self._reader.devices, time.time())}
        problems: list[str] = []
        while True:
            await next_tick(SCAN_INTERVAL_S)
            before, problems = problems, await asyncio.to_thread(unreadable_lease_files)
            for problem in problems:
                if problem not in before:
                    log.warning("can't use a file of DHCP leases, so its devices have no names: %s", problem)
            view = self._view()
            if view is None:
                continue
            await asyncio.to_thread(self._find_vendors)
            self.report(view, await asyncio.to_thread(read_leases), known)

    async def _scan_names(self) -> None:
        """Look up host names, in a loop of its own since a lookup may take long."""
        while True:
            await next_tick(SCAN_INTERVAL_S)
            view, leases = self._view(), await asyncio.to_thread(read_leases)
            self._host_names = await self._names.find(leases, self._neighbours.entries(), time.time())
            if view is not None and any(device.hostnames for device in view.policy.devices.values()):
                self._update_names(self._host_names)

    def _find_vendors(self) -> None:
        """Load the vendors beforehand, so that `report` does not access the disk."""
        for mac in set(self._neighbours.entries().values()):
            self._vendors.vendor(mac)

    def report(self, view: LoadedSnapshot, leases: Iterable[Lease], known: set[str]) -> None:
        """Report new sightings. `known` are the ids of devices that were reported before."""
        now, neighbours = time.time(), self._neighbours.entries()
        names = {lease.mac: lease.name for lease in leases if is_credible(lease, neighbours, now)}
        for address, mac in sorted(neighbours.items(), key=lambda entry: ":" in entry[0]):
            if address.startswith("fe80:"):
                continue  # link-local: every device has another address too, and so has the provider's router
            device = view.rulesets.devices.find(address, mac)
            name = names.get(mac) or self._host_names.get(mac, "")
            if device is None or (device.id, address, name) in self._reported:
                continue
            if len(self._reported) >= MAX_SIGHTINGS:
                self._reported.clear()
            self._reported.add((device.id, address, name))
            ruleset = view.rulesets.ruleset(device, now)
            seen = DeviceSeen(now, device.id, address, mac, device.person, ruleset.profile, name)
            self._record([seen])
            if device.id not in known and not device.known:
                self._announce(seen)
            if len(known) < 16 * MAX_SIGHTINGS:
                known.add(device.id)

    def _announce(self, seen: DeviceSeen) -> None:
        """Record an event for a new device, unless there were too many in this hour."""
        hour = int(seen.when // 3600)
        self._hour, self._new_in_hour = hour, self._new_in_hour + 1 if hour == self._hour else 1
        if self._new_in_hour > MAX_NEW_PER_HOUR + 1:
            return
        if self._new_in_hour > MAX_NEW_PER_HOUR:
            detail = f"more than {MAX_NEW_PER_HOUR} within an hour: a device may be inventing addresses"
            log.warning("new on the network: %s", detail)
            self._record([SystemEvent(seen.when, "device", "many", detail)])
            return
        maker = self._vendors.vendor(seen.mac) if seen.mac else ""
        title = (seen.name or "a device without a name") + (f" ({maker})" if maker else "")
        detail = f"{title} at {seen.address}, under the rules of {seen.profile}"
        log.info("new on the network: %s (%s)", detail, seen.device)
        self._record([SystemEvent(seen.when, "device", seen.device, detail, seen)])


def read_leases(files: LeaseFiles = LEASE_FILES) -> list[Lease]:
    """All leases of the DHCP servers on this machine. Unusable files are skipped; see `unreadable_lease_files`."""
    leases: list[Lease] = []
    for place, parse in files:
        try:
            with _open_lease_file(Path(place)) as file:
                leases += parse(file.read(MAX_LEASE_FILE_BYTES).decode("utf-8", "replace"))
        except OSError:
            continue
    return leases


def is_credible(lease: Lease, neighbours: Mapping[str, str], now: float) -> bool:
    """Return whether a lease's name counts for its MAC address. It does not if another device is at its IP address.

    In DHCPv6 a device makes up the identifier from which the MAC address is read (RFC 8415 §11).
    """
    has_ended = lease.until is not None and lease.until <= now
    return bool(lease.name) and not has_ended and neighbours.get(lease.address, lease.mac) == lease.mac


def unreadable_lease_files(files: LeaseFiles = LEASE_FILES) -> list[str]:
    """A short text for each lease file that exists but can't be used."""
    problems: list[str] = []
    for place, _ in files:
        try:
            _open_lease_file(Path(place)).close()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            problems.append(f"{place}: {error.strerror or error}")
    return problems


def _open_lease_file(path: Path) -> BinaryIO:
    """Open a lease file. Raises OSError, also for a file that can't be trusted.

    In a world-writable directory such as /tmp, the file must belong to root or to us. Special files are refused without
    blocking.
    """
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    status = os.fstat(file.fileno())
    reason = ""
    if not stat.S_ISREG(status.st_mode):
        reason = "is not a regular file"
    elif path.parent.stat().st_mode & stat.S_IWOTH and status.st_uid not in {0, os.geteuid()}:
        reason = "could be anybody's, in a world-writable directory"
    elif status.st_size > MAX_LEASE_FILE_BYTES:
        reason = f"is larger than {MAX_LEASE_FILE_BYTES // 1024**2} MB"
    if reason:
        file.close()
        raise OSError(reason)
    return file


NAME_CACHE_S = 300.0
MAX_LABEL_LENGTH = 63  # RFC 1035 §2.3.4
LOOKUP_THREADS = 8
MAX_LOOKUPS = 64
"""Reverse lookups per scan; each may wait for the system's resolver."""


def reverse_name(address: str) -> str:
    """Look up the name of an address in hosts file and DNS (PTR), else ask the device by mDNS.

    Returns "" if it has none. Blocks.
    """
    try:
        return socket.getnameinfo((address, 0), socket.NI_NAMEREQD)[0]
    except OSError:
        return query_mdns_name(address)


def first_label(name: str) -> str:
    """The part of a host name that a policy writes; empty for an unprintable name, such as one with lines of a log.

    >>> first_label("Mias-Tablet.lan"), first_label("tv\\n2026-11-25 control: all is well")
    ('mias-tablet', '')
    """
    label = name.partition(".")[0].lower()
    return label if label.isprintable() and len(label) <= MAX_LABEL_LENGTH else ""


class HostNameResolver:
    """Host names by MAC and IP address, cached for some minutes. `reverse` may block: it runs in a thread."""

    def __init__(self, reverse: Callable[[str], str] = reverse_name) -> None:
        self._reverse = reverse
        self._asked: dict[str, tuple[float, str]] = {}

    async def find(self, leases: Iterable[Lease], neighbours: Mapping[str, str], now: float) -> dict[str, str]:
        """Map MAC addresses, or IP addresses without a known MAC, to first labels.

        `neighbours` maps IP to MAC addresses.
        """
        names = {lease.mac: first_label(lease.name) for lease in leases if is_credible(lease, neighbours, now)}
        unnamed = [
            (address, mac)
            for address, mac in sorted(neighbours.items())
            if mac not in names and not address.startswith("fe80:")
        ]
        limit = time.monotonic() - NAME_CACHE_S
        due = [address for address, _ in unnamed if self._asked.get(address, (limit, ""))[0] <= limit][:MAX_LOOKUPS]
        found = await asyncio.to_thread(self._ask, due)
        self._asked |= {address: (time.monotonic(), first_label(name)) for address, name in found}
        self._asked = {address: self._asked[address] for address, _ in unnamed if address in self._asked}
        return names | {mac: name for address, mac in unnamed if (name := self._asked.get(address, (0.0, ""))[1])}

    def _ask(self, addresses: list[str]) -> list[tuple[str, str]]:
        """Look up several names in parallel, since each lookup takes ten seconds if the system's resolver is silent."""
        if not addresses:
            return []
        with ThreadPoolExecutor(LOOKUP_THREADS, "host-names") as pool:
            return list(zip(addresses, pool.map(self._reverse, addresses), strict=True))
