"""Fair shares of the server: rate limits per client and for all clients, and a queue of cache misses.

Limits are token buckets, refilled once per second. A bucket outlives its client's entry. The table of buckets is
bounded: clients without a place in it share one bucket. A handshake costs more than a query, and a frame without a
query is none, so each has tokens of its own, which outlive the connections. A miss costs a hundred times as much as a
hit, so that in a single queue the misses of one client could delay everybody else's: `FairQueue` has one FIFO per
client, served in turn. Clients that the policy does not name have half of the total together, since any of them may
have many addresses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Final

from hedgerow.client_classes import ClientClass, FairQueues
from hedgerow.frame_budget import FrameTokens
from hedgerow.policies.network import QueryLimit

_MAX_BUCKETS: Final = 16_384
_BURST_SECONDS: Final = 4  # a phone that wakes up asks for a hundred names at once
MAX_PENDING_PER_CLIENT: Final = 512  # queries of one client that wait for upstreams
MAX_PENDING_PER_CLIENT_BUSY: Final = 32  # the same while many others' wait
_REFUSALS_PER_SECOND: Final = 500  # beyond that it is an attack, which is not answered
_CLIENT_ID_TRIES: Final = 60  # wrong client ids of all clients together; one more per second
MAX_HANDSHAKES: Final = 60  # of one client at once, over TLS and QUIC; a phone that changes networks needs two or three
HANDSHAKES_PER_SECOND: Final = 10
_UNLIMITED: Final = 1 << 29  # Python counts faster below 2 ** 30
MAX_QUERY: Final = 4096  # octets over a connection; a query with all known options has a few hundred
MAX_UNSENT: Final = 256 << 10  # octets of answers that the client of one connection does not read


class TokenBucket:
    """The queries and handshakes that a client has left, the tokens for its frames, and the number of its queries that
    wait for upstreams.

    `frames` is None for clients without a limit: each of their connections has tokens of its own. `is_named`: the
    policy names the client.
    """

    __slots__ = ("frames", "handshakes", "is_named", "left", "waiting")

    def __init__(self, left: int, handshakes: int = MAX_HANDSHAKES, frames: FrameTokens | None = None) -> None:
        self.left = left
        self.waiting = 0
        self.handshakes = handshakes
        self.frames = frames
        self.is_named = False

    @property
    def is_out_of_frames(self) -> bool:
        """True if the client has sent more frames than it may. Time has not restored any yet."""
        return self.frames is not None and self.frames.left <= 0

    def admits_handshake(self) -> bool:
        """Take one handshake; False if none is left."""
        self.handshakes -= 1
        return self.handshakes >= 0


class RateLimiter:
    """The buckets of one worker.

    `total` is for all clients, `unnamed` for all that the policy does not name, `unknown_clients` for those that may
    not ask, `free` for those without a limit, and `client_ids` for ids that the policy does not have.
    """

    def __init__(self, limit: QueryLimit | None = None) -> None:
        self.free = TokenBucket(_UNLIMITED, _UNLIMITED)
        self.unknown_clients = TokenBucket(_REFUSALS_PER_SECOND, frames=FrameTokens())
        self.client_ids = TokenBucket(_CLIENT_ID_TRIES)
        self._overflow = TokenBucket(0, frames=FrameTokens())
        self._buckets: dict[str, TokenBucket] = {}
        self._may_have_full = True
        self.change(limit)

    def change(self, limit: QueryLimit | None) -> None:
        """Set other limits; None: no limit."""
        self._limit = limit
        self._per_client = limit.per_client if limit and limit.per_client else _UNLIMITED
        self._total = limit.total if limit and limit.total else _UNLIMITED
        self.total = TokenBucket(min(self._total * _BURST_SECONDS, _UNLIMITED))
        self.unnamed = TokenBucket(self.total.left // 2)
        self._buckets.clear()
        self._overflow.left = self._per_client

    def bucket(self, address: str, device: str, *, is_named: bool = False) -> TokenBucket:
        """Return the bucket of a client, or the shared one if there are too many clients.

        Named ones may be twice as many as others.
        """
        if self._limit is None or self._limit.exempts(address):
            return self.free
        owner = rate_limit_key(address, device)
        bucket = self._buckets.get(owner)
        if bucket is None:
            most = 2 * _MAX_BUCKETS if is_named else _MAX_BUCKETS
            if len(self._buckets) >= most and self._may_have_full:
                self._drop_full()
            if len(self._buckets) >= most:
                return self._overflow
            bucket = self._buckets[owner] = TokenBucket(self._full, frames=FrameTokens())
        bucket.is_named = is_named
        return bucket

    def left(self, bucket: TokenBucket) -> int:
        """Return how many queries are left to a bucket. At zero or below nothing is answered."""
        if bucket is self.free:
            return _UNLIMITED
        left = min(bucket.left, self.total.left)
        return left if bucket.is_named else min(left, self.unnamed.left)

    def take(self, bucket: TokenBucket, count: int) -> None:
        """Take queries from a bucket and from the total."""
        if bucket is not self.free:
            bucket.left -= count
            self.total.left -= count
            if not bucket.is_named:
                self.unnamed.left -= count

    def refill(self) -> None:
        """Refill all buckets. Call it once per second."""
        self.free.handshakes = _UNLIMITED
        self.unknown_clients.left = _REFUSALS_PER_SECOND
        _refill_handshakes(self.unknown_clients)
        _refill_handshakes(self._overflow)
        self.client_ids.left = min(self.client_ids.left + 1, _CLIENT_ID_TRIES)
        self.total.left = min(max(self.total.left, 0) + self._total, self._total * _BURST_SECONDS)
        self.unnamed.left = min(max(self.unnamed.left, 0) + self._total // 2, self._total // 2 * _BURST_SECONDS)
        self._overflow.left = self._per_client
        for bucket in self._buckets.values():
            bucket.left = min(max(bucket.left, 0) + self._per_client, self._full)
            _refill_handshakes(bucket)
        self._may_have_full = True

    @property
    def _full(self) -> int:
        return min(self._per_client * _BURST_SECONDS, _UNLIMITED)

    def _drop_full(self) -> None:
        """Forget clients that are quiet; at most once per second, since it costs as much as hundreds of answers."""
        self._may_have_full = False
        quiet = [
            address for address, bucket in self._buckets.items() if bucket.left >= self._full and not bucket.waiting
        ]
        for address in quiet:
            if self._buckets[address].handshakes >= MAX_HANDSHAKES and not self._buckets[address].is_out_of_frames:
                del self._buckets[address]


def _refill_handshakes(bucket: TokenBucket) -> None:
    bucket.handshakes = min(max(bucket.handshakes, 0) + HANDSHAKES_PER_SECOND, MAX_HANDSHAKES)


def rate_limit_key(address: str, device: str) -> str:
    """Return the key by which queries and connections count.

    IPv6 counts by device, since a device has any number of addresses.

    >>> (rate_limit_key("192.0.2.1", "tablet"), rate_limit_key("2001:db8::7", "tablet"),
    ...  rate_limit_key("id:mia", "tablet"))
    ('192.0.2.1', 'tablet', 'tablet')
    """
    return device if ":" in address else address


MAX_PER_CLIENT: Final = 512
MAX_QUEUED: Final = 4096  # of all clients
_ITEMS_PER_TURN: Final = 16  # before the loop looks at the sockets


class FairQueue[T]:
    """Cache misses with one FIFO per client.

    `work` handles one item. `on_rejected` is called for each item that finds no place.

    Clients that the policy names have every second turn.
    """

    def __init__(self, work: Callable[[T], None], on_rejected: Callable[[], None]) -> None:
        self._work, self._on_rejected = work, on_rejected
        self._queues = FairQueues[T]()
        self._next: asyncio.Handle | None = None

    def __len__(self) -> int:
        return len(self._queues)

    def add(self, owner: Hashable, rank: ClientClass, item: T) -> None:
        """Queue an item for its owner, of a class; `turn` handles it."""
        if self._queues.waiting(owner, rank) >= (MAX_PER_CLIENT if len(self._queues) < MAX_QUEUED else 1):
            self._on_rejected()
        else:
            self._queues.put(owner, rank, item)

    def turn(self) -> None:
        """Handle some items, and the rest after the loop has looked at the sockets."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
        for _ in range(min(_ITEMS_PER_TURN, len(self._queues))):
            self._work(self._queues.pop())
        if self._queues:
            self._next = asyncio.get_running_loop().call_soon(self.turn)

    def close(self) -> None:
        if self._next is not None:
            self._next.cancel()
        self._queues.clear()
