"""One policy for two nodes: each has its files, and the store the versions."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from hedgerow.app.control.shared_policy import FILE_NAME, OwnAnswer, SharedPolicy, SharedVersion
from hedgerow.app.settings import STORE_URL, Endpoint, Settings
from hedgerow.dashboards.accounts import Principal
from hedgerow.dashboards.edits.policy_editor import CheckedPolicy, PolicyEditor
from hedgerow.journal.database import open_journal
from hedgerow.journal.policy_history import PolicyHistory, PolicyVersion, PolicyVersions
from hedgerow.journal.store import Rights, Store

MIA = "people: {mia: {age: 9}}\n"
TOM = "people: {tom: {age: 12}}\n"
ANA = "people: {ana: {age: 40}}\n"
BROKEN = "people: {mia: {agee: 9}}\n"


class Node:
    """A node's files, and the main file's text whenever it was put into force."""

    def __init__(self, folder: Path, store: Store, main: str = "hedgerow.yaml", *, shares: bool = True) -> None:
        self.folder, self.main, self.applied = folder, folder / main, list[str]()
        folder.mkdir()
        self.main.write_text(MIA)
        self.editor = PolicyEditor(self.main, PolicyHistory(store), self._apply)
        self.versions = PolicyVersions(store)
        self.shared = SharedPolicy(folder, self.versions, self.editor)
        if shares:
            SharedVersion(0, {}).save(folder)

    async def _apply(self, path: Path, _checked: CheckedPolicy) -> None:
        assert not self.editor.is_replacing
        self.applied.append(await asyncio.to_thread(path.read_text))

    def compare(self) -> None:
        asyncio.run(self.shared.compare())

    def newest(self) -> PolicyVersion:
        version = self.versions.newest()
        assert version is not None
        return version

    def beside(self) -> list[str]:
        """The texts that were kept beside the files."""
        return [path.read_text() for path in sorted(self.folder.rglob("*.not-shared-*"))]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(open_journal(tmp_path / "journal.sqlite")) as store:
        yield store


@pytest.fixture
def nodes(tmp_path: Path, store: Store) -> tuple[Node, Node]:
    """Two nodes in step. The second calls its main file otherwise."""
    one, other = Node(tmp_path / "one", store), Node(tmp_path / "other", store, "home.yaml")
    one.compare()
    other.compare()
    assert one.newest().id == 1
    return one, other


def test_a_change_of_the_file_is_in_force_on_the_other_node(nodes: tuple[Node, Node]) -> None:
    one, other = nodes
    one.main.write_text(TOM)
    one.compare()
    other.compare()
    assert (other.main.read_text(), other.applied) == (TOM, [TOM])
    assert (one.applied, one.shared.problem, other.shared.problem, other.beside()) == ([], "", "", [])
    newest = one.newest()
    assert (newest.id, newest.follows, newest.actor, dict(newest.files)) == (2, 1, "file", {"hedgerow.yaml": TOM})


def test_a_change_on_the_pages_keeps_its_author(nodes: tuple[Node, Node]) -> None:
    one, other = nodes
    asyncio.run(
        other.editor.rewrite(Principal("ana", frozenset()), "Tom came", lambda texts: dict.fromkeys(texts, TOM))
    )
    other.compare()
    one.compare()
    assert one.main.read_text() == TOM
    newest = one.newest()
    assert (newest.actor, newest.summary) == ("ana", "Tom came")


def test_nothing_is_shared_before_a_node_has_joined(tmp_path: Path, store: Store) -> None:
    node = Node(tmp_path / "one", store, shares=False)
    node.compare()
    assert node.versions.newest() is None


def of_role(node: Node, store: Store, *, may_manage: bool = True) -> None:
    """Give a node the role of the site `home`, with which it may manage it or not."""
    node.versions = PolicyVersions(replace(store, rights=Rights("home", may_manage)))
    node.shared = SharedPolicy(node.folder, node.versions, node.editor)


def test_a_manager_of_a_site_begins_to_share_its_policy(tmp_path: Path, store: Store) -> None:
    node = Node(tmp_path / "one", store, "cafe.yaml", shares=False)
    of_role(node, store, may_manage=False)
    node.compare()
    assert node.versions.newest() is None
    of_role(node, store)
    node.main.write_text(BROKEN)
    node.compare()
    assert node.versions.newest() is None
    node.main.write_text(MIA)
    node.compare()
    first = node.newest()
    assert (first.actor, first.follows, dict(first.files)) == ("home", 0, {"hedgerow.yaml": MIA})
    office = PolicyVersions(store)
    office.add(replace(first, actor="ana", follows=first.id, files={"hedgerow.yaml": TOM}))
    node.compare()
    assert (node.main.read_text(), node.applied, node.beside()) == (TOM, [TOM], [])
    node.main.write_text(ANA)
    node.compare()
    assert (node.newest().actor, dict(node.newest().files)) == ("file", {"hedgerow.yaml": ANA})
    (node.folder / FILE_NAME).write_text("{")
    node.main.write_text(MIA)
    node.compare()
    assert dict(node.newest().files) == {"hedgerow.yaml": ANA}, "what can't be read changes nothing"


def test_a_machine_in_another_ones_place_gets_the_policy_of_its_site(tmp_path: Path, store: Store) -> None:
    url = "postgresql://{}@db.example/hedgerow"
    old, new = (f"network: {{store: '{url.format(role)}'}}\n" for role in ("old", "new"))
    before, after = (Node(tmp_path / name, store, shares=False) for name in ("before", "after"))
    before.main.write_text(old + MIA)
    after.main.write_text(new)
    here = Endpoint("127.0.0.1", 1)
    (after.folder / "run").mkdir()
    Settings(after.folder, after.main, here, here, here, store=url.format("new")).save()
    for node in (before, after):
        of_role(node, store)
        node.compare()
    broken = Node(tmp_path / "broken", store, shares=False)
    of_role(broken, store)
    broken.main.write_text(BROKEN)
    broken.versions.add(replace(after.newest(), follows=1, files={"hedgerow.yaml": BROKEN + "network: {}\n"}))
    broken.compare()
    assert "can't be used here" in broken.shared.problem
    assert (broken.main.read_text(), broken.beside()) == (BROKEN, [])
    assert (after.main.read_text(), after.beside()) == (old + MIA, [new])
    assert (after.folder / STORE_URL).read_text() == url.format("new"), "its own role in the store"


def test_a_file_with_mistakes_goes_nowhere(nodes: tuple[Node, Node]) -> None:
    one, other = nodes
    one.main.write_text(BROKEN)
    one.compare()
    other.compare()
    assert (one.newest().id, other.main.read_text()) == (1, MIA)
    one.main.write_text(TOM)
    one.compare()
    other.compare()
    assert other.main.read_text() == TOM


def test_a_version_that_a_node_cannot_use_is_refused_there(nodes: tuple[Node, Node]) -> None:
    """A newer Hedgerow on another node knows keys that this one does not."""
    one, other = nodes
    other.main.write_text(ANA)
    newest = other.newest()
    other.versions.add(replace(newest, actor="ana", node="third", follows=newest.id, files={"hedgerow.yaml": BROKEN}))
    other.compare()
    assert "version 2 of the policy, by ana on third, can't be used here" in other.shared.problem
    assert "agee" in other.shared.problem
    assert (other.main.read_text(), other.applied, other.beside()) == (ANA, [], [])
    answer = other.shared.answer
    assert (answer.taken, answer.refused) == (1, 2)
    assert "agee" in answer.problems[0].message
    assert [problem.message for problem in other.shared.current_problems()] == [other.shared.problem]
    other.compare()
    assert other.newest().id == 2, "what was changed before does not undo the version"
    other.main.write_text(TOM)
    other.compare()
    one.compare()
    assert (other.shared.problem, one.main.read_text(), one.newest().id) == ("", TOM, 3)
    assert [each.shared.answer for each in (one, other)] == [OwnAnswer(3), OwnAnswer(3)]


def test_of_two_changes_at_once_the_first_holds_and_nothing_is_lost(nodes: tuple[Node, Node]) -> None:
    one, other = nodes
    one.main.write_text(TOM)
    other.main.write_text(ANA)
    one.compare()
    other.compare()
    one.compare()
    assert (one.main.read_text(), other.main.read_text(), other.beside(), one.beside()) == (TOM, TOM, [ANA], [])


def test_two_nodes_that_share_at_the_same_moment(nodes: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = nodes
    one.main.write_text(TOM)
    other.main.write_text(ANA)
    before = other.newest()
    with monkeypatch.context() as late:
        late.setattr(PolicyVersions, "newest", lambda self: before)
        one.compare()
        other.compare()
    assert other.newest().files == {"hedgerow.yaml": TOM}
    other.compare()
    assert (other.main.read_text(), other.beside()) == (TOM, [ANA])


def test_included_files_come_and_go(nodes: tuple[Node, Node]) -> None:
    one, other = nodes
    (one.folder / "more").mkdir()
    (one.folder / "more" / "tom.yaml").write_text(TOM)
    one.main.write_text(f"{MIA}include: more/*.yaml\n")
    one.compare()
    other.compare()
    assert other.shared.problem == ""
    assert (other.folder / "more" / "tom.yaml").read_text() == TOM
    (other.folder / "more" / "ana.yaml").write_text(ANA)
    other.compare()
    one.compare()
    assert (one.folder / "more" / "ana.yaml").read_text() == ANA
    (one.folder / "more" / "tom.yaml").unlink()
    one.compare()
    other.compare()
    assert sorted(path.name for path in (other.folder / "more").iterdir()) == ["ana.yaml"]
    assert other.beside() == []


@pytest.mark.parametrize("name", ["/etc/cron.d/x.yaml", "../x.yaml", "more/../../x.yaml", "x.sh", "x\n.yaml"])
def test_a_version_writes_beside_the_policy_only(nodes: tuple[Node, Node], store: Store, name: str) -> None:
    _, other = nodes
    newest = other.newest()
    other.versions.add(replace(newest, follows=newest.id, files={"hedgerow.yaml": TOM, name: "x"}))
    other.compare()
    assert "is not the name of a policy file" in other.shared.problem
    assert other.main.read_text() == MIA


def test_a_node_that_may_not_write_policies_takes_them_only(nodes: tuple[Node, Node], store: Store) -> None:
    one, other = nodes
    limited = Store(store.engine, store.dialect, store.site, Rights("home", may_manage=False))
    shared = SharedPolicy(other.folder, PolicyVersions(limited), other.editor)
    other.main.write_text(ANA)
    asyncio.run(shared.compare())
    assert (other.main.read_text(), other.beside(), one.newest().id) == (MIA, [ANA], 1)


def test_what_was_shared_last_survives_a_restart(nodes: tuple[Node, Node], store: Store) -> None:
    one, other = nodes
    other.main.write_text(ANA)
    again = SharedPolicy(other.folder, PolicyVersions(store), other.editor)
    asyncio.run(again.compare())
    one.compare()
    assert one.main.read_text() == ANA
    (other.folder / FILE_NAME).write_text("{")
    one.main.write_text(TOM)
    one.compare()
    other.compare()
    assert other.main.read_text() == ANA, "what can't be read changes nothing"


def test_old_versions_are_deleted(nodes: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hedgerow.journal.policy_history.MAX_CHANGES", 3)
    one, _ = nodes
    for number in range(5):
        one.main.write_text(f"people: {{mia: {{age: {number + 5}}}}}\n")
        one.compare()
    assert [version.id for version in one.versions.latest()] == [6, 5, 4]
