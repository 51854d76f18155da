"""When lists are fetched and compiled, and what is said of each."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest
from list_server import ListServer, text

from hedgerow.app import lists as lists_module
from hedgerow.app.lists import ListKeeper, fingerprint, recommended_sources, sources_of
from hedgerow.blocklists.sources import Source
from hedgerow.policies.load import parse_policy
from hedgerow.policies.model import Policy


def policy_of(folder: Path, body: str) -> Policy:
    return parse_policy(body.encode(), folder / "hedgerow.yaml")


def test_two_lists_of_one_file_name_are_told_apart(tmp_path: Path) -> None:
    for name, content in (("one", "a.example\nb.example\n"), ("two", "c.example\nnot a name at all !!\nd.example\ne.example\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "list.txt").write_text(content)
    # Starter lists have names of their own; a list of the user may be called like one of them.
    body = "lists:\n  - {category: adult, path: one/list.txt, name: starter/adult}\n  - {category: adult, path: two/list.txt, name: mine}\n"
    keeper, policy = ListKeeper(tmp_path / "state"), policy_of(tmp_path, body)
    assert asyncio.run(keeper.compile(policy))
    starter, *_, first, second = [row for row in keeper.health(policy) if row.category == "adult"]
    assert (first.source, first.domains, first.unique, first.problem) == ("starter/adult", 2, 2, "")
    assert (second.source, second.domains) == ("mine", 3)
    assert second.problem
    assert (starter.source, starter.domains > 10) == ("starter/adult", True)


def test_what_is_compiled_depends_on_files_taxonomy_and_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "list.txt").write_text("a.example\n")
    sources = [Source("list", "adult", tmp_path / "list.txt")]
    seen = {fingerprint(sources)}
    assert fingerprint(sources) in seen
    (tmp_path / "list.txt").write_text("ab.example\n")
    seen.add(fingerprint(sources))
    monkeypatch.setattr(lists_module, "builtin_categories", lambda: ())
    seen.add(fingerprint(sources))
    monkeypatch.setattr(lists_module, "engine", lambda: "another")
    seen.add(fingerprint(sources))
    assert len(seen) == 4


def test_recommended_lists_are_those_of_the_profiles_in_use(tmp_path: Path) -> None:
    assert recommended_sources(policy_of(tmp_path, "")) == []
    assert all(source.url is None for source in sources_of(policy_of(tmp_path, "")))
    network = "network: {lists: recommended, unknown_devices: adult}\n"
    adults = {source.name for source in recommended_sources(policy_of(tmp_path, network))}
    family = {source.name for source in recommended_sources(policy_of(tmp_path, network + "people: {mia: {age: 6}}\n"))}
    assert "urlhaus" in adults
    assert adults < family
    assert {"hagezi-nsfw", "hagezi-bypass", "ut1-sexual-education"} <= family
    named = policy_of(tmp_path, network + "lists: [{source: urlhaus}]\n")
    assert [source.name for source in sources_of(named)].count("urlhaus") == 1


def test_a_list_is_asked_for_again_when_its_time_has_come(tmp_path: Path) -> None:
    with ListServer().serving() as server:
        server.paths["/list"] = text(b"a.example\n", '"1"')
        body = f"lists: [{{category: adult, name: remote, url: '{server.root}/list', refresh: 1h}}]\n"
        keeper, policy = ListKeeper(tmp_path / "state"), policy_of(tmp_path, body)

        def asked() -> int:
            asyncio.run(keeper.fetch_if_due(policy))
            return len(server.asked)

        assert [asked(), asked()] == [1, 1]
        keeper = ListKeeper(tmp_path / "state")
        assert asked() == 1, "a restart does not ask again either"
        (pointer,) = (tmp_path / "state" / "lists").glob("*.json")
        old = time.time() - 50 * 60
        os.utime(pointer, (old, old))
        assert [asked(), asked()] == [2, 2]
        assert server.asked[-1] == ("/list", '"1"')
        server.paths.clear()
        os.utime(pointer, (old - 3600, old - 3600))
        assert [asked(), asked()] == [3, 3], "what failed is not asked for again at once"
        (row,) = [row for row in keeper.health(policy) if row.source == "remote"]
        assert "not refreshed for 2 hours" in row.problem


def test_pruning_leaves_what_is_in_force(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a.example\n")
    keeper, policy = ListKeeper(tmp_path / "state"), policy_of(tmp_path, "lists: [{category: adult, path: list.txt}]\n")
    assert asyncio.run(keeper.compile(policy))
    first = keeper.generation
    (tmp_path / "list.txt").write_text("other.example\n")
    assert keeper.is_stale(policy)
    assert asyncio.run(keeper.compile(policy))
    keeper.prune({keeper.generation})
    assert list((tmp_path / "state" / "generations").iterdir()) == [keeper.generation] != [first]
    entries = len(list((tmp_path / "state" / "parsed").iterdir()))
    assert keeper.report
    assert entries == len(keeper.report.sources) + 1  # and the essential names
    # A start after this one finds all of it.
    again = ListKeeper(tmp_path / "state")
    assert asyncio.run(again.compile(policy))
    assert again.generation == keeper.generation
