"""The clients of a worker: their rules, limits and answers, and the client ids of encrypted DNS.

A client id makes a device known wherever it asks from, so it is as good as a password: whoever knows it gets that device's answers. It does
not count from an address whose device the policy names, or an adult's id would open a child's own device.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from hedgerow.dns.answer_cache import Clocks
from hedgerow.dns.cache import NEVER, CacheEntry
from hedgerow.dns.server.rate_limits import RateLimiter, TokenBucket
from hedgerow.dns.wire import OPT_OCTETS
from hedgerow.policies.model import Decision, DeviceId, Request, RequestKind
from hedgerow.policies.ruleset import Ruleset

log = logging.getLogger(__name__)

CLIENT_ID_PREFIX: Final = "id:"
MAC_PREFIX: Final = "mac:"
FORWARDER_PREFIX: Final = "forwarder:"
"""Prefixes of the keys of clients that are not found by address. No address begins with them.

They are for a client id (`@` and its address follow), for the MAC address that a forwarder passes on, and for a forwarder that asks
for itself.
"""

_ID: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_PATH: Final = "/dns-query"


def client_id_from_sni(server_name: str | None, own_name: str | None) -> str | None:
    """Return the client id in front of our own name in the SNI, or None.

    >>> client_id_from_sni("Mia-Phone.dns.home.example", "dns.home.example"), client_id_from_sni("dns.home.example", "dns.home.example")
    ('mia-phone', None)
    """
    if server_name is None or own_name is None:
        return None
    label, dot, rest = server_name.lower().rstrip(".").partition(".")
    return label if dot and rest == own_name and _ID.fullmatch(label) else None


def client_id_from_path(path: str) -> tuple[bool, str | None]:
    """Return whether a path is for DNS, and its client id. A malformed id makes the path unknown.

    >>> (client_id_from_path("/dns-query"), client_id_from_path("/dns-query/mia-phone"), client_id_from_path("/dns-query/a/b"),
    ... client_id_from_path("/"))
    ((True, None), (True, 'mia-phone'), (False, None), (False, None))
    """
    if path in (_PATH, f"{_PATH}/"):
        return True, None
    head, slash, text = path.rpartition("/")
    client_id = text.lower()
    return (True, client_id) if slash and head == _PATH and _ID.fullmatch(client_id) else (False, None)


MAX_CLIENTS: Final = 4096
MAX_RAW_QUERIES: Final = 4096
_WITHOUT_OPTIONS: Final = (4, 4 + OPT_OCTETS)  # octets of a query behind its name
_REPORTS_PER_TURN: Final = 8
_RAW_QUERIES_PER_REPORT: Final = 8  # added up in the time of one report
MAX_UNREPORTED: Final = 1000
"""Unreported answers per client, beside those that the cache has: as many as a busy household gets in a second."""
MAX_UNREPORTED_OCTETS: Final = 2048  # octets of such an answer; the objects around it take up to ten times as much
CLIENT_ENTRY_SECONDS: Final = 10.0  # an address may pass to another device, which is noticed after this time at the latest


@dataclass(frozen=True, slots=True)
class Client:
    """A device that may ask, with the ruleset in force. `is_named`: the policy names it by MAC or IP address.

    `source` is the MAC or IP address, packed, whose connections the gateway admits only to addresses from answers; None: to any.
    """

    device: DeviceId
    ruleset: Ruleset
    is_named: bool = False
    source: bytes | None = None


type ClientLookup = Callable[[str], Client | None]
type ClientKey = int | str | bytes
"""What a listener finds in a datagram or about a connection to tell clients apart."""
type Observe = Callable[[Client, Request, Decision, int], None]


class RawQueryEntry:
    """The answer to a client's query of certain octets, without its id: right until `due`, and given `count` times.

    It copies what it needs of its entry: there are thousands, and each object more is another place in memory to wait for.
    """

    __slots__ = ("count", "due", "entry", "length", "rest")

    def __init__(self, entry: CacheEntry) -> None:
        self.entry = entry
        self.rest, self.length, self.due = entry.rest, entry.length, entry.due
        self.count = 0


class ClientEntry:
    """A client as the hot path needs it: the prefix of its cache keys, its raw queries, and a count of answers.

    Counts in `raw_queries` are not in `hits` yet. `admitted` are the cached answers whose addresses the gateway admits; None: any.
    """

    __slots__ = ("address", "admitted", "bucket", "client", "hits", "key", "prefix", "raw_queries")

    def __init__(self, key: ClientKey, address: str, client: Client, prefix: bytes, bucket: TokenBucket) -> None:
        self.key, self.address = key, address
        self.bucket = bucket
        self.client = client
        self.admitted: set[CacheEntry] | None = None if client.source is None else set()
        self.prefix = prefix
        self.hits: defaultdict[CacheEntry, int] = defaultdict(int)
        self.raw_queries: dict[bytes, RawQueryEntry] = {}

    def flush_raw_queries(self) -> None:
        for raw_query in self.raw_queries.values():
            self.hits[raw_query.entry] += raw_query.count
        self.raw_queries.clear()


@dataclass(slots=True)
class _ReportBatch:
    """The answers of a client in a second that is over."""

    client: Client
    raw_queries: dict[bytes, RawQueryEntry]
    hits: defaultdict[CacheEntry, int]

    def add_up(self, most: int) -> int:
        """Add the counts of up to `most` raw queries to their entries. Returns how many."""
        raw_queries, hits = self.raw_queries, self.hits
        number = min(len(raw_queries), most)
        for _ in range(number):
            _, raw_query = raw_queries.popitem()
            if raw_query.count:
                hits[raw_query.entry] += raw_query.count
        return number


class Clients:
    """The clients of one worker. The hot path reads `known` directly.

    A ruleset is never used past its `until`: listeners call `forget_expired` before they look up clients.
    """

    def __init__(
        self,
        find_client: ClientLookup,
        prefix_of: Callable[[Ruleset], bytes],
        observe: Observe,
        counters: dict[tuple[str, ...], float],
        clocks: Clocks,
        prefetch: Callable[[CacheEntry], None],
    ) -> None:
        self.limits = RateLimiter()
        self._prefetch = prefetch
        self.known: dict[ClientKey, ClientEntry] = {}
        self.find_client = find_client
        self._prefix_of, self._observe, self._counters, self._clocks = prefix_of, observe, counters, clocks
        self._boundary = float("inf")  # on the wall clock: the first `until` of all known clients
        self._stale_at = clocks.steady() + CLIENT_ENTRY_SECONDS
        self._has_complained = False
        self._report_batches: deque[_ReportBatch] = deque()
        self._pending = 0  # in `_report_batches`
        self._raw_query_count = 0  # of all clients

    def forget_expired(self, now: float) -> None:
        """Forget all clients when a ruleset has ended or the look-ups are old. `now` is on the steady clock."""
        if now >= self._stale_at or self._clocks.wall() >= self._boundary:
            self.forget()

    def find_again(self, client: ClientEntry) -> ClientEntry | None:
        """Return the current entry of a client that was found some time ago."""
        self.forget_expired(self._clocks.steady())
        return self.known.get(client.key) or self.find(client.key, client.address)

    def find(self, key: ClientKey, address: str) -> ClientEntry | None:
        """Look up the client at `address` and keep it under `key`. None for an unknown one, which is not kept: there may be any number."""
        client = self.find_client(address.partition("%")[0])
        if client is None:
            return None
        if len(self.known) >= MAX_CLIENTS:
            self.forget()
        until = client.ruleset.until
        if until is not None:
            self._boundary = min(self._boundary, until)
        client_entry = self.known[key] = ClientEntry(
            key, address, client, self._prefix_of(client.ruleset), self.limits.bucket(address, client.device)
        )
        return client_entry

    def learn(self, client: ClientEntry, raw: bytes, name_end: int, entry: CacheEntry) -> None:
        """Remember the raw octets (without the id, the name ending at `name_end`) of a client's query for an entry.

        Only for names in lower case without options, as most are, since clients choose these octets. Their number is bounded.
        """
        if len(raw) - name_end not in _WITHOUT_OPTIONS:
            return
        old = client.raw_queries.get(raw)
        if old is not None:
            client.hits[old.entry] += old.count
        elif self._raw_query_count < MAX_RAW_QUERIES:
            self._raw_query_count += 1
        else:
            self._flush_raw_queries()
        client.raw_queries[raw] = RawQueryEntry(entry)

    def record_answer(self, client: ClientEntry, entry: CacheEntry) -> None:
        """Count an answer that was not in the cache.

        It is reported at once if its client was forgotten meanwhile and would not be flushed. So are large answers and floods of names,
        since unreported answers stay in memory after the cache has dropped them.
        """
        if self.known.get(client.key) is client and len(client.hits) < MAX_UNREPORTED and entry.length <= MAX_UNREPORTED_OCTETS:
            client.hits[entry] += 1
        else:
            self._report(client.client, entry, 1)

    def forget(self) -> None:
        """Look up all clients anew. Their answers are set aside to be reported."""
        self._start_batch()
        self.known.clear()
        self._boundary = float("inf")
        self._stale_at = self._clocks.steady() + CLIENT_ENTRY_SECONDS

    def flush(self) -> None:
        """Report all answers since the last report."""
        self._start_batch()
        while self._report_batches:
            self.report_some()

    def begin_report(self) -> None:
        """Set aside the answers since the last report, unless some of that are still unreported."""
        if not self._report_batches:
            self._start_batch()

    def report_some(self) -> bool:
        """Report a few of the answers that were set aside, and prefetch popular ones that are about to expire. False if none is left.

        A few only, because queries wait meanwhile: a hundredth of them, and at least as many as take a tenth of a millisecond.
        """
        now = self._clocks.steady()
        left = _REPORTS_PER_TURN + self._pending // 128
        while self._report_batches and left > 0:
            batch = self._report_batches[0]
            before = len(batch.raw_queries) + len(batch.hits)
            left -= batch.add_up(_RAW_QUERIES_PER_REPORT * left) // _RAW_QUERIES_PER_REPORT
            while left > 0 and batch.hits:
                left -= 1
                entry, count = batch.hits.popitem()
                entry.seen = now
                if now >= entry.prefetch_at:
                    entry.prefetch_at = NEVER
                    self._prefetch(entry)
                self._report(batch.client, entry, count)
            after = len(batch.raw_queries) + len(batch.hits)
            self._pending -= before - after
            if not after:
                self._report_batches.popleft()
        return bool(self._report_batches)

    def _flush_raw_queries(self) -> None:
        for client in self.known.values():
            if client.raw_queries:
                client.flush_raw_queries()
        self._raw_query_count = 0

    def _start_batch(self) -> None:
        """Set aside raw queries too, which keeps nothing alive that the cache has dropped."""
        for client in self.known.values():
            if client.raw_queries or client.hits:
                self._pending += len(client.raw_queries) + len(client.hits)
                self._report_batches.append(_ReportBatch(client.client, client.raw_queries, client.hits))
                client.raw_queries, client.hits = {}, defaultdict(int)
        self._raw_query_count = 0

    def _report(self, client: Client, entry: CacheEntry, count: int) -> None:
        for label in entry.series:
            self._counters[label] = self._counters.get(label, 0.0) + count
        if entry.decision is None:
            return
        try:
            self._observe(client, Request(client.device, RequestKind.DNS, entry.host), entry.decision, count)
        except Exception:
            # A fault concerns every report: one traceback is enough.
            dropped = ("hedgerow_events_dropped_total", "dns")
            self._counters[dropped] = self._counters.get(dropped, 0.0) + 1
            if not self._has_complained:
                self._has_complained = True
                log.exception("DNS decisions cannot be reported")
