"""Limits that are shared by class of client, not by address: an address is free to invent, a name in the policy is not.

A place is anything that a client occupies for a while, such as a connection or a handshake. Nothing is reserved: while
places are free, every client may take them, so that a network in which no device has a name yet is served like any
other. In a full table the newcomer gets a place of the lowest class below its own. Within its own class it gets one of
the client that has the most, if that is at least two more than its own, or if it has none. A client is thus never
displaced by one of a lower class, whatever number of addresses that class invents, and clients with their fair share do
not displace one another in turn.

What cannot be taken back, such as queries in flight, has a `ClassBudget`: clients without a name have a part of it
together. What waits for work has `FairQueues`: clients are served in turn, and those with a name have every second
turn.

Pure: no sockets, no clock. The caller closes what has to leave.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Hashable
from enum import IntEnum
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Final, NamedTuple

_LINK_BITS: Final = 64
"""The prefix of an IPv6 network in which one device takes any number of addresses (RFC 4291, section 2.5.4)."""

_SITE_BITS: Final = 48
"""The prefix that a site may have (RFC 6177), and with it 65,536 networks of 64 bits."""


class ClientClass(IntEnum):
    """Classes of clients. A higher one displaces a lower one."""

    OUTSIDE = 0  # not of the network, and let in only far enough to be refused
    UNNAMED = 1  # of the network, without a name in the policy
    NAMED = 2  # a device that the policy names, or a person who has signed in


class ClassedClient(NamedTuple):
    """A client as limits see it.

    `key` is what one client has one of: the id of a device, an IPv4 address, or an IPv6 network of 64 bits. `group` is
    what many keys may belong to: the IPv6 network of 48 bits, or a device of the policy that is a whole network. It is
    empty if there is none.
    """

    rank: ClientClass
    key: str
    group: str = ""


def named_client(key: str, device: str = "") -> ClassedClient:
    """Return a client that the policy names. `key` is its device, or its address if `device` may be a whole network."""
    return ClassedClient(ClientClass.NAMED, key, device if device != key else "")


def unnamed_client(address: str, device: str = "") -> ClassedClient:
    """Return a client of the network without a name. `device` is by what it was recognised, such as a MAC address.

    >>> unnamed_client("2001:db8:1:2::7")
    ClassedClient(rank=<ClientClass.UNNAMED: 1>, key='2001:db8:1:2::/64', group='2001:db8:1::/48')
    """
    link, site = _networks_of(address)
    return ClassedClient(ClientClass.UNNAMED, device or link, site)


def outside_client(address: str) -> ClassedClient:
    """Return a client that is not of the network."""
    link, site = _networks_of(address)
    return ClassedClient(ClientClass.OUTSIDE, link, site)


def address_key(address: str) -> str:
    """Return what one client has one of: an IPv4 address, or an IPv6 network of 64 bits.

    A text that is not an address stays as it is.

    >>> (address_key("192.0.2.7"), address_key("::ffff:192.0.2.7"), address_key("2001:db8:1:2:3::7"),
    ...  address_key("fe80::1%eth0"))
    ('192.0.2.7', '192.0.2.7', '2001:db8:1:2::/64', 'fe80::/64')
    """
    return _networks_of(address)[0]


@lru_cache(4096)
def _networks_of(address: str) -> tuple[str, str]:
    """Return the network that is one client's, and the group of networks, if any."""
    if ":" not in address:
        return address, ""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address, ""
    if not isinstance(parsed, IPv6Address) or parsed.is_loopback:
        return str(parsed), ""
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped), ""
    return _prefix(parsed, _LINK_BITS), _prefix(parsed, _SITE_BITS)


def _prefix(address: IPv6Address, bits: int) -> str:
    unused = 128 - bits
    return f"{IPv6Address(int(address) >> unused << unused)}/{bits}"


