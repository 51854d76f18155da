"""Answers one query of one client, whatever it came over: from the cache, or by the resolver; within limits, and counted."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from hedgerow.dns import answers, wire
from hedgerow.dns.answers import Draft
from hedgerow.dns.cases import Answer
from hedgerow.dns.later import LATER, Later
from hedgerow.dns.listening.client_ids import FORWARDER, MAC
from hedgerow.dns.listening.clients import ClientOf, Clients, Key, Known, Observe
from hedgerow.dns.listening.limits import FEW_WAITING, MAX_WAITING_OF_ONE
from hedgerow.dns.listening.padding import ENCRYPTED, padded, wants_padding
from hedgerow.dns.resolver import Resolver
from hedgerow.dns.series import Histogram
from hedgerow.dns.wire import Malformed

log = logging.getLogger(__name__)

DROPPED: Final = "hedgerow_dns_dropped_total"
MAX_MISSES: Final = 4096  # queries of one worker that wait for upstreams; what comes on top is dropped and asked again
SECONDS_BUCKETS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Bounds of the histogram, as `dashboards.metrics` declares them."""
_CAUSES: Final = {wire.FORMERR: "malformed", wire.NOTIMP: "opcode", wire.REFUSED: "refused", wire.BADVERS & 15: "version"}
"""Why a query was answered with such a code, and nothing was decided about it."""
_HITS: Final = ("hedgerow_dns_cache_hits_total",)
_MISSES: Final = ("hedgerow_dns_cache_misses_total",)

type Counters = dict[tuple[str, ...], float]


