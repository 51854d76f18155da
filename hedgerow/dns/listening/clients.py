"""Who asks: addresses that were looked up lately, what holds for them, and what they were answered since the last report."""

from __future__ import annotations

import logging
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from hedgerow.dns.cache import NEVER, Entry
from hedgerow.dns.cases import Clocks
from hedgerow.dns.listening.limits import Bucket, Limits
from hedgerow.dns.wire import OPT_OCTETS
from hedgerow.policies.model import Decision, DeviceId, Kind, Request
from hedgerow.policies.ruleset import Ruleset

log = logging.getLogger(__name__)

MAX_CLIENTS: Final = 4096
MAX_WORDINGS: Final = 4096
_WITHOUT_OPTIONS: Final = (4, 4 + OPT_OCTETS)  # octets of a query behind its name
_REPORTS_AT_ONCE: Final = 8
_WORDINGS_A_REPORT: Final = 8  # that are added up in the time that a report takes
MOST_WAITING: Final = 1000
"""Answers of one client that wait for their report, beside those that the cache has: as many as a busy household asks for in a second."""
LARGEST_WAITING: Final = 2048  # octets of such an answer; what is around it takes up to ten times as much
CLIENT_SECONDS: Final = 10.0  # an address may pass to another device; its new owner is seen at the latest after this


@dataclass(frozen=True, slots=True)
class Client:
    """A device that may ask, and what holds for it now."""

    device: DeviceId
    ruleset: Ruleset


type ClientOf = Callable[[str], Client | None]
type Key = int | str | bytes
"""What a listener finds in a datagram or about a connection that tells clients apart."""
type Observe = Callable[[Client, Request, Decision, int], None]


class Wording:
    """The answer to a client's query of certain octets, its id aside: right until `due`, and given `count` times.

    It holds what it needs of its entry by itself: there are thousands, and each object more is another place in memory to wait for.
    """

    __slots__ = ("count", "due", "entry", "length", "rest")

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.rest, self.length, self.due = entry.rest, entry.length, entry.due
        self.count = 0


class Known:
    """A client as the hot path needs it: the first part of its cache keys, how it words its queries, and a tally of answers.

    What is counted in `words` is not in `hits` yet.
    """

    __slots__ = ("address", "bucket", "client", "hits", "key", "prefix", "words")

    def __init__(self, key: Key, address: str, client: Client, prefix: bytes, bucket: Bucket) -> None:
        self.key, self.address = key, address
        self.bucket = bucket
        self.client = client
        self.prefix = prefix
        self.hits: defaultdict[Entry, int] = defaultdict(int)
        self.words: dict[bytes, Wording] = {}

    def forget_words(self) -> None:
        for wording in self.words.values():
            self.hits[wording.entry] += wording.count
        self.words.clear()


@dataclass(slots=True)
class _Aside:
    """What a client was answered in a second that is over."""

    client: Client
    words: dict[bytes, Wording]
    hits: defaultdict[Entry, int]

    def add_up(self, most: int) -> int:
        """Count some of the wordings to their entries; returns how many."""
        words, hits = self.words, self.hits
        number = min(len(words), most)
        for _ in range(number):
            _, wording = words.popitem()
            if wording.count:
                hits[wording.entry] += wording.count
        return number