class Places[K: Hashable]:
    """At most `total` items of all clients, `per_client` of one client, and `per_group` of one group: half of the total
    without it.

    >>> places = Places[str](total=2, per_client=2)
    >>> stranger, phone = unnamed_client("192.0.2.7"), named_client("mias-phone")
    >>> (places.enter("first", stranger), places.enter("second", stranger), places.has_room(phone),
    ...  places.contenders(phone))
    (None, None, False, ('first', 'second'))
    >>> places.leave("first"), places.enter("third", phone), places.contenders(stranger)
    (None, None, ())
    """

    def __init__(self, total: int, per_client: int, per_group: int | None = None) -> None:
        self.total, self.per_client = total, per_client
        self._per_group = max(1, total // 2) if per_group is None else per_group
        self._clients: dict[K, ClassedClient] = {}
        # by rank; the hash of an enumeration's member is slow
        self._classes = tuple(_ClassPlaces[K]() for _ in ClientClass)
        self._groups: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._clients)

    def __contains__(self, item: K) -> bool:
        return item in self._clients

    def items(self) -> tuple[K, ...]:
        """Return all items, the oldest first."""
        return tuple(self._clients)

    def count(self, client: ClassedClient) -> int:
        """Return how many places a client has."""
        return len(self._classes[client.rank].items.get(client.key, ()))

    def items_of(self, client: ClassedClient) -> tuple[K, ...]:
        """Return the items of a client, the oldest first."""
        return tuple(self._classes[client.rank].items.get(client.key, ()))

    def count_of_class(self, rank: ClientClass) -> int:
        """Return how many places all clients of a class have."""
        return self._classes[rank].count

    def has_room(self, client: ClassedClient) -> bool:
        """Return whether a client may take one more place as things are."""
        return len(self._clients) < self.total and self._is_within_limits(client)

    def contenders(self, client: ClassedClient) -> tuple[K, ...]:
        """Return the items of which one has to leave before a client may enter, the oldest first.

        There are none if it may enter as things are, and none if no item may leave for it. `has_room` tells which.
        """
        own = self.count(client)
        if own >= self.per_client:
            return ()
        is_group_full = bool(client.group) and self._groups[client.group] >= self._per_group
        if not is_group_full and len(self._clients) < self.total:
            return ()
        group = client.group if is_group_full else ""
        for lower in self._classes[: client.rank]:
            if found := lower.most_of(0, group):
                return found
        return self._classes[client.rank].most_of(own + 1 if own else 0, group)

    def enter(self, item: K, client: ClassedClient) -> None:
        """Give a place to a new item. The caller has made room."""
        assert item not in self._clients
        self._clients[item] = client
        self._classes[client.rank].add(item, client)
        if client.group:
            self._groups[client.group] += 1

    def leave(self, item: K) -> None:
        """Free the place of an item, if it has one."""
        client = self._clients.pop(item, None)
        if client is None:
            return
        self._classes[client.rank].remove(item, client)
        if client.group:
            self._groups[client.group] -= 1
            if not self._groups[client.group]:
                del self._groups[client.group]

    def move(self, item: K, client: ClassedClient) -> bool:
        """Count an item as another client's from now on, such as one that has signed in. False if that has too many."""
        before = self._clients[item]
        if before == client:
            return True
        if not self._is_within_limits(client, leaving=before.group):
            return False
        self.leave(item)
        self.enter(item, client)
        return True

    def replace(self, item: K, successor: K) -> None:
        """Give the place of an item to another, which it has become."""
        client = self._clients.pop(item)
        self._clients[successor] = client
        items = self._classes[client.rank].items[client.key]
        items[successor] = items.pop(item)

    def _is_within_limits(self, client: ClassedClient, leaving: str = "") -> bool:
        if self.count(client) >= self.per_client:
            return False
        return not client.group or client.group == leaving or self._groups[client.group] < self._per_group


class _ClassPlaces[K: Hashable]:
    """The items of one class by client.

    Each change, and finding a client with the most, takes the same time for any number of clients.
    """

    def __init__(self) -> None:
        self.items: dict[str, dict[K, str]] = {}  # with the group of each
        self.count = 0
        self._by_count: list[dict[str, None]] = [{}]  # clients by how many places they have; there are none at 0
        self._most = 0

    def add(self, item: K, client: ClassedClient) -> None:
        items = self.items.get(client.key)
        if items is None:
            items = self.items[client.key] = {}
        else:
            del self._by_count[len(items)][client.key]
        items[item] = client.group
        self.count += 1
        count = len(items)
        if count > self._most:
            self._most = count
            if count == len(self._by_count):
                self._by_count.append({})
        self._by_count[count][client.key] = None

    def remove(self, item: K, client: ClassedClient) -> None:
        items = self.items[client.key]
        del self._by_count[len(items)][client.key]
        del items[item]
        self.count -= 1
        if items:
            self._by_count[len(items)][client.key] = None
        else:
            del self.items[client.key]
        if not self._by_count[self._most]:
            self._most -= 1  # that of the client whose count has just become one less

    def most_of(self, more_than: int, group: str = "") -> tuple[K, ...]:
        """Return the items of the client with the most, if these are `more_than` so many.

        With a `group`, only items in it count.
        """
        for count in range(self._most, more_than, -1):
            for key in self._by_count[count]:
                items = self.items[key]
                found = tuple(item for item in items if items[item] == group) if group else tuple(items)
                if found:
                    return found
        return ()


