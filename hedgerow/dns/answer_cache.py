"""Finished answers: rendered for a client, and kept by the client's own bytes."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from struct import pack
from typing import Final, NamedTuple

from hedgerow.dns import answers, wire
from hedgerow.dns.answer_policy import AnswerPolicy
from hedgerow.dns.answers import Draft
from hedgerow.dns.cache import NEVER, CacheEntry, ClockCache, Resolution, learn_suffix
from hedgerow.dns.metrics import CountedDecision, CountedDecisions
from hedgerow.dns.special_names import NXDOMAIN_WHEN_BLOCKED
from hedgerow.dns.wire import Query
from hedgerow.policies.decide import WELCOME_REASONS, fields_read
from hedgerow.policies.model import Decision, DeviceId, Reason, RequestKind, Verdict
from hedgerow.policies.network import BlockedAnswer
from hedgerow.policies.ruleset import Ruleset

_MIN_PREFETCH_LIFETIME: Final = 10.0  # seconds
_MAX_BLOCKED: Final = 4096
# seconds that a blocked answer still lasts if it is given to another name
_MIN_BLOCKED_LEFT: Final = answers.BLOCKED_LIFETIME / 2
_MAX_SHAPES: Final = 256
LONGEST_QUESTION: Final = wire.HEADER + 255 + 4  # octets of a message up to the end of the question

URL_ALLOWED: Final = Decision(Verdict.ALLOW, Reason.DEFAULT)
"""The decision on a host whose URL was judged and allowed.

