"""Counts of answers by client, host and decision, and their reports to the journal: a few at a time, since queries wait
meanwhile.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from hedgerow.dns.cache import NAME_AT, NAME_END, CacheEntry
from hedgerow.dns.metrics import TAG_OCTETS, CountedDecision
from hedgerow.dns.wire import OPT_OCTETS, host_of
from hedgerow.policies.model import Decision, DeviceId, Request, RequestKind
from hedgerow.policies.ruleset import Ruleset
from hedgerow.watched_tasks import note_unexpected

MAX_RAW_QUERIES: Final = 4096
MAX_UNREPORTED: Final = 2000
"""Hosts per client whose answers are counted by name until they are reported.

Those of others are counted by decision.
"""
MAX_UNREPORTED_OF_ALL: Final = 20_000
MAX_LOG: Final = 1024  # answers that are logged before they are added up
_MAX_LOGGED_OCTETS: Final = 2048  # of an answer; the log keeps what the cache may have dropped
_WITHOUT_OPTIONS: Final = (4, 4 + OPT_OCTETS)  # octets of a query behind its name
_REPORTS_PER_TURN: Final = 4
_RAW_QUERIES_PER_REPORT: Final = 8  # added up in the time of one report


@dataclass(frozen=True, slots=True)
class Client:
    """A device that may ask, with the ruleset in force. `is_named`: the policy names it by MAC or IP address.

    `source` is the MAC or IP address, packed, whose connections the gateway admits only to addresses from answers;
    None: to any.
    """

    device: DeviceId
    ruleset: Ruleset
    is_named: bool = False
    source: bytes | None = None


type Observe = Callable[[Client, Request, Decision, int], None]
type HostCounts = dict[bytes, tuple[Decision, int]]
"""Decisions and how often they were given, by name in wire form with the decision's tag: the root's where names are not
told apart.
"""


class RawQueryEntry:
    """The answer to a client's query of certain octets, without its id: right until `due`, and given `count` times.

    It copies what it needs of its entry: there are thousands, and each object more is another place in memory to wait
    for.
    """

    __slots__ = ("count", "counted", "due", "key", "length", "rest")

    def __init__(self, key: bytes, entry: CacheEntry, question: bytes) -> None:
        self.key, self.counted = key, entry.counted
        self.rest, self.due = entry.head + question + entry.tail, entry.due
        self.length = 2 + len(self.rest)
        self.count = 0


class AnswerLog:
    """The answers to one client since its last report.

    `keys` and `entries` are those from the cache that are not in `counts` yet. `raw_queries` count for themselves.
    """

    __slots__ = ("client", "counts", "entries", "keys", "raw_queries")

    def __init__(self, client: Client) -> None:
        self.client = client
        self.keys: list[bytes] = []
        self.entries: list[CacheEntry] = []
        self.counts: HostCounts = {}
        self.raw_queries: dict[bytes, RawQueryEntry] = {}


@dataclass(slots=True)
class _ReportBatch:
    """The answers of a client in a second that is over."""

    client: Client
    raw_queries: dict[bytes, RawQueryEntry]
    counts: HostCounts


class AnswerReports:
    """The reports of one worker. `counters` are those of its metrics."""

    def __init__(self, observe: Observe, counters: dict[tuple[str, ...], float]) -> None:
        self._observe, self._counters = observe, counters
        self._batches: deque[_ReportBatch] = deque()
        self._unreported = 0  # counts by name, of all clients
        self._raw_query_count = 0  # of all clients
        self._has_complained = False

    @property
    def is_done(self) -> bool:
        """True if all that was set aside is reported."""
        return not self._batches

    @property
    def has_room_for_raw(self) -> bool:
        """True if the raw octets of another query can be learnt."""
        return self._raw_query_count < MAX_RAW_QUERIES

    def learn(self, client: AnswerLog, raw: bytes, name_end: int, key: bytes, entry: CacheEntry) -> None:
        """Remember the raw octets (without the id, the name ending at `name_end`) of a client's query for an entry.

        Only for names in lower case without options, as most are, since clients choose these octets. Their number is
        bounded: the first of each second have a place, and what is popular is soon among them.
        """
        if len(raw) - name_end not in _WITHOUT_OPTIONS:
            return
        old = client.raw_queries.get(raw)
        if old is not None:
            self._add_up_raw(client.client, old, client.counts)
        elif self._raw_query_count >= MAX_RAW_QUERIES:
            return
        else:
            self._raw_query_count += 1
        client.raw_queries[raw] = RawQueryEntry(key, entry, raw[10 : name_end + 4])

    def add(self, client: AnswerLog, key: bytes, entry: CacheEntry) -> None:
        """Note one answer. The hot path appends to both lists by itself."""
        client.keys.append(key)
        client.entries.append(entry)
        if len(client.keys) >= MAX_LOG or len(entry.tail) > _MAX_LOGGED_OCTETS:
            self.add_up(client)

    def add_up(self, client: AnswerLog) -> None:
        """Add the log of a client to its counts by name, and to the counters.

        Answers to new names beyond the bounds count by their decision only, so that a flood of names can fill neither
        memory nor the journal.
        """
        keys, entries, counts, device = client.keys, client.entries, client.counts, client.client
        for counted, count in Counter([entry.counted for entry in entries]).items():
            self._count_series(device, counted, count)
        for key, entry in zip(keys, entries, strict=True):
            self._count_host(counts, key, entry.counted, 1)
        keys.clear()
        entries.clear()

    def _count_host(self, counts: HostCounts, key: bytes, counted: CountedDecision, count: int) -> None:
        host = key[NAME_AT:NAME_END] + counted.tag
        found = counts.get(host)
        if found is None:
            if len(counts) >= MAX_UNREPORTED or self._unreported >= MAX_UNREPORTED_OF_ALL:
                host = b"\0" + counted.tag
                found = counts.get(host)
            self._unreported += found is None
        counts[host] = counted.decision, count if found is None else count + found[1]

    def _add_up_raw(self, client: Client, raw_query: RawQueryEntry, counts: HostCounts) -> None:
        if raw_query.count:
            self._count_series(client, raw_query.counted, raw_query.count)
            self._count_host(counts, raw_query.key, raw_query.counted, raw_query.count)

    def _count_series(self, client: Client, counted: CountedDecision, count: int) -> None:
        counters = self._counters
        for label in (*counted.series, counted.profile_series(client.ruleset.profile)):
            counters[label] = counters.get(label, 0.0) + count

    def add_up_all(self, clients: Iterable[AnswerLog]) -> None:
        """Add the logs of clients to their counts."""
        for client in clients:
            if client.keys:
                self.add_up(client)

    def set_aside(self, clients: Iterable[AnswerLog]) -> None:
        """Set aside the counts of all clients, and their raw queries, which keep nothing alive that the cache has
        dropped.
        """
        for client in clients:
            if client.keys:
                self.add_up(client)
            if client.raw_queries or client.counts:
                self._batches.append(_ReportBatch(client.client, client.raw_queries, client.counts))
                client.raw_queries, client.counts = {}, {}
        self._raw_query_count = 0

    def report_at_once(self, client: Client, key: bytes, entry: CacheEntry) -> None:
        self._count_series(client, entry.counted, 1)
        self._report(client, key[NAME_AT:NAME_END], entry.counted.decision, 1)

    def report_some(self) -> bool:
        """Report a few of the answers that were set aside, those of each client in turn. False if none is left.

        A few only, because queries wait meanwhile. What is asked faster than it can be reported is counted for longer.
        """
        left = _REPORTS_PER_TURN * _RAW_QUERIES_PER_REPORT
        while self._batches and left > 0:
            batch = self._batches.popleft()
            if batch.raw_queries:
                _, raw_query = batch.raw_queries.popitem()
                self._add_up_raw(batch.client, raw_query, batch.counts)
                left -= 1
            else:
                host, (decision, count) = batch.counts.popitem()
                self._unreported -= 1
                self._report(batch.client, host[:-TAG_OCTETS], decision, count)
                left -= _RAW_QUERIES_PER_REPORT
            if batch.raw_queries or batch.counts:
                self._batches.append(batch)
        return bool(self._batches)

    def _report(self, client: Client, name: bytes, decision: Decision, count: int) -> None:
        try:
            self._observe(client, Request(client.device, RequestKind.DNS, host_of(name)), decision, count)
        except Exception:
            # A fault concerns every report: one traceback is enough.
            dropped = ("hedgerow_events_dropped_total", "dns")
            self._counters[dropped] = self._counters.get(dropped, 0.0) + 1
            if not self._has_complained:
                self._has_complained = True
                note_unexpected("DNS decisions cannot be reported")