class Clients:
    """The clients of one worker. `known` may be read directly.

    A ruleset is never used past its `until`: a listener calls `keep_time` before it looks anybody up.
    """

    def __init__(
        self,
        client_of: ClientOf,
        prefix_of: Callable[[Ruleset], bytes],
        observe: Observe,
        counters: dict[tuple[str, ...], float],
        clocks: Clocks,
        renew: Callable[[Entry], None],
    ) -> None:
        self.limits = Limits()
        self._renew = renew
        self.known: dict[Key, Known] = {}
        self.client_of = client_of
        self._prefix_of, self._observe, self._counters, self._clocks = prefix_of, observe, counters, clocks
        self._boundary = float("inf")  # on the wall clock: the first `until` of those who are known
        self._stale_at = clocks.steady() + CLIENT_SECONDS
        self._complained = False
        self._aside: deque[_Aside] = deque()
        self._pending = 0  # in `_aside`
        self._learnt = 0  # wordings of all clients

    def keep_time(self, now: float) -> None:
        """Forget everybody when a ruleset has ended, or the look-ups are old. `now` is the steady clock's."""
        if now >= self._stale_at or self._clocks.wall() >= self._boundary:
            self.forget()

    def find_again(self, known: Known) -> Known | None:
        """The client that was `known` some time ago, with what holds for it now."""
        self.keep_time(self._clocks.steady())
        return self.known.get(known.key) or self.find(known.key, known.address)

    def find(self, key: Key, address: str) -> Known | None:
        """The client at `address`, kept under `key`; None for one that may not ask, who is not kept: strangers are without number."""
        client = self.client_of(address.partition("%")[0])
        if client is None:
            return None
        if len(self.known) >= MAX_CLIENTS:
            self.forget()
        until = client.ruleset.until
        if until is not None:
            self._boundary = min(self._boundary, until)
        found = self.known[key] = Known(key, address, client, self._prefix_of(client.ruleset), self.limits.bucket(address, client.device))
        return found

    def learn(self, known: Known, words: bytes, name_end: int, entry: Entry) -> None:
        """Remember that this client's query for an entry, all of it but the id, reads like this, with the name ending at `name_end`.

        Only a name in small letters without options, as most are, is worth it: senders choose these octets. Their number is bounded.
        """
        if len(words) - name_end not in _WITHOUT_OPTIONS:
            return
        old = known.words.get(words)
        if old is not None:
            known.hits[old.entry] += old.count
        elif self._learnt < MAX_WORDINGS:
            self._learnt += 1
        else:
            self._forget_words()
        known.words[words] = Wording(entry)

    def tally(self, known: Known, entry: Entry) -> None:
        """Note an answer that the cache did not have. Its client may have been forgotten meanwhile, and would not be flushed; and of a
        flood of names, or where it is large, it is reported at once, since what waits for its report lives on when the cache has given it
        up.
        """
        if self.known.get(known.key) is known and len(known.hits) < MOST_WAITING and entry.length <= LARGEST_WAITING:
            known.hits[entry] += 1
        else:
            self._report(known.client, entry, 1)

    def forget(self) -> None:
        """Look everybody up anew; what they were answered is set aside to be reported."""
        self._set_aside()
        self.known.clear()
        self._boundary = float("inf")
        self._stale_at = self._clocks.steady() + CLIENT_SECONDS

    def flush(self) -> None:
        """Report all that was answered since the last time."""
        self._set_aside()
        while self._aside:
            self.report_some()

    def begin_report(self) -> None:
        """Set aside what was answered since the last time, unless there is still something to report of that."""
        if not self._aside:
            self._set_aside()

    def report_some(self) -> bool:
        """Report a few of the answers that were set aside, to the counters and to `observe`; renew what is popular and about to expire.

        False when nothing is left. A few only, because queries wait meanwhile: a hundredth of them, and those of a tenth of a millisecond
        at least.
        """
        now = self._clocks.steady()
        left = _REPORTS_AT_ONCE + self._pending // 128
        while self._aside and left > 0:
            aside = self._aside[0]
            before = len(aside.words) + len(aside.hits)
            left -= aside.add_up(_WORDINGS_A_REPORT * left) // _WORDINGS_A_REPORT
            while left > 0 and aside.hits:
                left -= 1
                entry, count = aside.hits.popitem()
                entry.seen = now
                if now >= entry.renew_at:
                    entry.renew_at = NEVER
                    self._renew(entry)
                self._report(aside.client, entry, count)
            after = len(aside.words) + len(aside.hits)
            self._pending -= before - after
            if not after:
                self._aside.popleft()
        return bool(self._aside)

    def _forget_words(self) -> None:
        for known in self.known.values():
            if known.words:
                known.forget_words()
        self._learnt = 0

    def _set_aside(self) -> None:
        """Wordings too, which keeps nothing alive that the cache has given up."""
        for known in self.known.values():
            if known.words or known.hits:
                self._pending += len(known.words) + len(known.hits)
                self._aside.append(_Aside(known.client, known.words, known.hits))
                known.words, known.hits = {}, defaultdict(int)
        self._learnt = 0

    def _report(self, client: Client, entry: Entry, count: int) -> None:
        for label in entry.series:
            self._counters[label] = self._counters.get(label, 0.0) + count
        if entry.decision is None:
            return
        try:
            self._observe(client, Request(client.device, Kind.DNS, entry.host), entry.decision, count)
        except Exception:
            # Whatever is wrong with it concerns every report: one traceback says it, thousands would be the next trouble.
            dropped = ("hedgerow_events_dropped_total", "dns")
            self._counters[dropped] = self._counters.get(dropped, 0.0) + 1
            if not self._complained:
                self._complained = True
                log.exception("DNS decisions cannot be reported")
