"""DNS over UDP: the hot path, where a query is found in the cache by its bytes and never parsed.

On Linux up to 128 datagrams are received and answered with two system calls (`BatchUdpListener`: recvmmsg and sendmmsg
through ctypes, answers written over the queries in preallocated memory). Elsewhere each takes two
(`SimpleUdpListener`).

Under load two things make queries cheaper: a moment's pause, so that the next batch is large (network cards moderate
interrupts likewise), and answers to one socket that leave as one datagram and are cut on arrival.
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

from hedgerow.dns.resolver import refresh
from hedgerow.dns.server.admission import DEFERRED, MessageCallback
from hedgerow.dns.server.clients import ClientEntry, ClientKey
from hedgerow.dns.server.rate_limits import FairQueue
from hedgerow.dns.server.reports import MAX_LOG, RawQueryEntry
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
    Sender,
    address_of,
    is_crowded,
    supports_udp_gso,
)
from hedgerow.dns.wire import EDE_OPTION_PREFIX, SUFFIX_OCTETS
from hedgerow.sockets import enable_packet_info

log = logging.getLogger(__name__)

_BATCHES_PER_WAKEUP: Final = 4  # per wake-up, so that other sockets get their turn
_BUSY_BATCH: Final = 8  # datagrams: more are likely to have come meanwhile
_PAUSE_S: Final = 0.0001
_MISS_SECONDS: Final = 0.003  # for the misses of a batch, before others are looked at
_CROWDED_SHARE: Final = 16  # misses of one client in a batch, while datagrams come faster than they are answered
_MIN_GSO_ANSWERS: Final = 8  # answers at once
_GSO_ERRORS: Final = (errno.EINVAL, errno.EIO, errno.EMSGSIZE, errno.ENOPROTOOPT, errno.EOPNOTSUPP)
_UNAVAILABLE_ERRORS: Final = (errno.ENOSYS, errno.EPERM)  # from an old kernel, or in a sandbox


type _CacheMiss = tuple[int, bytes, ClientKey, ClientEntry | None]
"""The offset of a query's slot, its octets behind the id, and the client."""


class _QueuedQuery(NamedTuple):
    client: ClientEntry
    data: bytes
    send: MessageCallback


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
        self._misses: FairQueue[_QueuedQuery] = FairQueue(
            self._work, lambda: responder.count(DROPPED_METRIC, "overload")
        )

    def close(self) -> None:
        self._misses.close()
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def _answer_miss(
        self, data: bytes, key: ClientKey, client: ClientEntry | None, address: str, send: MessageCallback
    ) -> None:
        """Queue a query that the cache did not answer; answer it at once if only its client was unknown.

        `address` is of such a client.
        """
        if client is None:
            if self._responder.load_balancers.sends_header(address):
                unwrapped = self._responder.load_balancers.unwrap(address, data)
                if unwrapped is None:
                    return
                address, data = unwrapped
                key = address
            client = self._responder.client_for(key, address, data)
            if client is None:
                send(self._responder.refuse(data))
                return
            if not self._responder.admits(client):
                return
            message = self._responder.cached(client, data, "udp")
            if message is not None:
                send(message)
                return
        self._misses.add(client.bucket, client.classed.rank, _QueuedQuery(client, data, send))

    def _work(self, miss: _QueuedQuery) -> None:
        # other rules may have come into force while it was queued
        client = self._responder.clients.find_again(miss.client)
        if client is None:
            return
        message = self._responder.miss(client, miss.data, "udp", lambda: miss.send)
        if message is not DEFERRED:
            miss.send(message)

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
    """A listener that receives datagrams one by one."""

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
            self._answer_miss(data, peer[0], client, peer[0], partial(self._send, peer, ancillary))
        self._count(now, hits, over)
        self._misses.turn()


