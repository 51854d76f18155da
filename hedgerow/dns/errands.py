"""One query that is under way: to the upstreams, and back with what they said, or with what they said before."""

from __future__ import annotations

from typing import Final, Protocol

from hedgerow.dns.answers import STALE_TTL
from hedgerow.dns.cache import ClockCache, Resolution, resolution_key
from hedgerow.dns.cases import Answer, Case, Clocks, Done
from hedgerow.dns.upstreams.deadlines import Handle
from hedgerow.dns.upstreams.inquiries import Outcome, Upstreams, is_bogus
from hedgerow.dns.upstreams.responses import Response
from hedgerow.dns.upstreams.upstream import Ask, UpstreamError
from hedgerow.dns.wire import HEADER, Query

STALE_AFTER_SECONDS: Final = 1.8  # how long a client waits for the upstreams where an old answer is at hand (RFC 8767, section 5)


class Sender(Protocol):
    """Who sends on errands: where things are kept, and what is made of what was brought."""

    clocks: Clocks
    upstreams: Upstreams
    resolutions: ClockCache[Resolution]

    def learn(self, query: Query, response: Response) -> Resolution: ...

    def weigh(self, case: Case, response: Response) -> None: ...

    def conclude(self, case: Case, resolution: Resolution, done: Done) -> None: ...

    def give_stale(self, case: Case, resolution: Resolution, done: Done, *, keep: bool) -> None: ...

    def give_up(self, case: Case, fault: UpstreamError, done: Done) -> None: ...

    def give_in(self, case: Case, done: Done) -> None: ...


class Errand:
    """Waits for the upstreams on behalf of one client, and tells it once."""

    __slots__ = ("_case", "_deadline", "_done", "_key", "_old", "_resolver", "_upstreams")

    def __init__(self, resolver: Sender, case: Case, done: Done) -> None:
        self._resolver, self._case, self._done = resolver, case, done
        self._upstreams = resolver.upstreams
        self._key = resolution_key(case.query)
        self._old: Resolution | None = None
        self._deadline: Handle | None = None

    def start(self) -> None:
        query, now = self._case.query, self._resolver.clocks.steady()
        known = self._resolver.resolutions.get(self._key, now)
        if known is not None and known.fresh_until > now:
            self._resolver.conclude(self._case, known, self._done)
            return
        if known is not None and known.recheck_at > now:
            self._resolver.give_stale(self._case, known, self._done, keep=True)
            return
        if known is not None:
            self._old = known
            self._deadline = self._upstreams.deadlines.after(STALE_AFTER_SECONDS, self._late)
        ask = Ask.of(query)
        if self._upstreams.is_echo(ask, query.data[HEADER : query.end]):
            self._arrived(UpstreamError("this question came back to who had asked it: resolvers ask each other in a loop"))
        else:
            self._upstreams.start(ask, self._arrived)

    def _late(self) -> None:
        """The upstreams are slow. Their answer will be kept when it comes, so this one is for this client only."""
        self._deadline = None
        if self._old is not None:
            self._resolver.give_stale(self._case, self._old, self._tell, keep=False)

    def _arrived(self, outcome: Outcome) -> None:
        if self._deadline is not None:
            self._upstreams.deadlines.cancel(self._deadline)
        try:
            self._conclude(outcome)
        except Exception:
            self._resolver.give_in(self._case, self._tell)

    def _conclude(self, outcome: Outcome) -> None:
        told, here = self._done is _nobody, self._resolver
        if isinstance(outcome, UpstreamError):
            old = None if is_bogus(outcome) else self._old
            if old is not None:
                old.recheck_at = here.clocks.steady() + STALE_TTL  # whether or not this client could wait for it
            if told:
                return
            if old is not None:
                here.give_stale(self._case, old, self._tell, keep=True)
            else:
                here.give_up(self._case, outcome, self._tell)
            return
        here.weigh(self._case, outcome)
        now = here.clocks.steady()
        known = here.resolutions.get(self._key, now)
        if known is None or known.fresh_until <= now:  # else another who waited for the same was told a moment ago
            known = here.learn(self._case.query, outcome)
        if not told:
            here.conclude(self._case, known, self._tell)

    def _tell(self, answer: Answer) -> None:
        done, self._done = self._done, _nobody
        done(answer)


def _nobody(_answer: Answer) -> None:
    """Who has been told already."""
