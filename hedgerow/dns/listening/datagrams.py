"""UDP, and the path of a query that is answered from the cache: found by its bytes, never parsed.

On Linux up to 64 datagrams are taken and answered with two system calls (`BatchListener`: recvmmsg and sendmmsg through ctypes, the
answers written over the queries in preallocated memory). Where that cannot be had, each costs two (`DatagramListener`).
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import logging
import mmap
import socket
import sys
from array import array
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from typing import Final, NamedTuple

from hedgerow.dns.cache import learn_wording
from hedgerow.dns.later import LATER
from hedgerow.dns.listening.clients import Key, Known
from hedgerow.dns.listening.lines import Lines
from hedgerow.dns.listening.responder import DROPPED, Responder
from hedgerow.dns.wire import SUFFIX_OCTETS

log = logging.getLogger(__name__)

DRAIN: Final = 64  # datagrams taken at one wake-up, so that other sockets get their turn
_SLOT: Final = 1232  # octets of a datagram's memory: the longest answer, and no sensible query is longer
_NAME: Final = 28  # struct sockaddr_in6, the longer of the two
_SLOTS_AT: Final = tuple(_SLOT * index for index in range(DRAIN))
_LENGTHS_AT: Final = tuple(2 * index + 1 for index in range(DRAIN))  # of iovecs, in words
_CONTROL: Final = 64  # room for one packet-info message
_PACKET_INFO: Final = {socket.AF_INET: (12, 16), socket.AF_INET6: (20, 16)}  # octets of the info, and where it starts

_FORBIDDEN: Final = (errno.ENOSYS, errno.EPERM)  # by an old kernel, or by a sandbox

type Ancillary = list[tuple[int, int, bytes]]
type Peer = tuple[str, int]


class _Miss(NamedTuple):
    key: Key
    data: bytes
    peer: Peer
    ancillary: Ancillary


def listen_on(responder: Responder, sock: socket.socket) -> Listener:
    """The fastest listener that this system has."""
    try:
        return BatchListener(responder, sock)
    except (OSError, AttributeError, NotImplementedError) as reason:
        log.info("datagrams are taken one by one: %s", reason)
        return DatagramListener(responder, sock)


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

    def __init__(self, responder: Responder, sock: socket.socket) -> None:
        self._responder, self._socket = responder, sock
        self._known = responder.clients.known
        self._entries = responder.resolver.answers.entries
        self._suffixes = responder.resolver.suffixes
        self._several_addresses = note_packet_info(sock)
        self._misses: Lines[_Miss] = Lines(self._work, lambda: responder.count(DROPPED, "overload"))

    def close(self) -> None:
        self._misses.close()
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def _slow(self, data: bytes, key: Key, known: Known | None, peer: Peer, ancillary: Ancillary) -> None:
        """Answer what the cache did not, or put it into its line."""
        if known is None:
            known = self._responder.asker(key, peer[0], data)
            if known is None:
                self._send(peer, ancillary, self._responder.refuse(data))
                return
            if not self._responder.admits(known):
                return
            message = self._responder.cached(known, data, "udp")
            if message is not None:
                self._send(peer, ancillary, message)
                return
        self._misses.add(known.bucket, _Miss(key, data, peer, ancillary))

    def _work(self, miss: _Miss) -> None:
        known = self._responder.asker(miss.key, miss.peer[0], miss.data)  # while it stood in line, other rules may have come
        if known is None:
            return
        send = partial(self._send, miss.peer, miss.ancillary)
        message = self._responder.miss(known, miss.data, "udp", send)
        if message is not LATER:
            send(message)

    def _send(self, peer: Peer, ancillary: Ancillary, message: bytes | None) -> None:
        if message is not None and self._socket.fileno() >= 0:
            try:
                if ancillary:
                    self._socket.sendmsg((message,), ancillary, 0, peer)
                else:
                    self._socket.sendto(message, peer)
            except OSError:
                self._responder.count(DROPPED, "send")

    def _count(self, began: float, hits: int, metered: int, over: int) -> None:
        """Count answers from the cache, queries of clients that have limits, and those that were over them."""
        responder = self._responder
        if hits:
            responder.hit_seconds(responder.resolver.clocks.steady() - began, hits)
        if metered:
            responder.clients.limits.total.left -= metered
        if over:
            responder.count(DROPPED, "limit", by=over)


class DatagramListener(Listener):
    """Takes datagrams one by one."""

    def __init__(self, responder: Responder, sock: socket.socket) -> None:
        super().__init__(responder, sock)
        asyncio.get_running_loop().add_reader(sock, self._drain)

    def _drain(self) -> None:
        clients = self._responder.clients
        now = self._responder.resolver.clocks.steady()
        clients.keep_time(now)
        receive, room = self._socket.recvmsg, _CONTROL if self._several_addresses else 0
        known_at, entries, suffixes = self._known, self._entries, self._suffixes
        free, spent = clients.limits.free, clients.limits.total.left <= 0
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
        self._misses.turn()


class Memory:
    """Memory for one batch, laid out as recvmmsg and sendmmsg want it (64-bit Linux).

    A struct mmsghdr (`headers`) is eight words of 8 octets: address, its length, iovec, 1, control, its length, flags, octets received. A
    struct iovec (`pieces`) is two: address, length. `slots` hold the datagrams: of the kinds of memory that Python has, an mmap is the one
    whose slices are bytes.
    """

    def __init__(self) -> None:
        self.slots = mmap.mmap(-1, _SLOT * DRAIN)
        self.names, self.controls = bytearray(_NAME * DRAIN), bytearray(_CONTROL * DRAIN)
        slots, names, controls = (_address_of(memory) for memory in (self.slots, self.names, self.controls))
        self.pieces = array("Q", chain.from_iterable((slots + _SLOT * index, _SLOT) for index in range(DRAIN)))
        pieces = _address_of(self.pieces)
        self.headers = array(
            "Q",
            chain.from_iterable(
                (names + _NAME * index, _NAME, pieces + 16 * index, 1, controls + _CONTROL * index, _CONTROL, 0, 0)
                for index in range(DRAIN)
            ),
        )
        self.outgoing = array("Q", bytes(64 * DRAIN))
        self.headers_at, self.outgoing_at = _address_of(self.headers), _address_of(self.outgoing)
        self._fresh_headers, self._fresh_pieces = self.headers[:], self.pieces[:]

    def reset(self) -> None:
        """Make all of it ready to receive."""
        self.headers[:] = self._fresh_headers
        self.pieces[:] = self._fresh_pieces

    def gather(self, indexes: Sequence[int]) -> None:
        """Put the headers of these datagrams side by side into `outgoing`."""
        for place, index in enumerate(indexes):
            self.outgoing[8 * place : 8 * place + 8] = self.headers[8 * index : 8 * index + 8]


def _address_of(memory: mmap.mmap | bytearray | array[int]) -> int:
    """Where it begins; it must never grow."""
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


class BatchListener(Listener):
    """Takes and answers up to `DRAIN` datagrams with two system calls. Raises NotImplementedError where that is not to be had."""

    def __init__(self, responder: Responder, sock: socket.socket) -> None:
        if sys.platform != "linux" or ctypes.sizeof(ctypes.c_void_p) != 8 or sys.byteorder != "little":
            raise NotImplementedError("not a 64-bit little-endian Linux")
        libc = ctypes.CDLL(None, use_errno=True)
        self._recvmmsg, self._sendmmsg = libc.recvmmsg, libc.sendmmsg
        self._recvmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)
        self._sendmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)
        self._file = sock.fileno()
        self._memory = Memory()
        if self._recvmmsg(self._file, self._memory.headers_at, 0, socket.MSG_DONTWAIT, None) < 0 and ctypes.get_errno() in _FORBIDDEN:
            raise NotImplementedError("this system forbids recvmmsg")
        super().__init__(responder, sock)
        self._wordings = responder.resolver.wordings
        self._keys = _keys_of(self._memory, sock.family)
        asyncio.get_running_loop().add_reader(sock, self._drain)

    def _drain(self) -> None:
        memory = self._memory
        memory.reset()
        count = self._recvmmsg(self._file, memory.headers_at, DRAIN, socket.MSG_DONTWAIT, None)
        if count <= 0:
            return
        clients = self._responder.clients
        now = self._responder.resolver.clocks.steady()
        clients.keep_time(now)
        known_at, entries, suffixes, wordings = self._known, self._entries, self._suffixes, self._wordings
        slots, pieces = memory.slots, memory.pieces
        missed: list[tuple[int, bytes, Key, Known | None]] = []
        free, spent = clients.limits.free, clients.limits.total.left <= 0
        metered = 0
        over: list[int] = []
        for at, length_at, key, size in zip(_SLOTS_AT, _LENGTHS_AT, self._keys(count), memory.headers[7 : 8 * count : 8], strict=False):
            words = slots[at + 2 : at + size]  # all but the id
            known = known_at.get(key)
            if known is None:
                missed.append((at, words, key, known))
                continue
            bucket = known.bucket
            if bucket is not free:
                if spent or bucket.left <= 0:
                    over.append(at)
                    continue
                bucket.left -= 1
                metered += 1
            prefix = known.prefix
            entry = wordings.get(prefix + words)
            if entry is not None and now < entry.due:
                slots[at + 2 : at + entry.length] = entry.rest
            else:
                end = words.find(0, 10) + 1  # as above
                folded = words[:end].lower()
                entry = entries.get(prefix + folded + suffixes.get(words[end : end + SUFFIX_OCTETS], b""))
                if entry is None or not (now < entry.due or entry.refresh(now)):
                    missed.append((at, words, key, known))
                    continue
                slots[at + 2 : at + entry.length] = entry.rest
                if words.startswith(folded):
                    learn_wording(wordings, prefix, words, end, entry)
                else:
                    slots[at + 2 + 10 : at + 2 + end] = words[10:end]  # the asker's own letters
            pieces[length_at] = entry.length
            known.hits[entry] += 1
        hits = count - len(missed) - len(over)
        if hits:
            self._send_batch(hits, count, {*over, *[each[0] for each in missed]})
        self._count(now, hits, metered, len(over))
        for at, words, key, known in missed:
            self._slow(slots[at : at + 2] + words, key, known, *self._sender(at // _SLOT))
        if missed:
            self._misses.turn()

    def _send_batch(self, hits: int, count: int, unanswered: set[int]) -> None:
        """Send what has been written into the slots, but for those at `unanswered`."""
        at = self._memory.headers_at
        if unanswered:
            self._memory.gather([index for index in range(count) if _SLOTS_AT[index] not in unanswered])
            at = self._memory.outgoing_at
        while hits:
            sent = self._sendmmsg(self._file, at, hits, socket.MSG_DONTWAIT)
            if sent <= 0:  # the first of them could not be sent
                self._responder.count(DROPPED, "send")
                sent = 1
            at += 64 * sent
            hits -= sent

    def _sender(self, index: int) -> tuple[Peer, Ancillary]:
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


def _keys_of(memory: Memory, family: socket.AddressFamily) -> Callable[[int], Sequence[Key]]:
    """What tells the senders of so many datagrams apart: the address in each sockaddr, for IPv6 with its scope."""
    if family == socket.AF_INET:
        words = memoryview(memory.names).cast("I")
        return lambda count: words[1 : 7 * count : 7].tolist()
    names = memory.names
    places = tuple(slice(_NAME * index + 8, _NAME * index + 28) for index in range(DRAIN))
    return lambda count: [bytes(names[place]) for place in places[:count]]
