"""The popular adult sites of the starter list: which names of lists are chosen."""

from __future__ import annotations

from popular_adult import TITLE, known_names, popular_adult
from recogniser_sources import NamedHost, Role, TrainingList

from hedgerow.blocklists.sources import starter_sources


def source(name: str, role: Role, rank: int = 0) -> TrainingList:
    return TrainingList(name, role, "hosts", "https://lists.example", "MIT", "0" * 64, rank)


def test_only_popular_names_that_three_lists_cover_are_chosen() -> None:
    lists = (
        ["ripe.example", "a.host.example", "two.example", "shop.example", "unpopular.example"],
        ["ripe.example", "host.example", "two.example", "shop.example", "unpopular.example"],
        ["www2.ripe.example", "a.host.example", "shop.example", "unpopular.example"],
    )
    names = {
        source(f"list {number}", Role.ADULT): [NamedHost(host) for host in hosts] for number, hosts in enumerate(lists)
    }
    popular = ["www2.ripe.example", "a.host.example", "two.example", "cdn.shop.example"]
    names[source("popular", Role.POPULAR, 100)] = [
        *(NamedHost(host, 100) for host in popular),
        NamedHost("unpopular.example", 1000),
    ]
    assert popular_adult(names, frozenset({"shop.example"})) == ["a.host.example", "www2.ripe.example"]


def test_names_of_the_group_itself_are_not_known_beforehand() -> None:
    (path,) = [each.path for each in starter_sources() if each.category == "adult" and each.path is not None]
    group = path.read_text(encoding="utf-8").partition(TITLE)[2].splitlines()[1:]
    assert len(group) > 1000
    assert not known_names() & set(group)
