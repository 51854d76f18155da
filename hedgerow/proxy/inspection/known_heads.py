"""Heads of plain requests that are judged already, for further requests of the same client to the same site, on any of
its connections.

They are the octets that a browser repeats with each request, cookies included; so they are few, and forgotten soon.
"""

from __future__ import annotations

from dataclasses import dataclass

from mitmproxy.connection import Client, Server

from hedgerow.proxy.inspection.clients import ActiveRequest, ClientRegistry
from hedgerow.proxy.inspection.engine.plain_messages import PlainHead, PlainRequest
from hedgerow.proxy.inspection.request import JudgedHead, RequestHandler
from hedgerow.proxy.policy import ProxyPolicy

MAX_HEADS, MAX_HEAD, MAX_REQUEST = 128, 4096, 8192
"""Heads that are remembered in one generation, the octets of one, and those of the request with which it came first."""

GENERATION_SECONDS = 30.0
"""Seconds after which heads that were not used since are forgotten, at most twice as many."""

type Site = tuple[str, str | None, tuple[str, int] | None, bool]
"""A client's address, its SNI, and its destination with or without TLS: all that a judgement depends on beside the
request and policy.
"""


def site_of(clients: ClientRegistry, client: Client, server: Server) -> Site:
    return clients.address(client), client.sni, server.address, server.tls


@dataclass(frozen=True, slots=True)
class KnownHead:
    """A head as it goes on to the origin, and what follows from it."""

    plain: PlainHead
    judged: JudgedHead


@dataclass(frozen=True, slots=True)
class _Candidate:
    request: PlainRequest
    active: ActiveRequest
    policy: ProxyPolicy


class KnownHeads:
    """A head is known from its second request on: most come once only."""

    def __init__(self, clients: ClientRegistry, judge: RequestHandler) -> None:
        self._clients, self._judge = clients, judge
        self._recent: dict[tuple[Site, bytes], KnownHead | _Candidate] = {}
        self._older: dict[tuple[Site, bytes], KnownHead | _Candidate] = {}
        self._ages_at = 0.0

    def find(self, site: Site, head: bytes, client: Client) -> KnownHead | None:
        """Return a head if it is known, or known now since it comes again."""
        key = (site, head)
        found = self._recent.get(key)
        if found is None:
            found = self._older.pop(key, None)
            if found is None:
                return None
            self._put(key, found)
        if isinstance(found, KnownHead):
            return found
        judged = (
            self._judge.head_of(found.request, found.active, client) if found.policy is self._clients.policy else None
        )
        if judged is None:
            del self._recent[key]
            return None
        known = self._recent[key] = KnownHead(PlainHead(found.request), judged)
        return known

    def note(self, site: Site, head: bytes, request: PlainRequest, active: ActiveRequest) -> None:
        """Note that a request was let through as `active`, and went on without another path."""
        if len(head) <= MAX_HEAD and len(request.raw) <= MAX_REQUEST:
            self._put((site, head), _Candidate(request, active, self._clients.policy))

    def _put(self, key: tuple[Site, bytes], found: KnownHead | _Candidate) -> None:
        if len(self._recent) >= MAX_HEADS:
            self._older, self._recent = self._recent, {}
        self._recent[key] = found

    def clear(self) -> None:
        self._recent.clear()
        self._older.clear()

    def age(self, now: float) -> None:
        """Forget heads that were not used for long. `now` is in the loop's time."""
        if now >= self._ages_at:
            self._older, self._recent = self._recent, {}
            self._ages_at = now + GENERATION_SECONDS
