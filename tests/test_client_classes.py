"""Places by class of client: whatever clients come and go, none is displaced by one of a lower class, and the bounds
hold.
"""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as some

from hedgerow.client_classes import (
    ClassBudget,
    ClassedClient,
    ClientClass,
    FairQueues,
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
    some.builds(
        lambda net, host: unnamed_client(f"2001:db8:1:{net:x}::{host:x}"), some.integers(0, 9), some.integers(1, 9)
    ),
    some.builds(
        lambda number: unnamed_client(f"2001:db8:1::{number:x}", f"52:54:00:00:00:{number:02x}"), some.integers(1, 9)
    ),
    some.builds(
        lambda number: unnamed_client(f"192.168.2.{number}", f"52:54:00:00:00:{number:02x}"), some.integers(1, 9)
    ),
    some.builds(lambda number: outside_client(f"203.0.113.{number}"), some.integers(1, 12)),
    some.builds(lambda net: outside_client(f"2001:db8:2:{net:x}::1"), some.integers(0, 9)),
)
steps = some.lists(
    some.tuples(some.sampled_from(["come", "come", "come", "go", "sign in"]), clients, some.integers(0, 99)),
    max_size=80,
)


def newcomer(places: Places[int], item: int, client: ClassedClient) -> int | None:
    """Let an item in, in the place of the oldest contender if there is no room.

    Returns the one that had to leave, -1 if it is refused.
    """
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
def test_bounds_hold_and_no_client_is_displaced_by_one_of_a_lower_class(
    sequence: list[tuple[str, ClassedClient, int]],
) -> None:
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
        assert sorted(places.items()) == sorted(present)
        for owner in present.values():
            own = [each for each, other in present.items() if other[:2] == owner[:2]]
            assert sorted(places.items_of(owner)) == sorted(own)
        groups = Counter(client.group for client in present.values() if client.group)
        assert len(places) == len(present) <= TOTAL
        assert all(
            places.count(ClassedClient(*key)) == count <= PER_CLIENT for key, count in count_by_key(present).items()
        )
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


def test_a_client_that_signs_in_takes_its_place_along() -> None:
    places, stranger = Places[str](TOTAL, 2, 1), unnamed_client("2001:db8:1::7")
    places.enter("connection", stranger)
    assert places.move("connection", PHONE)
    assert places.move("connection", PHONE), "it may sign in again"
    assert (places.items_of(PHONE), places.items_of(stranger)) == (("connection",), ())
    assert (places.count_of_class(ClientClass.NAMED), places.count_of_class(ClientClass.UNNAMED)) == (1, 0)
    assert places.has_room(stranger), "its group has its place back"


def test_a_client_that_has_all_its_places_gets_no_more() -> None:
    places, stranger = Places[str](TOTAL, 2, 1), unnamed_client("2001:db8:1::7")
    for item in ("first", "second"):
        places.enter(item, PHONE)
    places.enter("other", stranger)
    assert (places.has_room(PHONE), places.contenders(PHONE)) == (False, ())
    assert not places.move("other", PHONE)
    assert places.items_of(stranger) == ("other",), "who may not sign in stays"
    places.enter("third", TABLET)
    assert not places.move("third", stranger), "the group is full"
    places.leave("second")
    assert (places.has_room(PHONE), places.contenders(PHONE)) == (True, ())
    assert ("first" in places, "second" in places) == (True, False)
    places.leave("second")
    assert len(places) == 3, "nobody leaves twice"


def test_nobody_makes_room_for_a_lower_class() -> None:
    places, outsider, stranger = Places[str](2, 2), outside_client("203.0.113.7"), unnamed_client("192.168.1.7")
    places.enter("phone", PHONE)
    places.enter("stranger", stranger)
    assert (places.contenders(outsider), places.contenders(TABLET)) == ((), ("stranger",))
    places.leave("stranger")
    places.enter("tablet", TABLET)
    assert places.contenders(stranger) == ()
    assert places.contenders(PHONE) == (), "each has its share"


def test_in_a_full_group_a_place_becomes_free_within_it() -> None:
    places, other = Places[str](TOTAL, PER_CLIENT, 2), unnamed_client("192.168.1.7")
    for number in (1, 2):
        places.enter(f"site {number}", unnamed_client(f"2001:db8:1:{number}::7"))
        places.enter(f"other {number}", other)
    assert places.contenders(unnamed_client("2001:db8:1:3::7")) == ("site 1",)


def test_strangers_have_half_of_a_budget_and_give_back_what_they_took() -> None:
    budget = ClassBudget(4)
    assert budget.take(ClientClass.UNNAMED, 2)
    assert not budget.take(ClientClass.OUTSIDE)
    assert not budget.take(ClientClass.NAMED, 3)
    assert budget.taken == 2
    assert budget.take(ClientClass.NAMED, 2)
    budget.give_back(ClientClass.UNNAMED, 2)
    budget.give_back(ClientClass.NAMED)
    assert (budget.taken, budget.take(ClientClass.OUTSIDE)) == (1, True)
    assert not ClassBudget(4, unnamed=0).take(ClientClass.UNNAMED)


def test_every_second_turn_is_of_a_client_with_a_name() -> None:
    queues = FairQueues[str]()
    ranks = {"flood": ClientClass.UNNAMED, "guest": ClientClass.OUTSIDE, "mia": ClientClass.NAMED}
    for key, count in (("flood", 3), ("guest", 1), ("mia", 2)):
        for number in range(count):
            queues.put(key, ranks[key], f"{key} {number}")
    assert (len(queues), queues.clients) == (6, 3)
    assert [queues.waiting(key, rank) for key, rank in ranks.items()] == [3, 1, 2]
    assert [queues.pop() for _ in range(6)] == ["mia 0", "flood 0", "mia 1", "guest 0", "flood 1", "flood 2"]
    with pytest.raises(StopIteration):
        queues.pop()
    queues.put("mia", ClientClass.NAMED, "forgotten")
    queues.clear()
    assert (len(queues), queues.clients) == (0, 0)


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.168.1.7", "192.168.1.7"),
        ("::ffff:192.168.1.7", "192.168.1.7"),
        ("fd00::1:2:3:4", "fd00::/64"),
        ("::1", "::1"),
        ("fe80::1%wlan0", "fe80::/64"),
        ("user:mia", "user:mia"),
        ("id:mias-phone", "id:mias-phone"),
        ("", ""),
    ],
)
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
