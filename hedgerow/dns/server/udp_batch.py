"""Memory for one batch of datagrams, laid out as recvmmsg and sendmmsg require (64-bit Linux)."""

from __future__ import annotations

import ctypes
import mmap
import socket
import struct
from array import array
from collections.abc import Callable, Hashable, Sequence
from typing import Final

from hedgerow.dns.server.clients import ClientKey
from hedgerow.dns.upstreams.datagrams import DatagramSlots, pointer_to
from hedgerow.sockets import IP_PKTINFO

BATCH_SIZE: Final = 128  # datagrams received at once
SLOT_OCTETS: Final = 1232  # of a datagram's memory: the longest answer, and no sensible query is longer
CONTROL_OCTETS: Final = 64  # room for one packet-info message
SLOT_OFFSETS: Final = tuple(SLOT_OCTETS * index for index in range(BATCH_SIZE))
LENGTH_OFFSETS: Final = tuple(2 * index + 1 for index in range(BATCH_SIZE))  # of iovecs, in words
_SOCKADDR_OCTETS: Final = 28  # struct sockaddr_in6, the longer of the two
_SOCKADDR_STRIDE: Final = 32
_MAX_SEGMENTS: Final = 48  # answers in one datagram at most: 64 is the kernel's limit, and 64 kB that of a datagram
_INDEX_BITS: Final = (BATCH_SIZE - 1).bit_length()  # of a datagram's index in its batch
_LENGTH_BITS: Final = SLOT_OCTETS.bit_length()  # of its length; both are in one number
# a control message: its length, SOL_UDP, UDP_SEGMENT, octets of each answer
_SEGMENT: Final = struct.Struct("=QiiHxxxxxx")
_SOL_UDP, _UDP_SEGMENT = socket.IPPROTO_UDP, 103
_CONTROL: Final = struct.Struct("=Qii")  # the header of a control message: its length, level, type
_PACKET_INFO_TYPE: Final = {
    socket.AF_INET: (socket.IPPROTO_IP, IP_PKTINFO),
    socket.AF_INET6: (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO),
}
_PACKET_INFO: Final = {socket.AF_INET: (12, 16), socket.AF_INET6: (20, 16)}  # octets of the info, and its offset

type Ancillary = list[tuple[int, int, bytes]]
type Peer = tuple[str, int]
type Sender = tuple[bytes, bytes]
"""A struct sockaddr, and the octets of the packet info, if there is one."""

_SO_MEMINFO: Final = 55  # asm-generic/socket.h: nine numbers, see linux/sock_diag.h
_MEMORY_INFO: Final = struct.Struct("=II")


class BatchBuffers(DatagramSlots):
    """The buffers of one batch, with room for the senders' addresses and packet info.

    `outgoing` are headers of answers. `keys(count)` returns a key for the sender of each of the first `count`
    datagrams.
    """

    def __init__(self, family: socket.AddressFamily, *, packet_info: bool) -> None:
        self._family, self._packet_info = family, packet_info
        self.names, self.controls = (
            mmap.mmap(-1, _SOCKADDR_STRIDE * BATCH_SIZE),
            mmap.mmap(-1, CONTROL_OCTETS * BATCH_SIZE),
        )
        names, controls, room = pointer_to(self.names), pointer_to(self.controls), CONTROL_OCTETS if packet_info else 0
        super().__init__(
            *(BATCH_SIZE, SLOT_OCTETS),
            [
                (names + _SOCKADDR_STRIDE * n, _SOCKADDR_OCTETS, controls + CONTROL_OCTETS * n, room)
                for n in range(BATCH_SIZE)
            ],
        )
        self.outgoing = array("Q", bytes(64 * BATCH_SIZE))
        self.outgoing_at = ctypes.c_void_p(pointer_to(self.outgoing))
        self._fresh_headers, self._fresh_pieces = self.headers[:], self.iovecs[:]
        self.keys, self._senders = (
            _address_reader(self.names, family),
            _flow_reader(self.names, self.controls, family, packet_info=packet_info),
        )
        self._joined_pieces = array("Q", bytes(16 * BATCH_SIZE))
        self._joined_at = pointer_to(self._joined_pieces)
        self._segment_at = _cmsg_space(_PACKET_INFO[family][0]) if packet_info else 0

    def reset(self) -> None:
        """Prepare the buffers to receive.

        Of a header only the room for packet info shrinks, since addresses have one length.
        """
        if self._packet_info:
            self.headers[:] = self._fresh_headers
        self.iovecs[:] = self._fresh_pieces

    def gather(self, indexes: Sequence[int]) -> None:
        """Copy the headers of these datagrams side by side into `outgoing`."""
        for place, index in enumerate(indexes):
            self.outgoing[8 * place : 8 * place + 8] = self.headers[8 * index : 8 * index + 8]

    def join(self, indexes: Sequence[int]) -> list[list[int]]:
        """Write headers into `outgoing` that send all answers to one socket as one datagram.

        Returns the answers in each datagram.

        The kernel cuts it on delivery (UDP_SEGMENT, since Linux 4.18), so that its way there is paid for once. All
        answers in one have one length, but the last may be shorter. Returns no groups if too few answers are for the
        same socket.
        """
        senders, lengths = self._senders(), self.iovecs[1::2]
        different = {senders[index] for index in indexes}
        if 2 * len(different) > len(indexes):
            return []
        numbers = {sender: number << _LENGTH_BITS + _INDEX_BITS for number, sender in enumerate(different)}
        keys = [numbers[senders[index]] | lengths[index] << _INDEX_BITS | index for index in indexes]
        keys.sort(reverse=True)  # by socket, the longest first
        groups, flat = list[list[int]](), list[int]()
        group, alike, same = list[int](), -1, -1
        for key in keys:
            index = key & BATCH_SIZE - 1
            if key >> _INDEX_BITS == alike and len(group) < _MAX_SEGMENTS:
                group.append(index)
            elif key >> _LENGTH_BITS + _INDEX_BITS == same and len(group) < _MAX_SEGMENTS:
                group.append(index)
                alike = same = -1  # a shorter answer must be the last
            else:
                group, alike, same = [index], key >> _INDEX_BITS, key >> _LENGTH_BITS + _INDEX_BITS
                groups.append(group)
            flat += (self._fresh_pieces[2 * index], lengths[index])
        self._joined_pieces[: len(flat)] = array("Q", flat)
        self._address(groups, lengths)
        return groups

    def _address(self, groups: Sequence[Sequence[int]], lengths: Sequence[int]) -> None:
        """Write the headers of joined answers."""
        headers, flat, at = self.headers, list[int](), self._joined_at
        for group in groups:
            first = group[0]
            name, name_length, _, _, control, control_length, _, _ = headers[8 * first : 8 * first + 8]
            if len(group) > 1:
                place = CONTROL_OCTETS * first + self._segment_at
                _SEGMENT.pack_into(self.controls, place, 18, _SOL_UDP, _UDP_SEGMENT, lengths[first])
                control_length = self._segment_at + _SEGMENT.size
            flat += (name, name_length, at, len(group), control, control_length, 0, 0)
            at += 16 * len(group)
        self.outgoing[: len(flat)] = array("Q", flat)

    def put(self, index: int, sender: Sender, message: bytes) -> None:
        """Write a message to a sender into a slot, to be sent."""
        name, info = sender
        at, place = SLOT_OFFSETS[index], index * _SOCKADDR_STRIDE
        self.slots[at : at + len(message)] = message
        self.iovecs[2 * index + 1] = len(message)
        self.names[place : place + _SOCKADDR_OCTETS] = name
        if info:
            length, start = _PACKET_INFO[self._family]
            at = index * CONTROL_OCTETS + start
            _CONTROL.pack_into(self.controls, at - start, start + length, *_PACKET_INFO_TYPE[self._family])
            self.controls[at : at + length] = info
            self.headers[8 * index + 5] = _cmsg_space(length)

    def sender(self, index: int) -> Sender:
        """Return a copy of a datagram's sender, and of our address that it was sent to."""
        name = self.names[index * _SOCKADDR_STRIDE : index * _SOCKADDR_STRIDE + _SOCKADDR_OCTETS]
        if not self._packet_info:
            return name, b""
        length, start = _PACKET_INFO[self._family]
        at = index * CONTROL_OCTETS + start
        return name, self.controls[at : at + length]