class BatchUdpListener(UdpListener):
    """A listener that takes two system calls for up to `BATCH_SIZE` datagrams.

    Raises NotImplementedError where that is unavailable.
    """

    def __init__(self, responder: Responder, sock: socket.socket) -> None:
        if sys.platform != "linux" or ctypes.sizeof(ctypes.c_void_p) != 8 or sys.byteorder != "little":
            raise NotImplementedError("not a 64-bit little-endian Linux")
        libc = ctypes.CDLL(None, use_errno=True)
        # Without `argtypes`, which would double the cost of a call: numbers are passed as C's int, pointers as
        # c_void_p.
        self._recvmmsg, self._sendmmsg = libc.recvmmsg, libc.sendmmsg
        self._file = sock.fileno()
        if (
            self._recvmmsg(self._file, None, 0, socket.MSG_DONTWAIT, None) < 0
            and ctypes.get_errno() in _UNAVAILABLE_ERRORS
        ):
            raise NotImplementedError("recvmmsg is unavailable")
        super().__init__(responder, sock)
        self._joins, self._is_busy = supports_udp_gso(sock), False
        self._memory, self._late_memory = (
            BatchBuffers(sock.family, packet_info=self._several_addresses) for _ in range(2)
        )
        self._late: list[tuple[Sender, bytes]] = []
        asyncio.get_running_loop().add_reader(sock, self._drain)

    def _drain(self) -> None:
        """Take a few batches while there is much to take, since asking the loop in between costs as much as some
        answers.

        From the second one on it pauses first: dozens of datagrams come meanwhile, and taking each by itself costs more
        than the pause.
        """
        for _ in range(_BATCHES_PER_WAKEUP):
            hits, misses = self._take_batch()
            if hits < _BUSY_BATCH or misses >= _BUSY_BATCH:
                self._is_busy = False
                break
            if self._is_busy and hits < BATCH_SIZE:
                time.sleep(_PAUSE_S)
            self._is_busy = True

    def _take_batch(self) -> tuple[int, int]:
        """Return the numbers of answers from the cache and of misses."""
        memory = self._memory
        memory.reset()
        count: int = self._recvmmsg(self._file, memory.headers_at, BATCH_SIZE, socket.MSG_DONTWAIT, None)
        if count <= 0:
            return 0, 0
        now = self._responder.resolver.clocks.steady()
        self._responder.clients.forget_expired(now)
        missed, over = self._answer_hits(now, count)
        hits = count - len(missed) - len(over)
        self._count(now, hits, len(over))
        unanswered, waiting = self._answer_misses(missed) if missed else ([], [])
        answered: Sequence[int] = range(count)
        if unanswered or over:
            silent = {*unanswered, *over}
            answered = [index for index in answered if SLOT_OFFSETS[index] not in silent]
        self._send_answers(memory, answered, is_all=len(answered) == count)
        for at, raw, key, client in waiting:
            sender = memory.sender(at // SLOT_OCTETS)
            address = address_of(sender, self._socket.family) if client is None else ""
            self._answer_miss(memory.slots[at : at + 2] + raw, key, client, address, partial(self._send_late, sender))
        if waiting:
            self._misses.turn()
        return hits, len(missed)

    def _answer_hits(self, now: float, count: int) -> tuple[list[_CacheMiss], list[int]]:
        """Write cached answers over their queries.

        Returns the misses, and the offsets of the slots of queries over a limit.

        In one piece, since here each query pays for every call. The look-up is that of `Responder.look_up`.
        """
        memory, clients, resolver = self._memory, self._responder.clients, self._responder.resolver
        limits, learn, can_learn = clients.limits, clients.reports.learn, clients.reports.has_room_for_raw
        known, entries, suffixes, slots, iovecs = (
            self._known,
            self._entries,
            self._suffixes,
            memory.slots,
            memory.iovecs,
        )
        missed: list[_CacheMiss] = []
        over: list[int] = []
        key: ClientKey | None = None
        client: ClientEntry | None = None
        raw_queries: dict[bytes, RawQueryEntry] = {}
        bucket, allowed, left = limits.free, 0, 0
        for at, length_at, sender, size in zip(
            SLOT_OFFSETS, LENGTH_OFFSETS, memory.keys(count), memory.headers[7 : 8 * count : 8], strict=False
        ):
            if sender != key:  # else the client is that of the datagram before
                limits.take(bucket, allowed - left)
                if client is not None and len(client.keys) >= MAX_LOG:
                    clients.reports.add_up(client)
                key, client = sender, known.get(sender)
                bucket, raw_queries = (limits.free, {}) if client is None else (client.bucket, client.raw_queries)
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
            answer_key = client.prefix + folded + suffixes.get(raw[end : end + SUFFIX_OCTETS], b"")
            entry = entries.get(answer_key)
            if (
                entry is None
                or (len(raw) > end + SUFFIX_OCTETS and raw.find(EDE_OPTION_PREFIX, end + SUFFIX_OCTETS) >= 0)
                or not (now < entry.due or refresh(resolver, answer_key, entry, now))
                or (client.admitted is not None and entry not in client.admitted)
            ):
                missed.append((at, raw, sender, client))
                continue
            entry.seen = now
            client.keys.append(answer_key)
            client.entries.append(entry)
            if (can_learn or raw_query is not None) and raw.startswith(folded):
                learn(client, raw, end, answer_key, entry)
            head, tail = entry.head, entry.tail
            begin = at + end + 6  # of what follows the question, which keeps the client's spelling
            slots[at + 2 : at + 12] = head
            slots[begin : begin + len(tail)] = tail
            iovecs[length_at] = end + 6 + len(tail)
        limits.take(bucket, allowed - left)
        if client is not None and len(client.keys) >= MAX_LOG:
            clients.reports.add_up(client)
        return missed, over

    def _answer_misses(self, missed: list[_CacheMiss]) -> tuple[list[int], list[_CacheMiss]]:
        """Answer misses in the memory of their queries, as long as there is time.

        Returns the offsets of the slots that hold no answer, and the misses that still wait.

        The rest is queued by client. Where datagrams come faster than they are answered, no client gets more than a few
        here, so that the others' do not wait long enough in the kernel to be dropped.
        """
        memory, responder, steady = self._memory, self._responder, self._responder.resolver.clocks.steady
        slots = memory.slots
        until = steady() + _MISS_SECONDS
        most = _CROWDED_SHARE if len(missed) > _CROWDED_SHARE and is_crowded(self._socket) else BATCH_SIZE
        served: dict[ClientKey, int] = {}
        unanswered: list[int] = []
        waiting: list[_CacheMiss] = []
        for miss in missed:
            at, raw, key, client = miss
            count = served.get(key, 0)
            if client is None or count >= most or steady() >= until:
                unanswered.append(at)
                waiting.append(miss)
                continue
            served[key] = count + 1
            message = responder.miss(
                client, slots[at : at + 2] + raw, "udp", partial(self._late_sender, at // SLOT_OCTETS)
            )
            if isinstance(message, bytes):
                slots[at : at + len(message)] = message
                memory.iovecs[2 * (at // SLOT_OCTETS) + 1] = len(message)
            else:
                unanswered.append(at)
        return unanswered, waiting

    def _late_sender(self, index: int) -> MessageCallback:
        return partial(self._send_late, self._memory.sender(index))

    def _send_late(self, sender: Sender, message: bytes | None) -> None:
        """Send an answer that took longer than its batch, together with others that are ready at the same moment."""
        if message is not None:
            if not self._late:
                asyncio.get_running_loop().call_soon(self._send_all_late)
            self._late.append((sender, message))

    def _send_all_late(self) -> None:
        late, self._late = self._late, []
        if self._socket.fileno() < 0:
            return
        for start in range(0, len(late), BATCH_SIZE):
            part = late[start : start + BATCH_SIZE]
            for index, (sender, message) in enumerate(part):
                self._late_memory.put(index, sender, message)
            self._send_answers(self._late_memory, range(len(part)), is_all=True)

    def _send_answers(self, memory: BatchBuffers, answered: Sequence[int], *, is_all: bool) -> None:
        """Send the answers in these slots. `is_all`: they are the first ones, without a gap."""
        if len(answered) < _MIN_GSO_ANSWERS or not self._joins or not self._send_joined(memory, answered):
            self._send_each(memory, answered, is_all=is_all)

    def _send_each(self, memory: BatchBuffers, answered: Sequence[int], *, is_all: bool = False) -> int:
        """Send answers in a datagram each. Returns how many could be sent."""
        if is_all:
            return self._send_batch(memory.headers_at, len(answered))
        memory.gather(answered)
        return self._send_batch(memory.outgoing_at, len(answered))

    def _send_joined(self, memory: BatchBuffers, answered: Sequence[int]) -> bool:
        """Send answers to one socket together. False if that is not worth it; nothing was sent then."""
        groups = memory.join(answered)
        sent = 0
        while sent < len(groups):
            at = ctypes.c_void_p((memory.outgoing_at.value or 0) + 64 * sent)
            now: int = self._sendmmsg(self._file, at, len(groups) - sent, socket.MSG_DONTWAIT)
            if now <= 0 and len(groups[sent]) > 1 and ctypes.get_errno() in _GSO_ERRORS:
                # else nothing can be sent to this client, which may have asked from port 0
                if self._send_each(memory, groups[sent]):
                    self._joins = False
                    log.info("Answers are sent one by one: this kernel or network card does not support UDP_SEGMENT")
                self._send_each(memory, [index for group in groups[sent + 1 :] for index in group])
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
