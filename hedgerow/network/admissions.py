"""Admitted destinations: the addresses that the resolver lately gave each device, to which a guarded device may open
connections.

Pure: the bounded table of them, their form in the kernel's sets, and the messages by which DNS workers have addresses
admitted. Addresses are packed (4 or 16 octets). A source is what the gateway knows a device by: its MAC address (6
octets) or, where another router is in between, its IP address, which then counts for destinations of the same family
only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from struct import Struct
from typing import Final, NamedTuple

from hedgerow.network.nft_sets import SetElement

ADMITTED_SETS: Final = {(6, 4): "admitted_v4", (6, 16): "admitted_v6", (4, 4): "routed_v4", (16, 16): "routed_v6"}
"""The kernel's sets, by the octets of a source and a destination, which together are a key."""
MAX_PER_DEVICE: Final = 2048
MAX_SOURCES: Final = 1024
MAX_DESTINATIONS: Final = 32_768  # of all devices; the kernel keeps some 200 octets for each
SET_SIZE: Final = 2 * MAX_DESTINATIONS  # a transaction adds before it removes
MAX_ADDRESSES: Final = 64
"""Addresses of one answer that are admitted. No client tries more."""
_REQUEST: Final = Struct("!IIB")
_ADDRESS_OCTETS: Final = (4, 16)
_REPLY: Final = Struct("!I?")
REPLY_OCTETS: Final = _REPLY.size


class AdmissionRequest(NamedTuple):
    """A worker's request to admit addresses for a source for some seconds. The reply has the same `number`."""

    number: int
    source: bytes
    seconds: int
    addresses: tuple[bytes, ...]

    def pack(self) -> bytes:
        head = _REQUEST.pack(self.number, self.seconds, len(self.source)) + self.source
        return head + b"".join(bytes((len(address),)) + address for address in self.addresses)

    @property
    def destinations(self) -> tuple[Destination, ...]:
        """The destinations that the gateway can admit."""
        size = len(self.source)
        return tuple(
            Destination(self.source, address) for address in self.addresses if (size, len(address)) in ADMITTED_SETS
        )


def parse_request(datagram: bytes) -> AdmissionRequest | None:
    """Return the request in a datagram, None for a malformed one.

    >>> parse_request(AdmissionRequest(7, b"abcdef", 60, (bytes(4), bytes(16))).pack()).number
    7
    """
    if len(datagram) < _REQUEST.size:
        return None
    number, seconds, size = _REQUEST.unpack_from(datagram)
    at = _REQUEST.size + size
    source = datagram[_REQUEST.size : at]
    addresses: list[bytes] = []
    if len(source) != size:
        return None
    while at < len(datagram):
        size = datagram[at]
        address = datagram[at + 1 : at + 1 + size]
        if size not in _ADDRESS_OCTETS or len(address) != size or len(addresses) >= MAX_ADDRESSES:
            return None
        addresses.append(address)
        at += 1 + size
    return AdmissionRequest(number, source, seconds, tuple(addresses))


def pack_reply(number: int, *, is_admitted: bool) -> bytes:
    return _REPLY.pack(number, is_admitted)


def parse_reply(datagram: bytes) -> tuple[int, bool] | None:
    """Return the request's number and whether its addresses are admitted; None for a malformed reply."""
    if len(datagram) != _REPLY.size:
        return None
    number, is_admitted = _REPLY.unpack(datagram)
    return number, is_admitted


class Destination(NamedTuple):
    """An address to which the device that is known by `source` may open connections."""

    source: bytes
    address: bytes

    @property
    def set_name(self) -> str:
        return ADMITTED_SETS[len(self.source), len(self.address)]

    def element(self, seconds: int) -> SetElement:
        return SetElement(self.source + bytes(-len(self.source) % 4) + self.address, seconds)


def elements_by_set(destinations: Iterable[tuple[Destination, int]]) -> dict[str, list[SetElement]]:
    """Return destinations, with the seconds that they have left, as elements by the names of their sets."""
    found: dict[str, list[SetElement]] = {}
    for destination, seconds in destinations:
        found.setdefault(destination.set_name, []).append(destination.element(seconds))
    return found


class DestinationTable:
    """The admitted destinations of all devices, with the instants at which they end.

    Each device has a share, and the oldest of its own make room for new ones. If all devices together have too many,
    the device with the most gives way, and of those the one that came last. Too many devices displace the last one, so
    that whoever invents sources displaces their own.
    """

    def __init__(
        self, per_device: int = MAX_PER_DEVICE, total: int = MAX_DESTINATIONS, sources: int = MAX_SOURCES
    ) -> None:
        self._per_device, self._total, self._sources = per_device, total, sources
        self._devices: dict[bytes, dict[bytes, float]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def admit(self, destinations: Sequence[Destination], until: float) -> list[Destination]:
        """Admit destinations until an instant. Returns those that had to make room."""
        removed = []
        for source, address in destinations:
            if source not in self._devices and len(self._devices) >= self._sources:
                last = next(reversed(self._devices))
                removed += [self._remove_oldest(last) for _ in range(len(self._devices[last]))]
            device = self._devices.setdefault(source, {})
            until_before = device.pop(address, None)
            self._count += until_before is None
            device[address] = max(until, until_before or 0.0)
            if len(device) > self._per_device:
                removed.append(self._remove_oldest(source))
        while self._count > self._total:
            largest = max(reversed(self._devices), key=lambda each: len(self._devices[each]))
            removed.append(self._remove_oldest(largest))
        return removed

    def drop_expired(self, now: float) -> None:
        for source, device in list(self._devices.items()):
            for address in [address for address, until in device.items() if until <= now]:
                self._remove(source, address)

    def left(self, now: float) -> Iterator[tuple[Destination, int]]:
        """Yield all destinations with the seconds that they have left, at least one."""
        for source, device in self._devices.items():
            for address, until in device.items():
                if until > now:
                    yield Destination(source, address), max(1, int(until - now))

    def _remove_oldest(self, source: bytes) -> Destination:
        address = next(iter(self._devices[source]))
        self._remove(source, address)
        return Destination(source, address)

    def _remove(self, source: bytes, address: bytes) -> None:
        device = self._devices[source]
        del device[address]
        self._count -= 1
        if not device:
            del self._devices[source]
