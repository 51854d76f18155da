"""Control's memory of sites: what it takes to get one in, and what does not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from hedgerow.app.control.snapshots import remembered_sites
from hedgerow.app.control.snapshots.remembered_sites import SiteMemory
from hedgerow.journal.database import open_journal
from hedgerow.journal.remembered_sites import RememberedSiteStore
from hedgerow.policies.remembered import PageRecognised

NOW = 1_795_521_600.0


class Memory:
    """A memory over a real journal, that counts the snapshots asked for."""

    def __init__(self, path: Path) -> None:
        self.now, self.published = NOW, 0
        self._journal = open_journal(path)
        store = RememberedSiteStore(self._journal, clock=lambda: self.now)
        self.sites = SiteMemory(store, lambda host: host != "known.example", self._publish, lambda: self.now)

    def _publish(self) -> None:
        self.published += 1

    def take(self, host: str, page: str = "1", *, topic: str = "adult", is_labelled: bool = False) -> bool:
        return asyncio.run(self.sites.take(PageRecognised(host, topic, page, is_labelled)))

    def hosts(self) -> list[str]:
        return [row.host for row in asyncio.run(self.sites.sites())]

    def close(self) -> None:
        self._journal.dispose()


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Memory]:
    made = Memory(tmp_path / "journal.sqlite")
    yield made
    made.close()


def test_two_pages_or_one_label(memory: Memory) -> None:
    assert not memory.take("films.example", "1")
    assert not memory.take("films.example", "1"), "the same page again"
    assert not memory.take("films.example", "2", topic="gambling"), "of another topic"
    assert memory.published == 0
    assert memory.take("films.example", "2")
    assert memory.take("labelled.example", is_labelled=True)
    assert sorted(memory.hosts()) == ["films.example", "labelled.example"]
    assert memory.published == 2
    assert not memory.take("films.example", "3")
    assert memory.published == 2


@pytest.mark.parametrize(
    ("host", "topic"), [("known.example", "adult"), ("not a host", "adult"), ("films.example", "social")]
)
def test_a_report_is_checked(memory: Memory, host: str, topic: str) -> None:
    assert not memory.take(host, topic=topic, is_labelled=True)
    assert memory.hosts() == []


def test_new_sites_are_limited_by_the_hour(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = [
        memory.take(f"films{number}.example", is_labelled=True) for number in range(remembered_sites.NEW_PER_HOUR + 5)
    ]
    assert sum(taken) == remembered_sites.NEW_PER_HOUR
    memory.now += 3601
    assert memory.take("later.example", is_labelled=True)


def test_hosts_with_one_page_are_bounded(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered_sites, "MAX_CANDIDATES", 2)
    for host in ("a.example", "b.example", "c.example"):
        memory.take(host, "1")
    assert memory.take("c.example", "2")
    assert not memory.take("a.example", "2"), "its first page was forgotten"


def test_a_correction_is_published(memory: Memory) -> None:
    memory.take("films.example", is_labelled=True)
    asyncio.run(memory.sites.correct("films.example", "ana"))
    assert (memory.hosts(), memory.published) == ([], 2)
    assert not memory.take("films.example", is_labelled=True)


def test_what_expires_is_published(memory: Memory) -> None:
    memory.take("films.example", is_labelled=True)
    asyncio.run(memory.sites.prune())
    assert memory.published == 1
    memory.now += 31 * 86400
    asyncio.run(memory.sites.prune())
    assert memory.published == 2