It is for that request alone, so its answer is not kept.
"""

_FIELDS_IN_KEY: Final = {"host", "dns_type"}
if unkeyed := set(fields_read(RequestKind.DNS)) - _FIELDS_IN_KEY:
    raise TypeError(
        f"decisions on DNS depend on {', '.join(sorted(unkeyed))}, which the key of an answer does not hold"
    )


class Clocks(NamedTuple):
    """The monotonic clock, by which TTLs run, and the wall clock, by which rulesets end. Both in seconds."""

    steady: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time


class Answer(NamedTuple):
    """The message to send (None: nothing), and its cache entry with its key and the decision (None: the query was not
    judged).
    """

    message: bytes | None
    entry: CacheEntry | None = None
    key: bytes = b""
    decision: Decision | None = None


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

    @property
    def is_lifeline(self) -> bool:
        """True for a helpline, whose name is asked of the upstreams each time.

        What is kept serves when none of them answers.

        From the TTL or the delay of a kept answer, anybody at home could read when somebody had looked for help.
        """
        return self.decision.reason is Reason.LIFELINE


class AnswerCache(ClockCache[CacheEntry]):
    """Answers by ruleset, header flags, name, type, class and EDNS shape.

    A key is `prefix(ruleset) + Query.key`. The listeners build the same bytes without parsing the query; `suffixes`
    maps the raw bytes behind the name to the last part of the key, by transport. Equal answers to different names, as
    blocked ones are, are one object, and so are those that several rulesets give to one name.
    """

    def __init__(self, max_octets: int, clocks: Clocks) -> None:
        super().__init__(max_octets)
        self.suffixes: defaultdict[str, dict[bytes, bytes]] = defaultdict(dict)
        self._clocks = clocks
        self._counted_decisions = CountedDecisions()
        self._blocked: dict[tuple[object, ...], CacheEntry] = {}
        self._shapes: dict[bytes, bytes] = {}
        self._epoch = 0

    def start_epoch(self) -> None:
        """Forget all answers; those still in flight under the old snapshot get keys that are never looked up again."""
        self._epoch += 1
        self.clear()

    def clear(self) -> None:
        super().clear()
        self._blocked.clear()

    def prefix(self, ruleset: Ruleset) -> bytes:
        """Return the first part of a ruleset's cache keys. Its id is unique within one snapshot only."""
        return pack("!II", self._epoch & 0xFFFFFFFF, ruleset.id)

    def build(self, context: QueryContext, decision: Decision, draft: Draft) -> Answer:
        """Render a draft of our own making for the client, and keep it unless its lifetime is 0."""
        now = self._clocks.steady()
        until = _earliest(context.ruleset.until, decision.until)
        entry = CacheEntry(
            answers.render(context.query, draft),
            draft,
            created_at=now,
            until=NEVER if until is NEVER else now + (until - self._clocks.wall()),
            counted=self._counted(context, decision, draft.rcode),
        )
        return self._keep(context, decision, entry, now)

    def build_from(self, context: QueryContext, decision: Decision, resolution: Resolution, draft: Draft) -> Answer:
        """Build the answer from the draft of a resolution, like `build`. Rulesets share it."""
        now, query = self._clocks.steady(), context.query
        counted = self._counted(context, decision, draft.rcode)
        until = _earliest(context.ruleset.until, decision.until)
        if until is not NEVER:
            until = now + (until - self._clocks.wall())
            if (
                until >= resolution.created_at + max([ttl for _, ttl in draft.ttls], default=0)
                and until >= resolution.fresh_until
            ):
                until = NEVER  # no TTL goes beyond it
        is_shareable = query.cacheable and until is NEVER and resolution.unfiltered is None
        shape = query.data[2 : wire.HEADER] + query.suffix
        shared = resolution.answer
        if (
            is_shareable
            and shared is not None
            and shared.counted is counted
            and shared.expires > now
            and resolution.answer_shape == shape
        ):
            return self._keep(context, decision, shared, now)
        entry = CacheEntry(
            answers.render(query, draft), draft, created_at=resolution.created_at, until=until, counted=counted
        )
        lasts = entry.expires - entry.created_at >= _MIN_PREFETCH_LIFETIME
        entry.wants_prefetch = query.cacheable and lasts and not context.ruleset.upstream  # the network's are asked
        if is_shareable and (shared is None or shared.expires <= now):
            resolution.answer, resolution.answer_shape = entry, self._shared_shape(shape)
            entry.is_shared = True
        return self._keep(context, decision, entry, now)

    def build_blocked(self, context: QueryContext, decision: Decision, lifetime: float | None = None) -> Answer:
        """Build the answer to a blocked query, as the policy wants it.

        `lifetime` is in seconds, None: the usual one.
        """
        policy = context.answer_policy
        settings = policy.settings
        kind = settings.blocked_answer
        if context.host in NXDOMAIN_WHEN_BLOCKED:
            kind = BlockedAnswer.NXDOMAIN
        elif kind is BlockedAnswer.PAGE and not (
            policy.serves_page or context.ruleset.trusts_ca or decision.reason in WELCOME_REASONS
        ):
            kind = BlockedAnswer.ZERO  # another server's certificate warning would only frighten
        if lifetime is not None:
            draft = answers.blocked(context.query, decision, kind, settings.block_page)
            return self.build(context, decision, draft._replace(lifetime=lifetime))
        now, query, rule = self._clocks.steady(), context.query, decision.rule
        # Ids, as in `CountedDecisions`. Without the text of the rule, which is a list's own name for the host.
        source, line = (None, None) if rule is None else (rule.source, rule.line)
        why = id(kind), id(decision.verdict), id(decision.reason), decision.what, source, line, decision.until
        shape = context.prefix, query.data[2 : wire.HEADER], query.suffix, *why
        entry = self._blocked.get(shape)
        if entry is not None and (entry.expires - now > _MIN_BLOCKED_LEFT or now < entry.expires == entry.until):
            return self._keep(context, decision, entry, now)
        answer = self.build(context, decision, answers.blocked(query, decision, kind, settings.block_page))
        if answer.entry is not None and query.cacheable and LONGEST_QUESTION + len(answer.entry.tail) <= query.limit:
            if len(self._blocked) >= _MAX_BLOCKED:
                self._blocked.clear()
            self._share(answer.key, answer.entry)
            self._blocked[shape] = answer.entry
        return answer

    def _keep(self, context: QueryContext, decision: Decision, entry: CacheEntry, now: float) -> Answer:
        """Return the answer for the client, and keep it if it may be asked for again."""
        query = context.query
        key = context.prefix + query.key
        if now >= entry.due:
            entry.refresh(now)
        if query.cacheable and entry.expires > now and context.decision is not URL_ALLOWED and not context.is_lifeline:
            self.put(key, entry, now)
            suffixes = self.suffixes[context.transport]
            if query.suffix_key not in suffixes:
                learn_suffix(suffixes, query)
        return Answer(entry.message(query.data, query.end), entry, key, decision)

    def _counted(self, context: QueryContext, decision: Decision, rcode: int = wire.NOERROR) -> CountedDecision:
        return self._counted_decisions.of(decision, context.transport, context.query.qtype, rcode)

    def _share(self, key: bytes, entry: CacheEntry) -> None:
        """Mark an entry, which was just kept under a key, as one for many names."""
        if key in self.entries:
            self.octets -= entry.size
        entry.is_shared = True

    def _shared_shape(self, shape: bytes) -> bytes:
        if len(self._shapes) >= _MAX_SHAPES:
            self._shapes.clear()
        return self._shapes.setdefault(shape, shape)


def _earliest(one: float | None, other: float | None) -> float:
    if one is None:
        return NEVER if other is None else other
    return one if other is None or one < other else other
