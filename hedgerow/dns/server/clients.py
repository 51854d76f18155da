"""Who a client of encrypted DNS says that it is: by the server name it asks for, or by the path; and how clients are called that are not
known by their address. Pure.

An id makes a device known wherever it asks from, so it is as good as a password: whoever has it gets that device's answers.
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

CLIENT_ID_PREFIX: Final = "id:"
MAC_PREFIX: Final = "mac:"
FORWARDER_PREFIX: Final = "forwarder:"
"""A client is looked up under its address, or under its id or the MAC address that a forwarder gives with this before it; a forwarder that
asks for itself is kept under its address with this before it. No address begins so."""

_ID: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_PATH: Final = "/dns-query"


def client_id_from_sni(server_name: str | None, own_name: str | None) -> str | None:
    """The id before our own name in the name of a ClientHello (SNI).

    >>> client_id_from_sni("Mia-Phone.dns.home.example", "dns.home.example"), client_id_from_sni("dns.home.example", "dns.home.example")
    ('mia-phone', None)
    """
    if server_name is None or own_name is None:
        return None
    label, dot, rest = server_name.lower().rstrip(".").partition(".")
    return label if dot and rest == own_name and _ID.fullmatch(label) else None


def client_id_from_path(path: str) -> tuple[bool, str | None]:
    """Is this a path for DNS, and whose? An id that is malformed is as good as an unknown path.

    >>> (client_id_from_path("/dns-query"), client_id_from_path("/dns-query/mia-phone"), client_id_from_path("/dns-query/a/b"),
    ... client_id_from_path("/"))
    ((True, None), (True, 'mia-phone'), (False, None), (False, None))
    """
    if path in (_PATH, f"{_PATH}/"):
        return True, None
    head, slash, text = path.rpartition("/")
    client_id = text.lower()
    return (True, client_id) if slash and head == _PATH and _ID.fullmatch(client_id) else (False, None)


log = logging.getLogger(__name__)

MAX_CLIENTS: Final = 4096
MAX_RAW_QUERIES: Final = 4096
_WITHOUT_OPTIONS: Final = (4, 4 + OPT_OCTETS)  # octets of a query behind its name
_REPORTS_PER_TURN: Final = 8
_RAW_QUERIES_PER_REPORT: Final = 8  # that are added up in the time that a report takes
MAX_UNREPORTED: Final = 1000
"""Answers of one client that wait for their report, beside those that the cache has: as many as a busy household asks for in a second."""
MAX_UNREPORTED_OCTETS: Final = 2048  # octets of such an answer; what is around it takes up to ten times as much
CLIENT_ENTRY_SECONDS: Final = 10.0  # an address may pass to another device; its new owner is seen at the latest after this


@dataclass(frozen=True, slots=True)
class Client:
    """A device that may ask, and what holds for it now."""

    device: DeviceId
    ruleset: Ruleset


type ClientLookup = Callable[[str], Client | None]
type ClientKey = int | str | bytes
"""What a listener finds in a datagram or about a connection that tells clients apart."""
type Observe = Callable[[Client, Request, Decision, int], None]


class RawQueryEntry:
    """The answer to a client's query of certain octets, its id aside: right until `due`, and given `count` times.

    It holds what it needs of its entry by itself: there are thousands, and each object more is another place in memory to wait for.
    """

    __slots__ = ("count", "due", "entry", "length", "rest")

    def __init__(self, entry: CacheEntry) -> None:
        self.entry = entry
        self.rest, self.length, self.due = entry.rest, entry.length, entry.due
        self.count = 0


class ClientEntry:
    """A client as the hot path needs it: the first part of its cache keys, how it words its queries, and a tally of answers.

    What is counted in `words` is not in `hits` yet.
    """

    __slots__ = ("address", "bucket", "client", "hits", "key", "prefix", "words")

    def __init__(self, key: ClientKey, address: str, client: Client, prefix: bytes, bucket: TokenBucket) -> None:
        self.key, self.address = key, address
        self.bucket = bucket
        self.client = client
        self.prefix = prefix
        self.hits: defaultdict[CacheEntry, int] = defaultdict(int)
        self.words: dict[bytes, RawQueryEntry] = {}

    def flush_raw_queries(self) -> None:
        for raw_query in self.words.values():
            self.hits[raw_query.entry] += raw_query.count
        self.words.clear()


@dataclass(slots=True)
class _ReportBatch:
    """What a client was answered in a second that is over."""

    client: Client
    words: dict[bytes, RawQueryEntry]
    hits: defaultdict[CacheEntry, int]

    def add_up(self, most: int) -> int:
        """Count some of the wordings to their entries; returns how many."""
        words, hits = self.words, self.hits
        number = min(len(words), most)
        for _ in range(number):
            _, raw_query = words.popitem()
            if raw_query.count:
                hits[raw_query.entry] += raw_query.count
        return number


class Clients:
    """The clients of one worker. `known` may be read directly.

    A ruleset is never used past its `until`: a listener calls `keep_time` before it looks anybody up.
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
        self._boundary = float("inf")  # on the wall clock: the first `until` of those who are known
        self._stale_at = clocks.steady() + CLIENT_ENTRY_SECONDS
        self._complained = False
        self._report_batches: deque[_ReportBatch] = deque()
        self._pending = 0  # in `_aside`
        self._raw_query_count = 0  # wordings of all clients

    def forget_expired(self, now: float) -> None:
        """Forget everybody when a ruleset has ended, or the look-ups are old. `now` is the steady clock's."""
        if now >= self._stale_at or self._clocks.wall() >= self._boundary:
            self.forget()

    def find_again(self, known: ClientEntry) -> ClientEntry | None:
        """The client that was `known` some time ago, with what holds for it now."""
        self.forget_expired(self._clocks.steady())
        return self.known.get(known.key) or self.find(known.key, known.address)

    def find(self, key: ClientKey, address: str) -> ClientEntry | None:
        """The client at `address`, kept under `key`; None for one that may not ask, who is not kept: strangers are without number."""
        client = self.find_client(address.partition("%")[0])
        if client is None:
            return None
        if len(self.known) >= MAX_CLIENTS:
            self.forget()
        until = client.ruleset.until
        if until is not None:
            self._boundary = min(self._boundary, until)
        found = self.known[key] = ClientEntry(
            key, address, client, self._prefix_of(client.ruleset), self.limits.bucket(address, client.device)
        )
        return found

    def learn(self, known: ClientEntry, words: bytes, name_end: int, entry: CacheEntry) -> None:
        """Remember that this client's query for an entry, all of it but the id, reads like this, with the name ending at `name_end`.

        Only a name in small letters without options, as most are, is worth it: senders choose these octets. Their number is bounded.
        """
        if len(words) - name_end not in _WITHOUT_OPTIONS:
            return
        old = known.words.get(words)
        if old is not None:
            known.hits[old.entry] += old.count
        elif self._raw_query_count < MAX_RAW_QUERIES:
            self._raw_query_count += 1
        else:
            self._flush_raw_queries()
        known.words[words] = RawQueryEntry(entry)

    def record_answer(self, known: ClientEntry, entry: CacheEntry) -> None:
        """Note an answer that the cache did not have. Its client may have been forgotten meanwhile, and would not be flushed; and of a
        flood of names, or where it is large, it is reported at once, since what waits for its report lives on when the cache has given it
        up.
        """
        if self.known.get(known.key) is known and len(known.hits) < MAX_UNREPORTED and entry.length <= MAX_UNREPORTED_OCTETS:
            known.hits[entry] += 1
        else:
            self._report(known.client, entry, 1)

    def forget(self) -> None:
        """Look everybody up anew; what they were answered is set aside to be reported."""
        self._start_batch()
        self.known.clear()
        self._boundary = float("inf")
        self._stale_at = self._clocks.steady() + CLIENT_ENTRY_SECONDS

    def flush(self) -> None:
        """Report all that was answered since the last time."""
        self._start_batch()
        while self._report_batches:
            self.report_some()

    def begin_report(self) -> None:
        """Set aside what was answered since the last time, unless there is still something to report of that."""
        if not self._report_batches:
            self._start_batch()

    def report_some(self) -> bool:
        """Report a few of the answers that were set aside, to the counters and to `observe`; renew what is popular and about to expire.

        False when nothing is left. A few only, because queries wait meanwhile: a hundredth of them, and those of a tenth of a millisecond
        at least.
        """
        now = self._clocks.steady()
        left = _REPORTS_PER_TURN + self._pending // 128
        while self._report_batches and left > 0:
            batch = self._report_batches[0]
            before = len(batch.words) + len(batch.hits)
            left -= batch.add_up(_RAW_QUERIES_PER_REPORT * left) // _RAW_QUERIES_PER_REPORT
            while left > 0 and batch.hits:
                left -= 1
                entry, count = batch.hits.popitem()
                entry.seen = now
                if now >= entry.prefetch_at:
                    entry.prefetch_at = NEVER
                    self._prefetch(entry)
                self._report(batch.client, entry, count)
            after = len(batch.words) + len(batch.hits)
            self._pending -= before - after
            if not after:
                self._report_batches.popleft()
        return bool(self._report_batches)

    def _flush_raw_queries(self) -> None:
        for known in self.known.values():
            if known.words:
                known.flush_raw_queries()
        self._raw_query_count = 0

    def _start_batch(self) -> None:
        """Wordings too, which keeps nothing alive that the cache has given up."""
        for known in self.known.values():
            if known.words or known.hits:
                self._pending += len(known.words) + len(known.hits)
                self._report_batches.append(_ReportBatch(known.client, known.words, known.hits))
                known.words, known.hits = {}, defaultdict(int)
        self._raw_query_count = 0

    def _report(self, client: Client, entry: CacheEntry, count: int) -> None:
        for label in entry.series:
            self._counters[label] = self._counters.get(label, 0.0) + count
        if entry.decision is None:
            return
        try:
            self._observe(client, Request(client.device, RequestKind.DNS, entry.host), entry.decision, count)
        except Exception:
            # Whatever is wrong with it concerns every report: one traceback says it, thousands would be the next trouble.
            dropped = ("hedgerow_events_dropped_total", "dns")
            self._counters[dropped] = self._counters.get(dropped, 0.0) + 1
            if not self._complained:
                self._complained = True
                log.exception("DNS decisions cannot be reported")
