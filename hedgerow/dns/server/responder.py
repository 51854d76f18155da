"""Answering queries of all transports for known clients: limits, cache look-up, misses, counters. It has no sockets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from hedgerow.client_classes import ClassBudget
from hedgerow.dns import answers, wire
from hedgerow.dns.answer_cache import Answer
from hedgerow.dns.answers import Draft
from hedgerow.dns.cache import CacheEntry
from hedgerow.dns.metrics import Histogram
from hedgerow.dns.resolver import Resolver, refresh
from hedgerow.dns.server.admission import DEFERRED, Admit, AnswerAdmission, Deferred, MessageCallback
from hedgerow.dns.server.clients import (
    FORWARDER_PREFIX,
    MAC_PREFIX,
    ClientEntry,
    ClientKey,
    ClientLookup,
    Clients,
    ConnectingClients,
)
from hedgerow.dns.server.rate_limits import MAX_PENDING_PER_CLIENT, MAX_PENDING_PER_CLIENT_BUSY
from hedgerow.dns.server.reports import Observe
from hedgerow.dns.wire import Malformed
from hedgerow.policies.transports import ENCRYPTED_TRANSPORTS
from hedgerow.proxy_protocol import LoadBalancers
from hedgerow.watched_tasks import note_unexpected

DROPPED_METRIC: Final = "hedgerow_dns_dropped_total"
# misses of one worker that wait for upstreams; further ones are dropped, and clients ask again
MAX_PENDING: Final = 4096
SECONDS_BUCKETS: Final = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
)
"""Bounds of the histogram, as `dashboards.metrics` declares them."""
_CAUSES: Final = {
    wire.FORMERR: "malformed",
    wire.NOTIMP: "opcode",
    wire.REFUSED: "refused",
    wire.BADVERS & 15: "version",
}
"""The label of the dropped counter, by the rcode of an answer without a decision."""
_HITS_METRIC: Final = ("hedgerow_dns_cache_hits_total",)
_MISSES_METRIC: Final = ("hedgerow_dns_cache_misses_total",)

type Counters = dict[tuple[str, ...], float]


class Responder:
    """The part of a worker that all its listeners share."""

    def __init__(
        self, resolver: Resolver, find_client: ClientLookup, observe: Observe, admit: Admit | None = None
    ) -> None:
        self.resolver = resolver
        self.counters: Counters = {}
        self.admission = AnswerAdmission(admit)
        self.clients = Clients(find_client, resolver.answers.prefix, observe, self.counters, resolver.clocks)
        self.load_balancers = LoadBalancers(
            lambda: resolver.settings.proxy_protocol_from, lambda: self.count(DROPPED_METRIC, "proxy-header")
        )
        self._waiting = ClassBudget(MAX_PENDING)
        self.connecting = ConnectingClients(
            lambda key: self.client_for(key, key, b""), lambda: resolver.settings.forwarders
        )
        self._hit_seconds = Histogram("hedgerow_dns_answer_seconds", ("hit",), SECONDS_BUCKETS)
        self._miss_seconds = Histogram("hedgerow_dns_answer_seconds", ("miss",), SECONDS_BUCKETS)

    def client_for(self, key: ClientKey, address: str, data: bytes) -> ClientEntry | None:
        """Return the client at an address, or with a client id, kept under `key`; None if it may not ask.

        For a forwarder it is the device whose MAC address the query carries, so that a forwarder is never kept under
        its own key.
        """
        self.clients.forget_expired(self.resolver.clocks.steady())
        forwarders = self.resolver.settings.forwarders
        if forwarders and address.partition("%")[0] in forwarders:
            mac = wire.forwarded_mac(data)
            key = f"{FORWARDER_PREFIX}{address}" if mac is None else f"{MAC_PREFIX}{mac}"
            address = address if mac is None else key
        return self.clients.known.get(key) or self.clients.find(key, address)

    def admits(self, client: ClientEntry) -> bool:
        """Take one query from the client's rate limit; False if it is used up.

        The UDP listeners count by themselves.
        """
        limits = self.clients.limits
        if limits.left(client.bucket) <= 0:
            self.count(DROPPED_METRIC, "limit")
            return False
        limits.take(client.bucket, 1)
        return True

    def admits_handshake(self, address: str) -> bool:
        """Take one handshake from the limit of the client at an address; False if it is used up.

        Strangers share one limit.
        """
        client = self.connecting.find(address)
        return (self.clients.limits.unknown_clients if client is None else client.bucket).admits_handshake()

    def answer(
        self, client: ClientEntry, data: bytes, transport: str, on_answer: MessageCallback, idle_seconds: float = 0.0
    ) -> bytes | Deferred | None:
        """Return the answer to a query, None for no answer, or `DEFERRED` if `on_answer` will be called with either.

        `idle_seconds` is how long an idle connection is kept open, for clients that ask; 0 for transports where they
        must not be told.
        """
        is_padded = transport in ENCRYPTED_TRANSPORTS and answers.wants_padding(data)
        tells_idle = idle_seconds > 0 and answers.asks_keepalive(data)
        if not (is_padded or tells_idle):
            return self.cached(client, data, transport) or self.miss(client, data, transport, lambda: on_answer)

        def finish(message: bytes) -> bytes:
            message = answers.with_keepalive(message, idle_seconds) if tells_idle else message
            return answers.pad(message) if is_padded else message

        def finish_late(late: bytes | None) -> None:
            on_answer(None if late is None else finish(late))

        message = self.cached(client, data, transport) or self.miss(client, data, transport, lambda: finish_late)
        return finish(message) if isinstance(message, bytes) else message

    def look_up(self, client: ClientEntry, data: bytes, suffixes: dict[bytes, bytes], now: float) -> bytes | None:
        """Return the cached answer to a query, found by its bytes without parsing, and count it for the client.

        `suffixes` is that of the transport. `BatchUdpListener` has the same look-up inline, which test_udp.py compares
        with it.
        """
        found = _find_entry(self.resolver, client, data, suffixes, now)
        if found is None:
            return None
        key, entry, question_end = found
        if client.admitted is not None and entry not in client.admitted:
            return None
        self.clients.reports.add(client, key, entry)
        return entry.message(data, question_end)

    def cached(self, client: ClientEntry, data: bytes, transport: str) -> bytes | None:
        """Return the cached answer to a query, and measure the time it took."""
        resolver = self.resolver
        now = resolver.clocks.steady()
        message = self.look_up(client, data, resolver.answers.suffixes[transport], now)
        if message is not None:
            self.hit_seconds(resolver.clocks.steady() - now, 1)
        return message

    def miss(
        self, client: ClientEntry, data: bytes, transport: str, make_callback: Callable[[], MessageCallback]
    ) -> bytes | Deferred | None:
        """Return what `answer` does, for a query that is not in the cache, or whose answer the gateway has not admitted
        yet.

        `make_callback` is called only if an answer may come later, as none does for most blocked names.
        """
        if client.admitted is not None:
            resolver = self.resolver
            found = _find_entry(resolver, client, data, resolver.answers.suffixes[transport], resolver.clocks.steady())
            if found is not None:
                key, entry, question_end = found
                self.clients.reports.add(client, key, entry)
                return self.admission.release(client, entry, entry.message(data, question_end), make_callback())
        self.counters[_MISSES_METRIC] = self.counters.get(_MISSES_METRIC, 0.0) + 1
        began = self.resolver.clocks.steady()
        try:
            answer_or_miss = self.resolver.try_answer(client.client.ruleset, client.client.device, data, transport)
        except Exception:
            return self._internal_error(data)
        if isinstance(answer_or_miss, Answer):
            self._miss_seconds.observe(self.resolver.clocks.steady() - began)
            message = self._record_answer(client, answer_or_miss)
            if client.admitted is None:
                return message
            return self.admission.release(client, answer_or_miss.entry, message, make_callback())
        on_answer, bucket = make_callback(), client.bucket
        rank = client.classed.rank
        most = MAX_PENDING_PER_CLIENT if self._waiting.taken < MAX_PENDING // 4 else MAX_PENDING_PER_CLIENT_BUSY
        if bucket.waiting >= most or not self._waiting.take(rank):
            self.count(DROPPED_METRIC, "overload")
            return None
        bucket.waiting += 1

        def done(answer: Answer) -> None:
            self._waiting.give_back(rank)
            bucket.waiting -= 1
            self._miss_seconds.observe(self.resolver.clocks.steady() - began)
            current = self.clients.find_again(client)
            if current is not None and current.prefix == client.prefix:
                message = self.admission.release(current, answer.entry, self._record_answer(current, answer), on_answer)
                if not isinstance(message, Deferred):
                    on_answer(message)
            else:
                self._answer_again(current, data, transport, on_answer)

        self.resolver.forward(answer_or_miss, done)
        return DEFERRED

    def _answer_again(
        self, client: ClientEntry | None, data: bytes, transport: str, on_answer: MessageCallback
    ) -> None:
        """Answer under the rules that came into force while the query waited for the upstreams."""
        if client is None:
            message: bytes | Deferred | None = self.refuse(data)
        else:
            message = self.cached(client, data, transport) or self.miss(client, data, transport, lambda: on_answer)
        if not isinstance(message, Deferred):
            on_answer(message)

    def refuse(self, data: bytes) -> bytes | None:
        """Return REFUSED for a client outside the network, no longer than the query; None if too many such
        clients ask.
        """
        self.count(DROPPED_METRIC, "outside")
        unknown_clients = self.clients.limits.unknown_clients
        unknown_clients.left -= 1
        if unknown_clients.left < 0 or len(data) < wire.HEADER or data[2] & 0x80:
            return None
        try:
            return answers.message(wire.parse_query(data), Draft(wire.REFUSED))
        except Malformed:
            return answers.error(data, wire.REFUSED)

    def count(self, name: str, *labels: str, by: float = 1.0) -> None:
        self.counters[name, *labels] = self.counters.get((name, *labels), 0.0) + by

    def hit_seconds(self, seconds: float, count: int) -> None:
        """Count `count` answers from the cache, each of which took at most `seconds`."""
        self._hit_seconds.observe(seconds, count)
        self.counters[_HITS_METRIC] = self.counters.get(_HITS_METRIC, 0.0) + count

    def all_counters(self) -> Counters:
        """Return all counters, with those of the histograms."""
        return {**self.counters, **self._hit_seconds.counters(), **self._miss_seconds.counters()}

    def _record_answer(self, client: ClientEntry, answer: Answer) -> bytes | None:
        """Count an answer that is about to be sent."""
        if answer.entry is not None:
            self.clients.record_answer(client, answer.key, answer.entry)
        elif answer.message is None:
            self.count(DROPPED_METRIC, "malformed")
        else:
            self.count(DROPPED_METRIC, _CAUSES.get(answer.message[3] & 15, "error"))
        return answer.message

    def _internal_error(self, data: bytes) -> bytes | None:
        note_unexpected("A query could not be answered")
        self.count(DROPPED_METRIC, "error")
        return answers.error(data, wire.SERVFAIL) if len(data) >= wire.HEADER else None


def _find_entry(
    resolver: Resolver, client: ClientEntry, data: bytes, suffixes: dict[bytes, bytes], now: float
) -> tuple[bytes, CacheEntry, int] | None:
    """Return the key of the cached answer to a query, the answer, and the end of the question; None if
    there is none.
    """
    end = data.find(0, wire.HEADER) + 1  # the name ends at the first zero; if that is inside a label, no key is equal
    key = client.prefix + data[2:end].lower() + suffixes.get(data[end : end + wire.SUFFIX_OCTETS], b"")
    entry = resolver.answers.entries.get(key)
    if entry is None or data.find(wire.EDE_OPTION_PREFIX, end + wire.SUFFIX_OCTETS) >= 0:
        return None
    entry.seen = now
    return (key, entry, end + 4) if now < entry.due or refresh(resolver, key, entry, now) else None
