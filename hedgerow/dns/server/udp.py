"""DNS over UDP: the hot path, where a query is found in the cache by its bytes and never parsed.

On Linux up to 128 datagrams are received and answered with two system calls (`BatchUdpListener`: recvmmsg and sendmmsg through ctypes,
answers written over the queries in preallocated memory). Elsewhere each takes two (`SimpleUdpListener`).

Under load two things make queries cheaper: a moment's pause, so that the next batch is large (network cards moderate interrupts likewise),
and answers to one socket that leave as one datagram and are cut on arrival.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import logging
import socket
import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import Final, NamedTuple

from hedgerow.dns.cache import CacheEntry
from hedgerow.dns.server.admission import DEFERRED
from hedgerow.dns.server.clients import ClientEntry, ClientKey, RawQueryEntry
from hedgerow.dns.server.rate_limits import FairQueue
from hedgerow.dns.server.responder import DROPPED_METRIC, Responder
from hedgerow.dns.server.udp_batch import (
    BATCH_SIZE,
    CONTROL_OCTETS,
    LENGTH_OFFSETS,
    SLOT_OCTETS,
    SLOT_OFFSETS,
    Ancillary,
    BatchBuffers,
    Peer,
    supports_udp_gso,
)
from hedgerow.dns.wire import EDE_OPTION_PREFIX, SUFFIX_OCTETS
from hedgerow.sockets import enable_packet_info

log = logging.getLogger(__name__)

_BATCHES_PER_WAKEUP: Final = 4  # per wake-up, so that other sockets get their turn
_BUSY_BATCH: Final = 8  # datagrams: more are likely to have come meanwhile
_PAUSE_S: Final = 0.0001
_MIN_GSO_ANSWERS: Final = 8  # answers at once
_GSO_ERRORS: Final = (errno.EINVAL, errno.EIO, errno.EMSGSIZE, errno.ENOPROTOOPT, errno.EOPNOTSUPP)
_UNAVAILABLE_ERRORS: Final = (errno.ENOSYS, errno.EPERM)  # from an old kernel, or in a sandbox


type _CacheMiss = tuple[int, bytes, ClientKey, ClientEntry | None]
"""The offset of a query's slot, its octets behind the id, and the client."""


class _QueuedQuery(NamedTuple):
    client: ClientEntry
    data: bytes
    peer: Peer
    ancillary: Ancillary


def open_udp_listener(responder: Responder, sock: socket.socket) -> UdpListener:
    """Return the fastest listener that this system supports."""
    try:
        return BatchUdpListener(responder, sock)
    except (OSError, AttributeError, NotImplementedError) as reason:
        log.info("Datagrams are received one by one: %s", reason)
        return SimpleUdpListener(responder, sock)


class UdpListener:
    """The parts that both listeners share: misses, and sending."""

    def __init__(self, responder: Responder, sock: socket.socket) -> None:
        self._responder, self._socket = responder, sock
        self._known = responder.clients.known
        self._entries = responder.resolver.answers.entries
        self._suffixes = responder.resolver.answers.suffixes["udp"]
        self._several_addresses = enable_packet_info(sock)
        self._misses: FairQueue[_QueuedQuery] = FairQueue(self._work, lambda: responder.count(DROPPED_METRIC, "overload"))

    def close(self) -> None:
        self._misses.close()
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def _answer_miss(self, data: bytes, key: ClientKey, client: ClientEntry | None, peer: Peer, ancillary: Ancillary) -> None:
        """Queue a query that the cache did not answer; answer it at once if only its client was unknown."""
        if client is None:
            address = peer[0]
            if self._responder.load_balancers.sends_header(address):
                unwrapped = self._responder.load_balancers.unwrap(address, data)
                if unwrapped is None:
                    return
                address, data = unwrapped
                key = address
            client = self._responder.client_for(key, address, data)
            if client is None:
                self._send(peer, ancillary, self._responder.refuse(data))
                return
            if not self._responder.admits(client):
                return
            message = self._responder.cached(client, data, "udp")
            if message is not None:
                self._send(peer, ancillary, message)
                return
        self._misses.add(client.bucket, _QueuedQuery(client, data, peer, ancillary))

    def _work(self, miss: _QueuedQuery) -> None:
        client = self._responder.clients.find_again(miss.client)  # other rules may have come into force while it was queued
        if client is None:
            return
        send = partial(self._send, miss.peer, miss.ancillary)
        message = self._responder.miss(client, miss.data, "udp", send)
        if message is not DEFERRED:
            send(message)

    def _send(self, peer: Peer, ancillary: Ancillary, message: bytes | None) -> None:
        if message is not None and self._socket.fileno() >= 0:
            try:
                if ancillary:
                    self._socket.sendmsg((message,), ancillary, 0, peer)
                else:
                    self._socket.sendto(message, peer)
            except OSError:
                self._responder.count(DROPPED_METRIC, "send")

    def _count(self, began: float, hits: int, over: int) -> None:
        """Count answers from the cache, and queries over a limit."""
        responder = self._responder
        if hits:
            responder.hit_seconds(responder.resolver.clocks.steady() - began, hits)
        if over:
            responder.count(DROPPED_METRIC, "limit", by=over)


