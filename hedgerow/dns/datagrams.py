"""UDP, and the path of a query that is answered from the cache: found by its bytes, never parsed.

On Linux up to 64 datagrams are taken and answered with two system calls (`BatchListener`: recvmmsg and sendmmsg through ctypes, the
answers written over the queries in preallocated memory). Where that cannot be had, each costs two (`DatagramListener`).
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import logging
import socket
import sys
from array import array
from functools import partial
from typing import TYPE_CHECKING, Final

from hedgerow.dns.clients import Known
from hedgerow.dns.later import LATER
from hedgerow.dns.wire import SUFFIX_OCTETS

if TYPE_CHECKING:
    from hedgerow.dns.listeners import Server

log = logging.getLogger(__name__)

DRAIN: Final = 64  # datagrams taken at one wake-up, so that other sockets get their turn
_DRAIN_OF_MISSES: Final = 16  # the same after a wake-up with many misses, each of which takes as long as twenty hits
_SLOT: Final = 1232  # octets of a datagram's memory: the longest answer, and no sensible query is longer
_NAME: Final = 28  # struct sockaddr_in6, the longer of the two
_INDEXES: Final = range(DRAIN)
_SLOTS_AT: Final = tuple(_SLOT * index for index in _INDEXES)
_CONTROL: Final = 64  # room for one packet-info message
_PACKET_INFO: Final = {socket.AF_INET: (12, 16), socket.AF_INET6: (20, 16)}  # octets of the info, and where it starts
_DROPPED: Final = "hedgerow_dns_dropped_total"

type Ancillary = list[tuple[int, int, bytes]]


def listen_on(server: Server, sock: socket.socket) -> Listener:
    """The fastest listener that this system has."""
    try:
        return BatchListener(server, sock)
    except (OSError, AttributeError, NotImplementedError) as reason:
        log.info("datagrams are taken one by one: %s", reason)
        return DatagramListener(server, sock)


def note_packet_info(sock: socket.socket) -> bool:
    """Have the kernel tell to which of our addresses a datagram came, if the socket has several: answers must come from it."""
    if sock.getsockname()[0] not in ("0.0.0.0", "::"):  # noqa: S104
        return False
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
    return True


_IP_PKTINFO: Final = getattr(socket, "IP_PKTINFO", 8)  # named since Python 3.14


class Listener:
    """What both have in common: the slow path, and the end."""

    def __init__(self, server: Server, sock: socket.socket) -> None:
        self._server, self._socket = server, sock
        self._known = server.clients.known
        self._entries = server.resolver.answers.entries
        self._suffixes = server.resolver.suffixes
        self._several_addresses = note_packet_info(sock)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def _slow(self, data: bytes, key: str | bytes, known: Known | None, peer: tuple[str, int], ancillary: Ancillary) -> None:
        """Answer what the cache did not."""
        if known is None:
            known = self._server.clients.find(key, peer[0])
            if known is None:
                self._send(peer, ancillary, self._server.refuse(data))
                return
            if not self._server.admits(known):
                return
        message = self._server.miss(known, data, "udp", partial(self._send, peer, ancillary))
        if message is not LATER:
            self._send(peer, ancillary, message)

    def _send(self, peer: tuple[str, int], ancillary: Ancillary, message: bytes | None) -> None:
        if message is not None and self._socket.fileno() >= 0:
            try:
                if ancillary:
                    self._socket.sendmsg((message,), ancillary, 0, peer)
                else:
                    self._socket.sendto(message, peer)
            except OSError:
                self._server.count(_DROPPED, "send")

    def _count(self, began: float, hits: int, metered: int, over: int) -> None:
        """Count answers from the cache, queries of clients that have limits, and those that were over them."""
        server = self._server
        if hits:
            server.hit_seconds(server.resolver.clocks.steady() - began, hits)
        if metered:
            server.clients.limits.total.left -= metered
        if over:
            server.counters[_DROPPED, "limit"] = server.counters.get((_DROPPED, "limit"), 0.0) + over


class DatagramListener(Listener):
    """Takes datagrams one by one."""

    def __init__(self, server: Server, sock: socket.socket) -> None:
        super().__init__(server, sock)
        asyncio.get_running_loop().add_reader(sock, self._drain)

    def _drain(self) -> None:
        now = self._server.resolver.clocks.steady()
        self._server.clients.keep_time(now)
        receive, room = self._socket.recvmsg, _CONTROL if self._several_addresses else 0
        known_at, entries, suffixes = self._known, self._entries, self._suffixes
        free, spent = self._server.clients.limits.free, self._server.clients.limits.total.left <= 0
        hits = metered = over = 0
        for _ in range(DRAIN):
            try:
                data, ancillary, _, peer = receive(4096, room)
            except BlockingIOError:
                break
            except OSError:  # an earlier answer could not be delivered
                continue
            known = known_at.get(peer[0])
            # The name ends at the first zero: where a label holds one, the bytes before it are no key of any entry.
            end = data.find(0, 12) + 1
            if known is not None:
                bucket = known.bucket
                if bucket is not free:
                    if spent or bucket.left <= 0:
                        over += 1
                        continue
                    bucket.left -= 1
                    metered += 1
                entry = entries.get(known.prefix + data[2:end].lower() + suffixes.get(data[end : end + SUFFIX_OCTETS], b""))
                if entry is not None and (now < entry.due or entry.refresh(now)):
                    self._send(peer, ancillary, entry.message(data, end + 4))
                    known.hits[entry] += 1
                    hits += 1
                    continue
            self._slow(data, peer[0], known, peer, ancillary)
        self._count(now, hits, metered, over)


class Memory:
    """Memory for one batch, laid out as recvmmsg and sendmmsg want it (64-bit Linux); `headers` and `pieces` are words of 8 octets.

    A struct mmsghdr is eight words: address, its length, iovec, 1, control, its length, flags, octets received. A struct iovec is two:
    address, length.
    """

    def __init__(self) -> None:
        self._raw = [ctypes.create_string_buffer(size * DRAIN) for size in (_SLOT, _NAME, _CONTROL, 64, 16, 64)]
        slots, names, controls, headers, pieces, outgoing = (ctypes.addressof(raw) for raw in self._raw)
        views = [memoryview(raw).cast("B") for raw in self._raw]
        self.slots, self.names, self.controls = views[:3]
        self.headers, self.pieces, self.outgoing = (view.cast("Q") for view in views[3:])
        self.headers_at, self.outgoing_at = headers, outgoing
        for index in range(DRAIN):
            self.pieces[2 * index : 2 * index + 2] = memoryview(array("Q", (slots + _SLOT * index, _SLOT)))
            name, control, piece = names + _NAME * index, controls + _CONTROL * index, pieces + 16 * index
            self.headers[8 * index : 8 * index + 8] = memoryview(array("Q", (name, _NAME, piece, 1, control, _CONTROL, 0, 0)))
        self._fresh_headers, self._fresh_pieces = memoryview(bytes(self.headers)).cast("Q"), memoryview(bytes(self.pieces)).cast("Q")

    def reset(self) -> None:
        """Make all of it ready to receive."""
        self.headers[:] = self._fresh_headers
        self.pieces[:] = self._fresh_pieces

    def gather(self, indexes: list[int]) -> None:
        """Put the headers of these datagrams side by side into `outgoing`."""
        for place, index in enumerate(indexes):
            self.outgoing[8 * place : 8 * place + 8] = self.headers[8 * index : 8 * index + 8]


class BatchListener(Listener):
    """Takes and answers up to `DRAIN` datagrams with two system calls. Raises NotImplementedError where that is not to be had."""

    def __init__(self, server: Server, sock: socket.socket) -> None:
        if sys.platform != "linux" or ctypes.sizeof(ctypes.c_void_p) != 8 or sys.byteorder != "little":
            raise NotImplementedError("not a 64-bit little-endian Linux")
        super().__init__(server, sock)
        libc = ctypes.CDLL(None, use_errno=True)
        self._recvmmsg, self._sendmmsg = libc.recvmmsg, libc.sendmmsg
        self._recvmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)
        self._sendmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)
        self._memory = Memory()
        self._room = DRAIN
        self._file = sock.fileno()
        # Where a sockaddr holds what tells clients apart: the address, for IPv6 with its scope.
        start, stop = (8, 28) if sock.family == socket.AF_INET6 else (4, 8)
        self._keys = tuple(slice(_NAME * index + start, _NAME * index + stop) for index in range(DRAIN))
        asyncio.get_running_loop().add_reader(sock, self._drain)

    def _drain(self) -> None:
        memory = self._memory
        memory.reset()
        count = self._recvmmsg(self._file, memory.headers_at, self._room, socket.MSG_DONTWAIT, None)
        if count <= 0:
            self._nothing_received()
            return
        now = self._server.resolver.clocks.steady()
        self._server.clients.keep_time(now)
        known_at, entries, suffixes = self._known, self._entries, self._suffixes
        slots, pieces = memory.slots, memory.pieces
        received, names = bytes(slots[: count * _SLOT]), bytes(memory.names[: count * _NAME])
        answered: list[int] = []
        missed: list[tuple[int, bytes, bytes, Known | None]] = []
        free, spent = self._server.clients.limits.free, self._server.clients.limits.total.left <= 0
        metered = over = 0
        for index, at, name, size in zip(_INDEXES, _SLOTS_AT, self._keys, memory.headers[7 : 8 * count : 8].tolist(), strict=False):
            data = received[at : at + size]
            key = names[name]
            known = known_at.get(key)
            end = data.find(0, 12) + 1  # as above
            if known is not None:
                bucket = known.bucket
                if bucket is not free:
                    if spent or bucket.left <= 0:
                        over += 1
                        continue
                    bucket.left -= 1
                    metered += 1
                entry = entries.get(known.prefix + data[2:end].lower() + suffixes.get(data[end : end + SUFFIX_OCTETS], b""))
                if entry is not None and (now < entry.due or entry.refresh(now)):
                    entry.write(slots, at + 2, entry.head, data[12 : end + 4], entry.tail)
                    pieces[2 * index + 1] = entry.length
                    known.hits[entry] += 1
                    answered.append(index)
                    continue
            missed.append((index, data, key, known))
        if answered:
            self._send_batch(answered, count)
        self._count(now, len(answered), metered, over)
        self._room = DRAIN if len(missed) < _DRAIN_OF_MISSES else _DRAIN_OF_MISSES
        for index, data, key, known in missed:
            self._slow(data, key, known, *self._sender(index))

    def _send_batch(self, answered: list[int], count: int) -> None:
        at, left = self._memory.headers_at, len(answered)
        if left < count:
            self._memory.gather(answered)
            at = self._memory.outgoing_at
        while left:
            sent = self._sendmmsg(self._file, at, left, socket.MSG_DONTWAIT)
            if sent <= 0:  # the first of them could not be sent
                self._server.count(_DROPPED, "send")
                sent = 1
            at += 64 * sent
            left -= sent

    def _sender(self, index: int) -> tuple[tuple[str, int], Ancillary]:
        """Who sent a datagram, and what makes the answer leave from the address that it came to."""
        name = bytes(self._memory.names[index * _NAME : (index + 1) * _NAME])
        port = int.from_bytes(name[2:4])
        control = self._memory.controls[index * _CONTROL : (index + 1) * _CONTROL]
        length, start = _PACKET_INFO[self._socket.family]
        info = bytes(control[start : start + length]) if self._several_addresses else b""
        if self._socket.family == socket.AF_INET:
            ancillary = [(socket.IPPROTO_IP, _IP_PKTINFO, info)] if info else []
            return (socket.inet_ntop(socket.AF_INET, name[4:8]), port), ancillary
        ancillary = [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, info)] if info else []
        scope = int.from_bytes(name[24:28], sys.byteorder)
        peer = (socket.inet_ntop(socket.AF_INET6, name[8:24]), port, 0, scope)
        return peer, ancillary  # type: ignore[return-value]  # the address family decides how long it is

    def _nothing_received(self) -> None:
        if ctypes.get_errno() in (errno.ENOSYS, errno.EPERM):
            log.info("this system forbids recvmmsg: datagrams are taken one by one")
            asyncio.get_running_loop().remove_reader(self._socket)
            self._server.replace(self, DatagramListener(self._server, self._socket))
