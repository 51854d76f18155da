"""Heads of plain requests that are judged already, for further requests of the same client to the same site, on any of
its connections.

They are the octets that a browser repeats with each request, cookies included; so they are few, and forgotten soon.
"""

from __future__ import annotations

from dataclasses import dataclass

from mitmproxy.connection import Client

from hedgerow.proxy.inspection.clients import ActiveRequest, ClientRegistry
from hedgerow.proxy.inspection.engine.plain_messages import PlainHead, PlainRequest
from hedgerow.proxy.inspection.request import JudgedHead, RequestHandler
from hedgerow.proxy.policy import ProxyPolicy
from hedgerow.values import BoundedDict

MAX_HEADS, MAX_HEAD, MAX_REQUEST = 256, 4096, 8192
"""Heads that are remembered, the octets of one, and those of the request with which it came first."""

MOST_SECONDS = 30.0
"""Seconds after which all heads are forgotten. Those that are in use are known again from their second request on."""

type Site = tuple[str, str | None, tuple[str, int] | None, bool]
"""A client's address, its SNI, and its destination with or without TLS: all that a judgement depends on besides the
request and policy.
"""


@dataclass(frozen=True, slots=True)
class CachedHead:
    """A head as it goes on to the origin, and what follows from it."""

    plain: PlainHead
    judged: JudgedHead


@dataclass(frozen=True, slots=True)
class _Candidate:
    request: PlainRequest
    active: ActiveRequest
    policy: ProxyPolicy


class HeadCache:
    """A head is known from its second request on: most come once only."""

    def __init__(self, clients: ClientRegistry, judge: RequestHandler) -> None:
        self._clients, self._judge = clients, judge
        self._heads = BoundedDict[tuple[Site, bytes], CachedHead | _Candidate](MAX_HEADS)
        self._ends_at = 0.0

    def find(self, site: Site, head: bytes, client: Client) -> CachedHead | None:
        """Return a head if it is known, or known now since it comes again."""
        found = self._heads.get((site, head))
        if isinstance(found, _Candidate):
            is_current = found.policy is self._clients.policy
            judged = self._judge.head_of(found.request, found.active, client) if is_current else None
            if judged is None:
                del self._heads[site, head]
                return None
            found = self._heads[site, head] = CachedHead(PlainHead(found.request), judged)
        return found

    def note(self, site: Site, head: bytes, request: PlainRequest, active: ActiveRequest) -> None:
        """Note that a request was let through as `active`, and went on without another path."""
        if len(head) <= MAX_HEAD and len(request.raw) <= MAX_REQUEST:
            self._heads[site, head] = _Candidate(request, active, self._clients.policy)

    def clear(self) -> None:
        self._heads.clear()

    def age(self, now: float) -> None:
        """Forget what was noted for long enough. `now` is in the loop's time."""
        if now >= self._ends_at:
            self.clear()
            self._ends_at = now + MOST_SECONDS