class ClassBudget:
    """An amount that all clients share and that cannot be taken back, of which those without a name have at most
    `unnamed` together.

    Without `unnamed` it is half. Named clients may use all of it, so that they always find the other half free of
    strangers.

    >>> budget = ClassBudget(4)
    >>> [budget.take(rank) for rank in (ClientClass.UNNAMED, ClientClass.UNNAMED, ClientClass.UNNAMED,
    ...  ClientClass.NAMED)]
    [True, True, False, True]
    """

    __slots__ = ("_all", "_total", "_unnamed", "_unnamed_total")

    def __init__(self, total: int, unnamed: int | None = None) -> None:
        self._total = total
        self._unnamed_total = total // 2 if unnamed is None else unnamed
        self._all = self._unnamed = 0

    @property
    def taken(self) -> int:
        """The amount that is taken."""
        return self._all

    def take(self, rank: ClientClass, amount: int = 1) -> bool:
        """Take an amount until `give_back`. False if there is not enough, and nothing is taken then."""
        if self._all + amount > self._total:
            return False
        if rank is not ClientClass.NAMED:
            if self._unnamed + amount > self._unnamed_total:
                return False
            self._unnamed += amount
        self._all += amount
        return True

    def give_back(self, rank: ClientClass, amount: int = 1) -> None:
        """Give back what a client of this class has taken."""
        self._all -= amount
        if rank is not ClientClass.NAMED:
            self._unnamed -= amount


class FairQueues[T]:
    """A FIFO per client.

    Clients are served in turn; while some with a name and some without wait, every second turn is of one with a name.

    >>> queues = FairQueues[str]()
    >>> for number, (key, rank) in enumerate([("a", 1), ("a", 1), ("b", 1), ("mia", 2), ("mia", 2)]):
    ...     queues.put(key, ClientClass(rank), f"{key}{number}")
    >>> [queues.pop() for _ in range(len(queues))]
    ['mia3', 'a0', 'mia4', 'b2', 'a1']
    """

    def __init__(self) -> None:
        self._named: dict[Hashable, deque[T]] = {}
        self._others: dict[Hashable, deque[T]] = {}
        self._count = 0
        self._is_turn_of_named = True

    def __len__(self) -> int:
        return self._count

    @property
    def clients(self) -> int:
        """The number of clients that wait."""
        return len(self._named) + len(self._others)

    def waiting(self, key: Hashable, rank: ClientClass) -> int:
        """Return how many items of a client wait."""
        return len(self._of(rank).get(key, ()))

    def put(self, key: Hashable, rank: ClientClass, item: T) -> None:
        """Add an item at the end of its client's queue."""
        queues = self._of(rank)
        queue = queues.get(key)
        if queue is None:
            queue = queues[key] = deque()
        queue.append(item)
        self._count += 1

    def pop(self) -> T:
        """Take the item whose turn it is out. Raises StopIteration if there is none."""
        queues = self._named if self._named and (self._is_turn_of_named or not self._others) else self._others
        self._is_turn_of_named = queues is not self._named
        key = next(iter(queues))
        queue = queues.pop(key)
        item = queue.popleft()
        self._count -= 1
        if queue:
            queues[key] = queue  # at the end
        return item

    def clear(self) -> None:
        """Forget all items."""
        self._named.clear()
        self._others.clear()
        self._count = 0

    def _of(self, rank: ClientClass) -> dict[Hashable, deque[T]]:
        return self._named if rank is ClientClass.NAMED else self._others
