"""Places by class of client: whatever clients come and go, none is displaced by one of a lower class, and the bounds hold."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as some

from hedgerow.client_classes import (
    ClassBudget,
    ClassedClient,
    ClientClass,
    Places,
    address_key,
    named_client,
    outside_client,
    unnamed_client,
)

TOTAL, PER_CLIENT, PER_GROUP = 8, 4, 5
PHONE, TABLET = named_client("phone"), named_client("tablet")

clients = some.one_of(
    some.sampled_from([PHONE, TABLET]),
    some.builds(lambda number: named_client(f"192.0.2.{number}", "classroom"), some.integers(1, 4)),
    some.builds(lambda number: unnamed_client(f"192.168.1.{number}"), some.integers(1, 12)),
    some.builds(lambda net, host: unnamed_client(f"2001:db8:1:{net:x}::{host:x}"), some.integers(0, 9), some.integers(1, 9)),
    some.builds(lambda number: unnamed_client(f"2001:db8:1::{number:x}", f"52:54:00:00:00:{number:02x}"), some.integers(1, 9)),
    some.builds(lambda number: unnamed_client(f"192.168.2.{number}", f"52:54:00:00:00:{number:02x}"), some.integers(1, 9)),
    some.builds(lambda number: outside_client(f"203.0.113.{number}"), some.integers(1, 12)),
    some.builds(lambda net: outside_client(f"2001:db8:2:{net:x}::1"), some.integers(0, 9)),
)
steps = some.lists(some.tuples(some.sampled_from(["come", "come", "come", "go", "sign in"]), clients, some.integers(0, 99)), max_size=80)


def newcomer(places: Places[int], item: int, client: ClassedClient) -> int | None:
    """Let an item in, in the place of the oldest contender if there is no room. Returns the one that had to leave, -1 if it is refused."""
    displaced = None
    if not places.has_room(client):
        contenders = places.contenders(client)
        if not contenders:
            return -1
        displaced = contenders[0]
        places.leave(displaced)
    places.enter(item, client)
    return displaced


@given(steps)
def test_bounds_hold_and_no_client_is_displaced_by_one_of_a_lower_class(sequence: list[tuple[str, ClassedClient, int]]) -> None:
    places = Places[int](TOTAL, PER_CLIENT, PER_GROUP)
    present: dict[int, ClassedClient] = {}
    for item, (what, client, number) in enumerate(sequence):
        chosen = list(present)[number % len(present)] if present else None
        match what:
            case "go" if chosen is not None:
                places.leave(chosen)
                del present[chosen]
            case "sign in" if chosen is not None:
                if places.move(chosen, PHONE):
                    present[chosen] = PHONE
            case "come":
                before = dict(present)
                displaced = newcomer(places, item, client)
                if displaced == -1:
                    assert not may_displace(before, client)
                    continue
                if displaced is not None:
                    loser = present.pop(displaced)
                    counts = count_by_key(before)
                    assert loser.rank <= client.rank
                    assert loser.rank < client.rank or counts[loser[:2]] >= least_of_a_rival(counts[client[:2]])
                present[item] = client
        assert {item: places.client_of(item) for item in places.items()} == present
        groups = Counter(client.group for client in present.values() if client.group)
        assert len(places) == len(present) <= TOTAL
        assert all(places.count(ClassedClient(*key)) == count <= PER_CLIENT for key, count in count_by_key(present).items())
        assert all(count <= PER_GROUP for count in groups.values())


def may_displace(present: dict[int, ClassedClient], client: ClassedClient) -> bool:
    """Return whether any item ought to make room for a client, by the rule as it is documented."""
    counts, groups = count_by_key(present), Counter(each.group for each in present.values())
    if counts[client[:2]] >= PER_CLIENT:
        return False
    is_group_full = client.group != "" and groups[client.group] >= PER_GROUP
    rivals = [each for each in present.values() if not is_group_full or each.group == client.group]
    least = least_of_a_rival(counts[client[:2]])
    return any(each.rank < client.rank or (each.rank == client.rank and counts[each[:2]] >= least) for each in rivals)


def least_of_a_rival(own: int) -> int:
    """Return how many places a client of the same class must have to lose one to a client that has so many."""
    return own + 2 if own else 1


def count_by_key(present: dict[int, ClassedClient]) -> Counter[tuple[ClientClass, str]]:
    return Counter(client[:2] for client in present.values())


@given(some.lists(clients.filter(lambda client: client.rank is not ClientClass.NAMED), max_size=100))
def test_strangers_in_any_number_leave_named_devices_all_their_places(strangers: list[ClassedClient]) -> None:
    places = Places[int](TOTAL, PER_CLIENT, PER_GROUP)
    for item, client in enumerate(strangers):
        newcomer(places, item, client)
    for item in range(1000, 1000 + PER_CLIENT):
        assert newcomer(places, item, PHONE) != -1
        assert newcomer(places, item + 100, TABLET) != -1
    for item, client in enumerate(strangers, 2000):
        newcomer(places, item, client)
    assert (places.count(PHONE), places.count(TABLET)) == (PER_CLIENT, PER_CLIENT)


@given(some.integers(1, 8))
def test_devices_without_a_name_have_all_places_while_no_named_one_needs_them(devices: int) -> None:
    places = Places[int](TOTAL, TOTAL, PER_GROUP)
    for item in range(TOTAL * 4):
        newcomer(places, item, unnamed_client(f"192.168.1.{item % devices}"))
    assert len(places) == TOTAL


def test_one_that_has_all_places_gives_half_of_them_to_another() -> None:
    places = Places[int](TOTAL, TOTAL)
    flood, other = unnamed_client("192.168.1.66"), unnamed_client("192.168.1.7")
    for item in range(TOTAL):
        places.enter(item, flood)
    for item in range(100, 110):
        newcomer(places, item, other)
    assert (places.count(flood), places.count(other)) == (TOTAL // 2, TOTAL // 2)


def test_clients_with_equal_shares_do_not_displace_one_another_in_turn() -> None:
    places = Places[int](TOTAL, TOTAL)
    for item in range(TOTAL * 2):
        newcomer(places, item, unnamed_client(f"192.168.1.{item % 3}"))
    assert places.items() == tuple(range(TOTAL)), "three have three, three and two of eight places"


def test_strangers_of_one_site_share_half_of_the_places() -> None:
    places = Places[int](TOTAL, PER_CLIENT)
    for item in range(100):
        newcomer(places, item, unnamed_client(f"2001:db8:1:{item:x}::1"))
    assert len(places) == TOTAL // 2
    assert newcomer(places, 1000, unnamed_client("192.168.1.7")) is None


def test_the_one_that_has_had_its_place_for_longest_comes_first() -> None:
    places = Places[str](4, 4)
    for item in ("oldest", "older", "newer", "newest"):
        places.enter(item, unnamed_client("192.168.1.66"))
    assert places.contenders(PHONE) == ("oldest", "older", "newer", "newest")
    places.replace("oldest", "successor")
    assert places.contenders(PHONE) == ("older", "newer", "newest", "successor")


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.168.1.7", "192.168.1.7"), ("::ffff:192.168.1.7", "192.168.1.7"), ("fd00::1:2:3:4", "fd00::/64"), ("::1", "::1"),
        ("fe80::1%wlan0", "fe80::/64"), ("user:mia", "user:mia"), ("id:mias-phone", "id:mias-phone"), ("", ""),
    ],
)  # fmt: skip
def test_a_key_is_what_one_client_has_one_of(address: str, key: str) -> None:
    assert address_key(address) == key
    assert unnamed_client(address).key == outside_client(address).key == key


@given(some.lists(some.tuples(some.sampled_from(ClientClass), some.integers(0, 5))), some.integers(2, 20))
def test_a_budget_keeps_half_free_of_strangers(wishes: list[tuple[ClientClass, int]], total: int) -> None:
    budget, taken = ClassBudget(total), list[tuple[ClientClass, int]]()
    for rank, amount in wishes:
        if budget.take(rank, amount):
            taken.append((rank, amount))
        assert budget.taken == sum(amount for _, amount in taken) <= total
        assert sum(amount for rank, amount in taken if rank is not ClientClass.NAMED) <= total // 2
    for rank, amount in taken:
        budget.give_back(rank, amount)
    assert budget.taken == 0
    assert budget.take(ClientClass.NAMED, total)
