"""Finished answers: rendered for a client, and kept by the client's own bytes."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from struct import pack
from typing import Final, NamedTuple

from hedgerow.dns import answers
from hedgerow.dns.answer_policy import AnswerPolicy
from hedgerow.dns.answers import Draft
from hedgerow.dns.cache import NEVER, CacheEntry, ClockCache, learn_suffix
from hedgerow.dns.metrics import SeriesTable
from hedgerow.dns.special_names import NXDOMAIN_WHEN_BLOCKED
from hedgerow.dns.wire import Query
from hedgerow.policies.decide import WELCOME_REASONS, fields_read
from hedgerow.policies.model import Decision, DeviceId, Reason, RequestKind, Verdict
from hedgerow.policies.network import BlockedAnswer
from hedgerow.policies.ruleset import Ruleset

MAX_ANSWERS: Final = 10_000
_PREFETCH_AT: Final = 0.9  # the part of its lifetime after which a popular answer is asked for again
_MIN_PREFETCH_LIFETIME: Final = 10.0  # seconds

URL_ALLOWED: Final = Decision(Verdict.ALLOW, Reason.DEFAULT)
"""The decision on a host whose URL was judged and allowed. It holds for that request alone, so its answer is not kept."""

_FIELDS_IN_KEY: Final = {"host", "dns_type"}
if unkeyed := set(fields_read(RequestKind.DNS)) - _FIELDS_IN_KEY:
    raise TypeError(f"decisions on DNS depend on {', '.join(sorted(unkeyed))}, which the key of an answer does not hold")


class Clocks(NamedTuple):
    """The monotonic clock, by which TTLs run, and the wall clock, by which rulesets end. Both in seconds."""

    steady: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time


class Answer(NamedTuple):
    """The message to send (None: nothing), and its cache entry with the decision (None: the query was not judged)."""

    message: bytes | None
    entry: CacheEntry | None = None


class QueryContext(NamedTuple):
    """A query with its client and the decision on its name."""

    ruleset: Ruleset
    device: DeviceId
    query: Query
    host: str
    transport: str
    decision: Decision
    prefix: bytes  # of the cache key
    answer_policy: AnswerPolicy  # of the snapshot that the ruleset belongs to


class AnswerCache(ClockCache[CacheEntry]):
    """Answers by ruleset, header flags, name, type, class and EDNS shape.

    A key is `prefix(ruleset) + Query.key`. The listeners build the same bytes without parsing the query; `suffixes` maps the raw bytes
    behind the name to the last part of the key, by transport.
    """

    def __init__(self, max_octets: int, clocks: Clocks) -> None:
        super().__init__(MAX_ANSWERS, max_octets)
        self.suffixes: defaultdict[str, dict[bytes, bytes]] = defaultdict(dict)
        self._clocks = clocks
        self._series = SeriesTable()
        self._epoch = 0

    def start_epoch(self) -> None:
        """Forget all answers; those still in flight under the old snapshot get keys that are never looked up again."""
        self._epoch += 1
        self.clear()

    def prefix(self, ruleset: Ruleset) -> bytes:
        """Return the first part of a ruleset's cache keys. Its id is unique within one snapshot only."""
        return pack("!II", self._epoch & 0xFFFFFFFF, ruleset.id)

    def build(self, context: QueryContext, decision: Decision, draft: Draft, created_at: float | None = None) -> Answer:
        """Render a draft for the client, and keep it unless its lifetime is 0. `created_at` is None for an answer of our own making."""
        query = context.query
        now = self._clocks.steady()
        until = _earliest(context.ruleset.until, decision.until)
        key = context.prefix + query.key
        entry = CacheEntry(
            answers.render(query, draft),
            draft,
            created_at=now if created_at is None else created_at,
            until=NEVER if until is NEVER else now + (until - self._clocks.wall()),
            key=key,
            decision=decision,
            series=self._series.of(decision, context.transport, query.qtype, context.ruleset.profile),
        )
        if query.cacheable and created_at is not None and entry.expires - created_at >= _MIN_PREFETCH_LIFETIME:
            entry.prefetch_at = created_at + _PREFETCH_AT * (entry.expires - created_at)
        entry.refresh(now)
        if query.cacheable and entry.expires > now and context.decision is not URL_ALLOWED:
            self.put(key, entry, now)
            learn_suffix(self.suffixes[context.transport], query)
        return Answer(entry.message(query.data, query.end), entry)

    def build_blocked(self, context: QueryContext, decision: Decision, lifetime: float | None = None) -> Answer:
        """Build the answer to a blocked query, as the policy wants it. `lifetime` is in seconds, None: the usual one."""
        policy = context.answer_policy
        settings = policy.settings
        kind = settings.blocked_answer
        if context.host in NXDOMAIN_WHEN_BLOCKED:
            kind = BlockedAnswer.NXDOMAIN
        elif kind is BlockedAnswer.PAGE and not (policy.serves_page or context.ruleset.trusts_ca or decision.reason in WELCOME_REASONS):
            kind = BlockedAnswer.ZERO  # another server's certificate warning would only frighten
        draft = answers.blocked(context.query, decision, kind, settings.block_page)
        return self.build(context, decision, draft if lifetime is None else draft._replace(lifetime=lifetime))


def _earliest(*instants: float | None) -> float:
    return min((instant for instant in instants if instant is not None), default=NEVER)
