"""How many queries a client and all clients together may ask: token buckets, refilled once a second.

A bucket outlives what is known of its client, and a table of buckets never grows past its bound: whoever is not in it any more shares one.
"""

from __future__ import annotations

from typing import Final

from hedgerow.policies.network import QueryLimit

_MAX_BUCKETS: Final = 4096
_BURST_SECONDS: Final = 4  # a phone that wakes up asks for a hundred names at once
MAX_PENDING_PER_CLIENT: Final = 512  # queries of one client that wait for upstreams,
MAX_PENDING_PER_CLIENT_BUSY: Final = 32  # and when many others' do
_REFUSALS_PER_SECOND: Final = 500  # refusals a second; more than that is an attack, and silence the better answer
_UNLIMITED: Final = 1 << 29  # of one second; Python counts faster below 2 ** 30
MAX_QUERY: Final = 4096  # octets over a connection: a query with every option that there is has a few hundred
MAX_UNSENT: Final = 256 << 10  # octets of answers that the client of one connection does not take


class TokenBucket:
    """What a client may still ask in this second, and how many of its queries wait for upstreams."""

    __slots__ = ("left", "waiting")

    def __init__(self, left: int) -> None:
        self.left = left
        self.waiting = 0


class RateLimiter:
    """The buckets of one worker. `total` and `strangers` are those of all clients and of who may not ask; `free` is that of who has no
    limit.
    """

    def __init__(self, limit: QueryLimit | None = None) -> None:
        self.free = TokenBucket(_UNLIMITED)
        self.unknown_clients = TokenBucket(_REFUSALS_PER_SECOND)
        self._overflow = TokenBucket(0)
        self._buckets: dict[str, TokenBucket] = {}
        self._may_have_full = True
        self.change(limit)

    def change(self, limit: QueryLimit | None) -> None:
        """Other limits hold from now on; None: none at all."""
        self._limit = limit
        self._per_client = limit.per_client if limit and limit.per_client else _UNLIMITED
        self._total = limit.total if limit and limit.total else _UNLIMITED
        self.total = TokenBucket(min(self._total * _BURST_SECONDS, _UNLIMITED))
        self._buckets.clear()
        self._overflow.left = self._per_client

    def bucket(self, address: str, device: str) -> TokenBucket:
        """The bucket of a client; that of the crowd where there are too many."""
        if self._limit is None or self._limit.exempts(address):
            return self.free
        owner = rate_limit_key(address, device)
        found = self._buckets.get(owner)
        if found is None:
            if len(self._buckets) >= _MAX_BUCKETS and self._may_have_full:
                self._drop_full()
            if len(self._buckets) >= _MAX_BUCKETS:
                return self._overflow
            found = self._buckets[owner] = TokenBucket(self._full)
        return found

    def left(self, bucket: TokenBucket) -> int:
        """How much its client may still ask; at zero and below nothing is answered."""
        return _UNLIMITED if bucket is self.free else min(bucket.left, self.total.left)

    def take(self, bucket: TokenBucket, count: int) -> None:
        """Its client has asked so much."""
        if bucket is not self.free:
            bucket.left -= count
            self.total.left -= count

    def refill(self) -> None:
        """To be called once a second."""
        self.unknown_clients.left = _REFUSALS_PER_SECOND
        self.total.left = min(max(self.total.left, 0) + self._total, self._total * _BURST_SECONDS)
        self._overflow.left = self._per_client
        for bucket in self._buckets.values():
            bucket.left = min(max(bucket.left, 0) + self._per_client, self._full)
        self._may_have_full = True

    @property
    def _full(self) -> int:
        return min(self._per_client * _BURST_SECONDS, _UNLIMITED)

    def _drop_full(self) -> None:
        """Forget who has not asked for a while; at most once a second, since it costs as much as hundreds of answers."""
        self._may_have_full = False
        for address in [address for address, bucket in self._buckets.items() if bucket.left >= self._full and not bucket.waiting]:
            del self._buckets[address]


def rate_limit_key(address: str, device: str) -> str:
    """Whom a client's queries and connections count for: a device may take IPv6 addresses without number, so that they count together.

    >>> rate_limit_key("192.0.2.1", "tablet"), rate_limit_key("2001:db8::7", "tablet"), rate_limit_key("id:mia", "tablet")
    ('192.0.2.1', 'tablet', 'tablet')
    """
    return device if ":" in address else address
