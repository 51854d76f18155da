"""Answers over encrypted channels that are filled up, so that their length says little of what was asked (RFC 7830). Pure."""

from __future__ import annotations

import logging
from collections.abc import Callable
from struct import unpack_from
from typing import Final

from hedgerow.dns import answers, wire
from hedgerow.dns.answers import Draft
from hedgerow.dns.metrics import Histogram
from hedgerow.dns.pending_query import PENDING, Answer, Pending
from hedgerow.dns.resolver import Resolver
from hedgerow.dns.server.clients import FORWARDER_PREFIX, MAC_PREFIX, ClientEntry, ClientKey, ClientLookup, Clients, Observe
from hedgerow.dns.server.rate_limits import MAX_PENDING_PER_CLIENT, MAX_PENDING_PER_CLIENT_BUSY
from hedgerow.dns.wire import Malformed
from hedgerow.policies.transports import ENCRYPTED_TRANSPORTS

BLOCK: Final = 468  # octets to a multiple of which answers are filled up (RFC 8467, section 4.1)
_PADDING_OPTION: Final = 12  # the EDNS option
_MAX_MESSAGE: Final = 65_535
_EMPTY_OPT: Final = wire.opt_bytes(0, dnssec=False)
_OPT_PREFIX: Final = _EMPTY_OPT[:5]  # name, type and our datagram size


def wants_padding(query: bytes) -> bool:
    """Does this query hold padding itself? Only who pads is padded for."""
    if _PADDING_OPTION.to_bytes(2) not in query:
        return False
    end = query.find(0, wire.HEADER) + 5
    at = end + len(_EMPTY_OPT)
    if query[end : end + 3] != _OPT_PREFIX[:3]:
        return False
    while at + 4 <= len(query):
        code, size = unpack_from("!HH", query, at)
        if code == _PADDING_OPTION:
            return True
        at += 4 + size
    return False


def pad_answer(message: bytes) -> bytes:
    """An answer of ours with padding behind the other options; as it is where it has no OPT record, or no room."""
    at = message.rfind(_OPT_PREFIX) + len(_EMPTY_OPT)
    size = int.from_bytes(message[at - 2 : at])
    fill = -(len(message) + 4) % BLOCK
    if at < wire.HEADER or at + size != len(message) or len(message) + 4 + fill > _MAX_MESSAGE:
        return message
    return message[: at - 2] + (size + 4 + fill).to_bytes(2) + message[at:] + wire.option_bytes(_PADDING_OPTION, bytes(fill))


log = logging.getLogger(__name__)

