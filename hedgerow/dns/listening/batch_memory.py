"""Memory for one batch of datagrams, laid out as recvmmsg and sendmmsg want it (64-bit Linux)."""

from __future__ import annotations

import ctypes
import mmap
import socket
import sys
from array import array
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Final

from hedgerow.dns.listening.clients import Key

BATCH: Final = 64  # datagrams taken at one wake-up, so that other sockets get their turn
_SLOT: Final = 1232  # octets of a datagram's memory: the longest answer, and no sensible query is longer
CONTROL: Final = 64  # room for one packet-info message
SLOTS_AT: Final = tuple(_SLOT * index for index in range(BATCH))
LENGTHS_AT: Final = tuple(2 * index + 1 for index in range(BATCH))  # of iovecs, in words
IP_PKTINFO: Final = getattr(socket, "IP_PKTINFO", 8)  # named since Python 3.14
_NAME: Final = 28  # struct sockaddr_in6, the longer of the two
_PACKET_INFO: Final = {socket.AF_INET: (12, 16), socket.AF_INET6: (20, 16)}  # octets of the info, and where it starts

type Ancillary = list[tuple[int, int, bytes]]
type Peer = tuple[str, int]


class Memory:
    """Memory for one batch, laid out as recvmmsg and sendmmsg want it (64-bit Linux).

    A struct mmsghdr (`headers`) is eight words of 8 octets: address, its length, iovec, 1, control, its length, flags, octets received. A
    struct iovec (`pieces`) is two: address, length. `slots` hold the datagrams: of the kinds of memory that Python has, an mmap is the one
    whose slices are bytes. `keys`, called with a number, gives what tells the senders of so many datagrams apart.
    """

    def __init__(self, family: socket.AddressFamily, *, packet_info: bool) -> None:
        self._family, self._packet_info = family, packet_info
        self.slots = mmap.mmap(-1, _SLOT * BATCH)
        self.names, self.controls = bytearray(_NAME * BATCH), bytearray(CONTROL * BATCH)
        slots, names, controls = (_address_of(memory) for memory in (self.slots, self.names, self.controls))
        self.pieces = array("Q", chain.from_iterable((slots + _SLOT * index, _SLOT) for index in range(BATCH)))
        pieces, room = _address_of(self.pieces), CONTROL if packet_info else 0
        self.headers = array(
            "Q",
            chain.from_iterable(
                (names + _NAME * index, _NAME, pieces + 16 * index, 1, controls + CONTROL * index, room, 0, 0) for index in range(BATCH)
            ),
        )
        self.outgoing = array("Q", bytes(64 * BATCH))
        self.headers_at, self.outgoing_at = (ctypes.c_void_p(_address_of(memory)) for memory in (self.headers, self.outgoing))
        self._fresh_headers, self._fresh_pieces = self.headers[:], self.pieces[:]
        self.keys = _keys_of(self.names, family)

    def reset(self) -> None:
        """Make all of it ready to receive. Of a header only the room for packet info shrinks: senders' addresses all have one length."""
        if self._packet_info:
            self.headers[:] = self._fresh_headers
        self.pieces[:] = self._fresh_pieces

    def gather(self, indexes: Sequence[int]) -> None:
        """Put the headers of these datagrams side by side into `outgoing`."""
        for place, index in enumerate(indexes):
            self.outgoing[8 * place : 8 * place + 8] = self.headers[8 * index : 8 * index + 8]

    def sender(self, index: int) -> tuple[Peer, Ancillary]:
        """Who sent a datagram, and what makes the answer leave from the address that it came to."""
        name = bytes(self.names[index * _NAME : (index + 1) * _NAME])
        port = int.from_bytes(name[2:4])
        length, start = _PACKET_INFO[self._family]
        at = index * CONTROL + start
        info = bytes(self.controls[at : at + length]) if self._packet_info else b""
        if self._family == socket.AF_INET:
            ancillary = [(socket.IPPROTO_IP, IP_PKTINFO, info)] if info else []
            return (socket.inet_ntop(socket.AF_INET, name[4:8]), port), ancillary
        ancillary = [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, info)] if info else []
        peer = (socket.inet_ntop(socket.AF_INET6, name[8:24]), port, 0, int.from_bytes(name[24:28], sys.byteorder))
        return peer, ancillary  # type: ignore[return-value]  # the address family decides how long it is


def _address_of(memory: mmap.mmap | bytearray | array[int]) -> int:
    """Where it begins; it must never grow."""
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def _keys_of(names: bytearray, family: socket.AddressFamily) -> Callable[[int], Sequence[Key]]:
    """Finds the address in each sockaddr, for IPv6 with its scope."""
    if family == socket.AF_INET:
        words = memoryview(names).cast("I")
        return lambda count: words[1 : 7 * count : 7].tolist()
    places = tuple(slice(_NAME * index + 8, _NAME * index + 28) for index in range(BATCH))
    return lambda count: [bytes(names[place]) for place in places[:count]]