class Responder:
    """What all listeners of one worker have behind them. It has no sockets."""

    def __init__(self, resolver: Resolver, client_of: ClientOf, observe: Observe) -> None:
        self.resolver = resolver
        self.counters: Counters = {}
        self.clients = Clients(client_of, resolver.prefix, observe, self.counters, resolver.clocks, resolver.renew)
        self._waiting = 0
        self._hit_seconds = Histogram("hedgerow_dns_answer_seconds", ("hit",), SECONDS_BUCKETS)
        self._miss_seconds = Histogram("hedgerow_dns_answer_seconds", ("miss",), SECONDS_BUCKETS)

    def asker(self, key: Key, address: str, data: bytes) -> Known | None:
        """Who asks this from an address, or under the id of a client; None for who may not ask. It is kept under `key`.

        A forwarder is never kept under its own key: each of its queries may be another device's.
        """
        self.clients.keep_time(self.resolver.clocks.steady())
        forwarders = self.resolver.settings.forwarders
        if forwarders and address.partition("%")[0] in forwarders:
            mac = wire.forwarded_mac(data)
            key = f"{FORWARDER}{address}" if mac is None else f"{MAC}{mac}"
            address = address if mac is None else key
        return self.clients.known.get(key) or self.clients.find(key, address)

    def admits(self, known: Known) -> bool:
        """May this client have another answer? Counts it. The datagram listeners do the same by themselves."""
        limits = self.clients.limits
        if limits.left(known.bucket) <= 0:
            self.count(DROPPED, "limit")
            return False
        limits.take(known.bucket, 1)
        return True

    def answer(self, known: Known, data: bytes, transport: str, later: Callable[[bytes | None], None]) -> bytes | Later | None:
        """Answer a query: now, not at all, or by calling `later` once (`Later`)."""
        if transport not in ENCRYPTED or not wants_padding(data):
            return self.cached(known, data, transport) or self.miss(known, data, transport, later)
        message = self.cached(known, data, transport) or self.miss(
            known, data, transport, lambda late: later(None if late is None else padded(late))
        )
        return padded(message) if isinstance(message, bytes) else message

    def cached(self, known: Known, data: bytes, transport: str) -> bytes | None:
        """The answer where the cache has one, found without parsing, as the datagram listeners do it by themselves."""
        resolver = self.resolver
        now = resolver.clocks.steady()
        end = data.find(0, wire.HEADER) + 1
        key = known.prefix + data[2:end].lower() + resolver.suffixes_for(transport).get(data[end : end + wire.SUFFIX_OCTETS], b"")
        entry = resolver.answers.entries.get(key)
        if entry is None or data.find(wire.ERROR_BEGINS, end + wire.SUFFIX_OCTETS) >= 0 or not (now < entry.due or entry.refresh(now)):
            return None
        known.hits[entry] += 1
        self.hit_seconds(resolver.clocks.steady() - now, 1)
        return entry.message(data, end + 4)

    def miss(self, known: Known, data: bytes, transport: str, later: Callable[[bytes | None], None]) -> bytes | Later | None:
        """The same for a query that the cache does not know."""
        self.counters[_MISSES] = self.counters.get(_MISSES, 0.0) + 1
        began = self.resolver.clocks.steady()
        client = known.client
        try:
            found = self.resolver.at_once(client.ruleset, client.device, data, transport)
        except Exception:
            return self._broken(data)
        if isinstance(found, Answer):
            self._miss_seconds.observe(self.resolver.clocks.steady() - began)
            return self._told(known, found)
        bucket = known.bucket
        most = MAX_WAITING_OF_ONE if self._waiting < MAX_MISSES // 2 else FEW_WAITING
        if self._waiting >= MAX_MISSES or bucket.waiting >= most:
            self.count(DROPPED, "overload")
            return None
        self._waiting += 1
        bucket.waiting += 1

        def done(answer: Answer) -> None:
            self._waiting -= 1
            bucket.waiting -= 1
            self._miss_seconds.observe(self.resolver.clocks.steady() - began)
            now = self.clients.find_again(known)
            if now is not None and now.prefix == known.prefix:
                later(self._told(now, answer))
            else:
                self._answer_anew(now, data, transport, later)

        self.resolver.forward(found, done)
        return LATER

    def _answer_anew(self, known: Known | None, data: bytes, transport: str, later: Callable[[bytes | None], None]) -> None:
        """While this query waited for the upstreams, other rules have come: what the old ones say of it is not said any more."""
        message = self.refuse(data) if known is None else self.cached(known, data, transport) or self.miss(known, data, transport, later)
        if not isinstance(message, Later):
            later(message)

    def refuse(self, data: bytes) -> bytes | None:
        """What a client outside the network gets: never more than it sent, and nothing was looked up; in a flood, nothing."""
        self.count(DROPPED, "outside")
        strangers = self.clients.limits.strangers
        strangers.left -= 1
        if strangers.left < 0 or len(data) < wire.HEADER or data[2] & 0x80:
            return None
        try:
            return answers.message(wire.parse_query(data), Draft(wire.REFUSED))
        except Malformed:
            return answers.error(data, wire.REFUSED)

    def count(self, name: str, *labels: str, by: float = 1.0) -> None:
        self.counters[name, *labels] = self.counters.get((name, *labels), 0.0) + by

    def hit_seconds(self, seconds: float, count: int) -> None:
        """So many answers from the cache took at most so long."""
        self._hit_seconds.observe(seconds, count)
        self.counters[_HITS] = self.counters.get(_HITS, 0.0) + count

    def all_counters(self) -> Counters:
        """Everything that is counted, histograms too."""
        return {**self.counters, **self._hit_seconds.counters(), **self._miss_seconds.counters()}

    def _told(self, known: Known, answer: Answer) -> bytes | None:
        """Tally an answer that is about to be sent."""
        if answer.entry is not None:
            self.clients.tally(known, answer.entry)
        elif answer.message is None:
            self.count(DROPPED, "malformed")
        else:
            self.count(DROPPED, _CAUSES.get(answer.message[3] & 15, "error"))
        return answer.message

    def _broken(self, data: bytes) -> bytes | None:
        log.exception("a query could not be answered")
        self.count(DROPPED, "error")
        return answers.error(data, wire.SERVFAIL) if len(data) >= wire.HEADER else None