DROPPED_METRIC: Final = "hedgerow_dns_dropped_total"
MAX_PENDING: Final = 4096  # queries of one worker that wait for upstreams; what comes on top is dropped and asked again
SECONDS_BUCKETS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Bounds of the histogram, as `dashboards.metrics` declares them."""
_CAUSES: Final = {wire.FORMERR: "malformed", wire.NOTIMP: "opcode", wire.REFUSED: "refused", wire.BADVERS & 15: "version"}
"""Why a query was answered with such a code, and nothing was decided about it."""
_HITS_METRIC: Final = ("hedgerow_dns_cache_hits_total",)
_MISSES_METRIC: Final = ("hedgerow_dns_cache_misses_total",)

type Counters = dict[tuple[str, ...], float]


class Responder:
    """What all listeners of one worker have behind them. It has no sockets."""

    def __init__(self, resolver: Resolver, find_client: ClientLookup, observe: Observe) -> None:
        self.resolver = resolver
        self.counters: Counters = {}
        self.clients = Clients(find_client, resolver.prefix, observe, self.counters, resolver.clocks, resolver.prefetch)
        self._waiting = 0
        self._hit_seconds = Histogram("hedgerow_dns_answer_seconds", ("hit",), SECONDS_BUCKETS)
        self._miss_seconds = Histogram("hedgerow_dns_answer_seconds", ("miss",), SECONDS_BUCKETS)

    def client_for(self, key: ClientKey, address: str, data: bytes) -> ClientEntry | None:
        """Who asks this from an address, or under the id of a client; None for who may not ask. It is kept under `key`.

        A forwarder is never kept under its own key: each of its queries may be another device's.
        """
        self.clients.forget_expired(self.resolver.clocks.steady())
        forwarders = self.resolver.settings.forwarders
        if forwarders and address.partition("%")[0] in forwarders:
            mac = wire.forwarded_mac(data)
            key = f"{FORWARDER_PREFIX}{address}" if mac is None else f"{MAC_PREFIX}{mac}"
            address = address if mac is None else key
        return self.clients.known.get(key) or self.clients.find(key, address)

    def admits(self, known: ClientEntry) -> bool:
        """May this client have another answer? Counts it. The datagram listeners do the same by themselves."""
        limits = self.clients.limits
        if limits.left(known.bucket) <= 0:
            self.count(DROPPED_METRIC, "limit")
            return False
        limits.take(known.bucket, 1)
        return True

    def answer(self, known: ClientEntry, data: bytes, transport: str, later: Callable[[bytes | None], None]) -> bytes | Pending | None:
        """Answer a query: now, not at all, or by calling `later` once (`Pending`)."""
        if transport not in ENCRYPTED_TRANSPORTS or not wants_padding(data):
            return self.cached(known, data, transport) or self.miss(known, data, transport, later)
        message = self.cached(known, data, transport) or self.miss(
            known, data, transport, lambda late: later(None if late is None else pad_answer(late))
        )
        return pad_answer(message) if isinstance(message, bytes) else message

    def cached(self, known: ClientEntry, data: bytes, transport: str) -> bytes | None:
        """The answer where the cache has one, found without parsing, as the datagram listeners do it by themselves."""
        resolver = self.resolver
        now = resolver.clocks.steady()
        end = data.find(0, wire.HEADER) + 1
        key = known.prefix + data[2:end].lower() + resolver.suffixes_for(transport).get(data[end : end + wire.SUFFIX_OCTETS], b"")
        entry = resolver.answers.entries.get(key)
        if entry is None or data.find(wire.EDE_OPTION_PREFIX, end + wire.SUFFIX_OCTETS) >= 0 or not (now < entry.due or entry.refresh(now)):
            return None
        known.hits[entry] += 1
        self.hit_seconds(resolver.clocks.steady() - now, 1)
        return entry.message(data, end + 4)

    def miss(self, known: ClientEntry, data: bytes, transport: str, later: Callable[[bytes | None], None]) -> bytes | Pending | None:
        """The same for a query that the cache does not know."""
        self.counters[_MISSES_METRIC] = self.counters.get(_MISSES_METRIC, 0.0) + 1
        began = self.resolver.clocks.steady()
        client = known.client
        try:
            found = self.resolver.try_answer(client.ruleset, client.device, data, transport)
        except Exception:
            return self._internal_error(data)
        if isinstance(found, Answer):
            self._miss_seconds.observe(self.resolver.clocks.steady() - began)
            return self._record_answer(known, found)
        bucket = known.bucket
        most = MAX_PENDING_PER_CLIENT if self._waiting < MAX_PENDING // 2 else MAX_PENDING_PER_CLIENT_BUSY
        if self._waiting >= MAX_PENDING or bucket.waiting >= most:
            self.count(DROPPED_METRIC, "overload")
            return None
        self._waiting += 1
        bucket.waiting += 1

        def done(answer: Answer) -> None:
            self._waiting -= 1
            bucket.waiting -= 1
            self._miss_seconds.observe(self.resolver.clocks.steady() - began)
            now = self.clients.find_again(known)
            if now is not None and now.prefix == known.prefix:
                later(self._record_answer(now, answer))
            else:
                self._answer_again(now, data, transport, later)

        self.resolver.forward(found, done)
        return PENDING

    def _answer_again(self, known: ClientEntry | None, data: bytes, transport: str, later: Callable[[bytes | None], None]) -> None:
        """While this query waited for the upstreams, other rules have come: what the old ones say of it is not said any more."""
        message = self.refuse(data) if known is None else self.cached(known, data, transport) or self.miss(known, data, transport, later)
        if not isinstance(message, Pending):
            later(message)

    def refuse(self, data: bytes) -> bytes | None:
        """What a client outside the network gets: never more than it sent, and nothing was looked up; in a flood, nothing."""
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
        """So many answers from the cache took at most so long."""
        self._hit_seconds.observe(seconds, count)
        self.counters[_HITS_METRIC] = self.counters.get(_HITS_METRIC, 0.0) + count

    def all_counters(self) -> Counters:
        """Everything that is counted, histograms too."""
        return {**self.counters, **self._hit_seconds.counters(), **self._miss_seconds.counters()}

    def _record_answer(self, known: ClientEntry, answer: Answer) -> bytes | None:
        """Tally an answer that is about to be sent."""
        if answer.entry is not None:
            self.clients.record_answer(known, answer.entry)
        elif answer.message is None:
            self.count(DROPPED_METRIC, "malformed")
        else:
            self.count(DROPPED_METRIC, _CAUSES.get(answer.message[3] & 15, "error"))
        return answer.message

    def _internal_error(self, data: bytes) -> bytes | None:
        log.exception("a query could not be answered")
        self.count(DROPPED_METRIC, "error")
        return answers.error(data, wire.SERVFAIL) if len(data) >= wire.HEADER else None