def address_of(sender: Sender, family: socket.AddressFamily) -> str:
    """Return the address of a sender."""
    name, _ = sender
    return socket.inet_ntop(family, name[4:8] if family == socket.AF_INET else name[8:24])


def is_crowded(sock: socket.socket) -> bool:
    """Return whether the datagrams that wait in the kernel fill more than half of the socket's buffer.

    Linux before 4.6: never.
    """
    try:
        taken, room = _MEMORY_INFO.unpack_from(sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 36))
    except OSError:
        return False
    return bool(2 * taken > room)


def supports_udp_gso(sock: socket.socket) -> bool:
    """Return whether the kernel knows UDP_SEGMENT. One that does not may ignore it, and send joined answers as one."""
    try:
        sock.getsockopt(_SOL_UDP, _UDP_SEGMENT)
    except OSError:
        return False
    return True


def _cmsg_space(octets: int) -> int:
    """Return the size of a control message with this many octets (CMSG_SPACE)."""
    return 16 + (octets + 7) // 8 * 8


def _address_reader(names: mmap.mmap, family: socket.AddressFamily) -> Callable[[int], Sequence[ClientKey]]:
    """Return a function that reads the address in each sockaddr, for IPv6 with its scope."""
    if family == socket.AF_INET:
        words = memoryview(names).cast("I")
        return lambda count: words[1 : 8 * count : 8].tolist()
    places = tuple(
        slice(_SOCKADDR_STRIDE * index + 8, _SOCKADDR_STRIDE * index + _SOCKADDR_OCTETS) for index in range(BATCH_SIZE)
    )
    return lambda count: [names[place] for place in places[:count]]


def _flow_reader(
    names: mmap.mmap, controls: mmap.mmap, family: socket.AddressFamily, *, packet_info: bool
) -> Callable[[], Sequence[Hashable]]:
    """Return a function that reads the sender's address and port, and our address, of all datagrams."""
    if family == socket.AF_INET:
        words, infos = memoryview(names).cast("Q"), memoryview(controls).cast("Q")
        if packet_info:
            return lambda: list(zip(words[::4].tolist(), infos[2 :: CONTROL_OCTETS // 8].tolist(), strict=True))
        return lambda: words[::4].tolist()
    places = [
        slice(_SOCKADDR_STRIDE * index, _SOCKADDR_STRIDE * index + _SOCKADDR_OCTETS) for index in range(BATCH_SIZE)
    ]
    if packet_info:
        ours = [slice(CONTROL_OCTETS * index + 16, CONTROL_OCTETS * index + 36) for index in range(BATCH_SIZE)]
        return lambda: [names[place] + controls[info] for place, info in zip(places, ours, strict=True)]
    return lambda: [names[place] for place in places]
