"""Compiled lists of a signed bundle at a site: taken over once, and all that must not be."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
from collections import namedtuple
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from list_server import ListServer, send, text

from hedgerow.app.bundles import (
    BUNDLE,
    OBJECTS,
    BundledFile,
    GenerationIndex,
    Manifest,
    key_text,
    open_bundle,
    write_bundle,
)
from hedgerow.app.control.lists import list_sources
from hedgerow.app.control.lists.bundled_lists import index_of
from hedgerow.app.control.lists.list_sources import CopyStatuses, sources_of
from hedgerow.app.control.lists.updater import ListProgress, ListUpdater, prepare_generation
from hedgerow.app.signing_keys import SigningKey
from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.blocklists.downloader import ignore_progress
from hedgerow.blocklists.sources import Source
from hedgerow.policies.model import Policy
from hedgerow.policies.network import BundleSource
from hedgerow.policies.reading.load import parse_policy

NOW = 1_790_000_000.0
KEY = SigningKey.make()
IN_PROCESS = ListProgress(fetched=lambda _: None, received=ignore_progress, compiled=lambda _: None)


class Household:
    """An office that compiles lists, a server of its folder, and a site."""

    def __init__(self, folder: Path, server: ListServer, zygote: socket.socket) -> None:
        self.folder, self.server, self.zygote, self.now = folder, server, zygote, NOW
        self.source = BundleSource(f"{server.root}/{BUNDLE}", key_text(KEY.public))
        self.site = ListUpdater(folder / "site", zygote=zygote)
        self.write("bad.example")

    def policy(self, more: str = "", bundle: str = "") -> Policy:
        lists = f"lists: [{{category: adult, url: {self.server.root}/list, name: mine}}{more}]\n"
        url = f"bundle: {{url: '{self.source.url}', key: '{self.source.key}'{bundle}}}"
        return parse_policy(f"network: {{lists: starter, {url}}}\n{lists}".encode(), None)

    def write(self, *names: str) -> Manifest:
        """Compile and publish a list, with the objects as they are from then on."""
        self.server.paths = {"/list": text("\n".join(names).encode())}
        office, policy = self.folder / "office", replace(self.policy())
        generation = asyncio.run(prepare_generation(policy, office, fetch=True, progress=IN_PROCESS))
        copies = CopyStatuses(office / "lists")
        index = index_of(generation, copies.with_paths(sources_of(policy)), copies)
        self.now += 60
        served = self.folder / "served"
        self.seen = write_bundle(served, {}, KEY, self.now, 30, (index, generation))
        self.server.paths = {
            f"/{OBJECTS}/{path.name}": text(path.read_bytes()) for path in (served / OBJECTS).iterdir()
        }
        return self.seen

    def take(self, policy: Policy | None = None) -> str:
        asyncio.run(self.site.bundled.take((self.source, self.seen)))
        if self.site.is_stale(policy or self.policy()):
            assert asyncio.run(self.site.compile(policy or self.policy()))
        return self.site.bundled.problem

    def blocks(self, name: str) -> bool:
        assert self.site.generation is not None
        return bool(Catalogue.open(self.site.generation).host_mask(name))

    def object_of(self, name: str) -> str:
        index = (
            json.loads((self.folder / "served" / OBJECTS / self.seen.lists.digest).read_bytes())
            if self.seen.lists
            else {}
        )
        return f"/{OBJECTS}/{index['files'][name]['digest']}"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zygote: socket.socket) -> Iterator[Household]:
    (tmp_path / "served").mkdir()
    with ListServer().serving() as server:
        # quick
        monkeypatch.setattr(
            list_sources, "starter_sources", lambda: (Source("starter/adult", "adult", tmp_path / "starter.txt"),)
        )
        monkeypatch.setattr(list_sources, "correction_sources", lambda: ())
        (tmp_path / "starter.txt").write_text("starter.example\n")
        found = Household(tmp_path, server, zygote)
        monkeypatch.setattr("hedgerow.app.control.lists.bundled_lists.time.time", lambda: found.now)
        yield found


def test_a_site_uses_the_lists_that_the_office_has_compiled(home: Household) -> None:
    assert home.take() == ""
    assert (home.blocks("bad.example"), home.blocks("worse.example")) == (True, False)
    health = {each.source: each for each in home.site.health(home.policy())}
    assert (health["mine"].domains, health["mine"].failed, health["mine"].waiting) == (1, False, False)
    assert health["mine"].fetched is not None
    home.server.asked.clear()
    asyncio.run(home.site.fetch_if_due(home.policy()))
    assert home.server.asked == [], "nothing is fetched from publishers"
    home.write("bad.example", "worse.example")
    home.server.asked.clear()
    assert home.take() == ""
    assert home.blocks("worse.example")
    starter = home.object_of("texts/0000.txt")
    assert starter not in [path for path, _ in home.server.asked], "what has not changed is not downloaded again"
    again = ListUpdater(home.folder / "site", zygote=home.zygote)  # a restart
    assert asyncio.run(again.load_first_generation(home.policy(), None))
    assert again.generation == home.site.generation
    home.site.prune([])
    assert home.site.generation is not None
    assert home.site.generation.exists()


def without(home: Household) -> None:
    home.server.paths[home.object_of("hosts/sets.bin")] = lambda handler: send(handler, 404)


def changed(home: Household) -> None:
    home.server.paths[home.object_of("hosts/sets.bin")] = text(b"x")


def cut(home: Household) -> None:
    body = (home.folder / "served" / home.object_of("hosts/hosts-000.trie").lstrip("/")).read_bytes()
    home.server.paths[home.object_of("hosts/hosts-000.trie")] = lambda handler: send(
        handler, 200, body[: len(body) // 2], content_length=str(len(body))
    )


def other_version(home: Household) -> None:
    assert home.seen.lists is not None
    home.seen = replace(home.seen, lists=replace(home.seen.lists, layout=999))


def strange_names(home: Household) -> None:
    served = home.folder / "served"
    index = GenerationIndex((), {"../../up": BundledFile("0" * 64, 1)})
    (home.folder / "up").write_text("x")
    with pytest.raises(OSError, match="No such file"):
        write_bundle(served, {}, KEY, home.now, 30, (index, home.folder / "nowhere"))
    (home.folder / "a" / "b").mkdir(parents=True)
    home.seen = write_bundle(served, {}, KEY, home.now, 30, (index, home.folder / "a" / "b"))
    home.server.paths = {f"/{OBJECTS}/{path.name}": text(path.read_bytes()) for path in (served / OBJECTS).iterdir()}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without, "can't be fetched: its server answers 404"),
        (changed, "is not what the bundle says"),
        (cut, "can't be fetched"),
        (other_version, "of another version of Hedgerow (layout 999, here"),
        (strange_names, "names files that no generation has"),
    ],
)
def test_what_is_not_taken_over(home: Household, change: Callable[[Household], None], words: str) -> None:
    assert home.take() == ""
    before = home.site.generation
    good = home.write("bad.example", "worse.example")
    paths = dict(home.server.paths)
    change(home)
    assert words in home.take()
    assert (home.site.generation, home.blocks("bad.example"), home.blocks("worse.example")) == (before, True, False)
    home.server.asked.clear()
    assert words in home.take(), "it is tried again after a while"
    assert home.server.asked == []
    home.server.paths, home.seen = paths, good
    home.site = ListUpdater(home.folder / "site", zygote=home.zygote)
    assert home.take() == ""
    assert home.blocks("worse.example")
    assert not (home.folder / "site" / "lists" / ".bundle").exists()


def test_a_full_disk(home: Household, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1 << 30, 1 << 30, 1 << 20))
    asyncio.run(home.site.bundled.take((home.source, home.seen)))
    assert "MB of the disk, which has 1 MB left" in home.site.bundled.problem
    assert home.site.bundled.newest is None


def test_a_damaged_generation_is_installed_again(home: Household) -> None:
    assert home.take() == ""
    assert home.site.generation is not None
    sets = home.site.generation / "hosts" / "sets.bin"
    size = sets.stat().st_size
    sets.chmod(0o644)
    sets.write_bytes(os.urandom(size))
    assert not asyncio.run(home.site.compile(home.policy()))
    assert home.take() == ""
    assert asyncio.run(home.site.compile(home.policy()))
    assert home.blocks("bad.example")


def test_when_a_site_fetches_for_itself(home: Household) -> None:
    other = home.policy(f", {{category: adult, url: {home.server.root}/other, name: other}}")
    own = home.policy(bundle=", lists: false")
    assert home.take() == ""
    bundled = home.site.generation
    home.server.paths |= {"/list": text(b"mine.example\n"), "/other": text(b"other.example\n")}
    for policy in (other, own):
        assert not home.site.is_stale(policy), "until its lists are here, those of the bundle stay"
    asyncio.run(home.site.fetch_if_due(other))
    assert asyncio.run(home.site.compile(other))
    assert home.blocks("other.example")
    assert home.site.generation != bundled
    assert home.take() == ""
    assert home.site.generation == bundled
    home.now += 4 * 86400
    assert home.site.is_stale(home.policy()), "the office has been silent for days"


def test_the_site_takes_no_lists_of_another_key(home: Household) -> None:
    assert home.take() == ""
    home.source = replace(home.source, key=key_text(SigningKey.make().public))
    fresh = ListUpdater(home.folder / "site", zygote=home.zygote)
    assert fresh.bundled.for_policy(home.policy(), None, ()) is None


def test_a_bundle_without_lists_keeps_those_before(home: Household) -> None:
    served = home.folder / "served"
    made = write_bundle(served, {"@": (1, "people: {}")}, KEY, home.now + 9, 30)
    assert made.lists == home.seen.lists
    objects = {path.name for path in (served / OBJECTS).iterdir()}
    for _ in range(2):
        home.write("third.example")
    assert open_bundle((served / BUNDLE).read_bytes(), KEY.public).lists == home.seen.lists
    gone = objects - {path.name for path in (served / OBJECTS).iterdir()}
    assert gone, "objects of earlier bundles are deleted"