class SimpleUdpListener(UdpListener):
    """Receives datagrams one by one."""

    def __init__(self, responder: Responder, sock: socket.socket) -> None:
        super().__init__(responder, sock)
        asyncio.get_running_loop().add_reader(sock, self._drain)

    def _drain(self) -> None:
        clients = self._responder.clients
        now = self._responder.resolver.clocks.steady()
        clients.forget_expired(now)
        receive, room = self._socket.recvmsg, CONTROL_OCTETS if self._several_addresses else 0
        known, suffixes, look_up = self._known, self._suffixes, self._responder.look_up
        limits = clients.limits
        hits = over = 0
        for _ in range(BATCH_SIZE):
            try:
                data, ancillary, _, peer = receive(4096, room)
            except BlockingIOError:
                break
            except OSError:  # an earlier answer could not be delivered
                continue
            client = known.get(peer[0])
            if client is not None:
                if limits.left(client.bucket) <= 0:
                    over += 1
                    continue
                limits.take(client.bucket, 1)
                message = look_up(client, data, suffixes, now)
                if message is not None:
                    self._send(peer, ancillary, message)
                    hits += 1
                    continue
            self._answer_miss(data, peer[0], client, peer, ancillary)
        self._count(now, hits, over)
        self._misses.turn()


class BatchUdpListener(UdpListener):
    """Receives and answers up to `BATCH_SIZE` datagrams with two system calls. Raises NotImplementedError where that is unavailable."""

    def __init__(self, responder: Responder, sock: socket.socket) -> None:
        if sys.platform != "linux" or ctypes.sizeof(ctypes.c_void_p) != 8 or sys.byteorder != "little":
            raise NotImplementedError("not a 64-bit little-endian Linux")
        libc = ctypes.CDLL(None, use_errno=True)
        # Without `argtypes`, which would double the cost of a call: numbers are passed as C's int, pointers as c_void_p.
        self._recvmmsg, self._sendmmsg = libc.recvmmsg, libc.sendmmsg
        self._file = sock.fileno()
        if self._recvmmsg(self._file, None, 0, socket.MSG_DONTWAIT, None) < 0 and ctypes.get_errno() in _UNAVAILABLE_ERRORS:
            raise NotImplementedError("recvmmsg is unavailable")
        super().__init__(responder, sock)
        self._joins, self._is_busy = supports_udp_gso(sock), False
        self._memory = BatchBuffers(sock.family, packet_info=self._several_addresses)
        asyncio.get_running_loop().add_reader(sock, self._drain)

    def _drain(self) -> None:
        """Take a few batches while there is much to take, since asking the loop in between costs as much as some answers.

        From the second one on it pauses first: dozens of datagrams come meanwhile, and taking each by itself costs more than the pause.
        """
        for _ in range(_BATCHES_PER_WAKEUP):
            hits = self._take_batch()
            if hits < _BUSY_BATCH:
                self._is_busy = False
                break
            if self._is_busy and hits < BATCH_SIZE:
                time.sleep(_PAUSE_S)
            self._is_busy = True

    def _take_batch(self) -> int:
        """Return the number of answers from the cache."""
        memory = self._memory
        memory.reset()
        count: int = self._recvmmsg(self._file, memory.headers_at, BATCH_SIZE, socket.MSG_DONTWAIT, None)
        if count <= 0:
            return 0
        now = self._responder.resolver.clocks.steady()
        self._responder.clients.forget_expired(now)
        missed, over = self._answer_hits(now, count)
        hits = count
        answered: Sequence[int] = range(count)
        if missed or over:
            unanswered = {*over, *[each[0] for each in missed]}
            answered = [index for index in answered if SLOT_OFFSETS[index] not in unanswered]
            hits = len(answered)
        if hits < _MIN_GSO_ANSWERS or not self._joins or not self._send_joined(answered):
            self._send_each(answered, is_all=hits == count)
        self._count(now, hits, len(over))
        for at, raw, key, client in missed:
            self._answer_miss(memory.slots[at : at + 2] + raw, key, client, *memory.sender(at // SLOT_OCTETS))
        if missed:
            self._misses.turn()
        return hits

    def _answer_hits(self, now: float, count: int) -> tuple[list[_CacheMiss], list[int]]:
        """Write cached answers over their queries. Returns the misses, and the offsets of the slots of queries over a limit.

        In one piece, since here each query pays for every call. The look-up is that of `Responder.look_up`.
        """
        memory, limits, learn = self._memory, self._responder.clients.limits, self._responder.clients.learn
        known, entries, suffixes, slots, iovecs = self._known, self._entries, self._suffixes, memory.slots, memory.iovecs
        missed: list[_CacheMiss] = []
        over: list[int] = []
        key: ClientKey | None = None
        client: ClientEntry | None = None
        raw_queries: dict[bytes, RawQueryEntry] = {}
        admitted: set[CacheEntry] | None = None
        bucket, allowed, left = limits.free, 0, 0
        for at, length_at, sender, size in zip(
            SLOT_OFFSETS, LENGTH_OFFSETS, memory.keys(count), memory.headers[7 : 8 * count : 8], strict=False
        ):
            if sender != key:  # else the client is that of the datagram before
                limits.take(bucket, allowed - left)
                key, client = sender, known.get(sender)
                bucket, raw_queries = (limits.free, {}) if client is None else (client.bucket, client.raw_queries)
                admitted = None if client is None else client.admitted
                allowed = left = limits.left(bucket)
            if left <= 0:
                over.append(at)
                continue
            left -= 1
            raw = slots[at + 2 : at + size]  # all but the id
            raw_query = raw_queries.get(raw)
            if raw_query is not None and now < raw_query.due:
                slots[at + 2 : at + raw_query.length] = raw_query.rest
                iovecs[length_at] = raw_query.length
                raw_query.count += 1
                continue
            if client is None:
                missed.append((at, raw, sender, client))
                continue
            end = raw.find(0, 10) + 1  # as in `Responder.look_up`
            folded = raw[:end].lower()
            entry = entries.get(client.prefix + folded + suffixes.get(raw[end : end + SUFFIX_OCTETS], b""))
            if entry is None or raw.find(EDE_OPTION_PREFIX, end + SUFFIX_OCTETS) >= 0 or not (now < entry.due or entry.refresh(now)):
                missed.append((at, raw, sender, client))
                continue
            if admitted is not None and entry not in admitted:
                missed.append((at, raw, sender, client))
                continue
            slots[at + 2 : at + entry.length] = entry.rest
            if raw.startswith(folded):
                learn(client, raw, end, entry)
            else:
                slots[at + 2 + 10 : at + 2 + end] = raw[10:end]  # the client's own spelling
            iovecs[length_at] = entry.length
            client.hits[entry] += 1
        limits.take(bucket, allowed - left)
        return missed, over

    def _send_each(self, answered: Sequence[int], *, is_all: bool = False) -> int:
        """Send answers in a datagram each. Returns how many could be sent."""
        memory = self._memory
        if is_all:
            return self._send_batch(memory.headers_at, len(answered))
        memory.gather(answered)
        return self._send_batch(memory.outgoing_at, len(answered))

    def _send_joined(self, answered: Sequence[int]) -> bool:
        """Send answers to one socket together. False if that is not worth it; nothing was sent then."""
        groups = self._memory.join(answered)
        sent = 0
        while sent < len(groups):
            at = ctypes.c_void_p((self._memory.outgoing_at.value or 0) + 64 * sent)
            now: int = self._sendmmsg(self._file, at, len(groups) - sent, socket.MSG_DONTWAIT)
            if now <= 0 and len(groups[sent]) > 1 and ctypes.get_errno() in _GSO_ERRORS:
                if self._send_each(groups[sent]):  # else nothing can be sent to this client, which may have asked from port 0
                    self._joins = False
                    log.info("Answers are sent one by one: this kernel or network card does not support UDP_SEGMENT")
                self._send_each([index for group in groups[sent + 1 :] for index in group])
                return True
            if now <= 0:
                self._responder.count(DROPPED_METRIC, "send", by=len(groups[sent]))
                now = 1
            sent += now
        return bool(groups)

    def _send_batch(self, at: ctypes.c_void_p, hits: int) -> int:
        """Send the answers in the slots of these headers. Returns how many could be sent."""
        done = hits
        while hits:
            sent = self._sendmmsg(self._file, at, hits, socket.MSG_DONTWAIT)
            if sent <= 0:  # the first of them could not be sent
                self._responder.count(DROPPED_METRIC, "send")
                done -= 1
                sent = 1
            hits -= sent
            if hits:
                at = ctypes.c_void_p((at.value or 0) + 64 * sent)
        return done
