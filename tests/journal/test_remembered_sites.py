"""Remembered sites in the journal: their time, their number, and corrections that hold for good."""

from __future__ import annotations

import pytest

from hedgerow.journal import remembered_sites
from hedgerow.journal.access_store import NoSuchEntry
from hedgerow.journal.remembered_sites import REMEMBERED_S, RememberedSiteStore
from hedgerow.journal.store import Store

NOW = 1_795_521_600.0


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sites(journal: Store, clock: Clock) -> RememberedSiteStore:
    return RememberedSiteStore(journal, clock=clock)


def hosts(sites: RememberedSiteStore, clock: Clock) -> list[str]:
    return [f"{row.host} {row.topic}" for row in sites.current(clock.now)]


def test_a_site_is_forgotten_after_its_time_and_a_new_page_extends_it(sites: RememberedSiteStore, clock: Clock) -> None:
    assert sites.remember("films.example", "adult")
    assert not sites.remember("films.example", "adult"), "nothing new the same day"
    clock.now += REMEMBERED_S / 2
    assert sites.remember("films.example", "adult")
    clock.now += REMEMBERED_S - 1
    assert hosts(sites, clock) == ["films.example adult"]
    assert sites.prune() == 0
    clock.now += 1
    assert hosts(sites, clock) == []
    assert sites.prune() == 1
    assert sites.remember("films.example", "adult")


def test_each_topic_is_remembered_by_itself(sites: RememberedSiteStore, clock: Clock) -> None:
    sites.remember("films.example", "adult")
    clock.now += 1
    sites.remember("films.example", "gambling")
    assert hosts(sites, clock) == ["films.example gambling", "films.example adult"]


def test_a_correction_holds_for_good_and_for_every_topic(sites: RememberedSiteStore, clock: Clock) -> None:
    sites.remember("films.example", "adult")
    sites.correct("films.example", "ana")
    assert hosts(sites, clock) == []
    clock.now += 10 * REMEMBERED_S
    assert sites.prune() == 0
    assert not sites.remember("films.example", "adult")
    assert not sites.remember("films.example", "gambling")
    with pytest.raises(NoSuchEntry):
        sites.correct("films.example", "ana")


def test_the_oldest_make_room(sites: RememberedSiteStore, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered_sites, "MAX_SITES", 3)
    for number in range(5):
        clock.now += 1
        assert sites.remember(f"films{number}.example", "adult")
    assert hosts(sites, clock) == ["films4.example adult", "films3.example adult", "films2.example adult"]


def test_one_domain_cannot_fill_the_memory(
    sites: RememberedSiteStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remembered_sites, "MAX_PER_DOMAIN", 2)
    assert [sites.remember(f"{name}.evil.co.uk", "adult") for name in ("a", "b", "c")] == [True, True, False]
    assert sites.remember("a.other.co.uk", "adult")
    assert [sites.remember(f"{name}.github.io", "adult") for name in ("a", "b", "c")] == [True, True, True]
    assert sites.remember("notevil.co.uk", "adult"), "another domain, though its name ends alike"


def test_corrections_are_bounded(sites: RememberedSiteStore, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered_sites, "MAX_CORRECTIONS", 2)
    for number in range(4):
        clock.now += 1
        sites.remember(f"films{number}.example", "adult")
        sites.correct(f"films{number}.example", "ana")
    sites.prune()
    assert [sites.remember(f"films{number}.example", "adult") for number in range(4)] == [True, True, False, False]
