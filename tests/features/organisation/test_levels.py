"""An organisation in one store: versions for levels, groups and some sites first, who may write them, and what sites
report.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest
from journal_rows import NOW
from postgres_server import PostgresServer
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError

from hedgerow.features.organisation.levels import (
    ORGANISATION,
    NodeRow,
    OrganisationStore,
    SiteState,
    blocked_by_category,
)
from hedgerow.journal.access_store import NoSuchEntry
from hedgerow.journal.database import open_journal
from hedgerow.journal.policy_history import MAX_CHANGES, PolicyVersion
from hedgerow.journal.postgresql_rights import grant_site, make_role
from hedgerow.journal.store import Store
from hedgerow.journal.tables import policy_versions

STATE = SiteState("0.2.0", "0123", {"organisation": 1}, 5, {"adult": "full"}, 10, 3, ())


def publish(store: Store, level: str, content: str, *sites: str) -> int:
    versions = OrganisationStore(store).of_level(level)
    newest = versions.newest()
    follows = newest.id if newest else 0
    return versions.add(PolicyVersion(0, NOW, "ana", content, "office", follows, {"hedgerow.yaml": content}, sites))


def levels_of(store: Store, site: str) -> dict[str, str]:
    found = OrganisationStore(replace(store, site=site)).levels()
    return {level: version.files["hedgerow.yaml"] for level, version in found.items()}


def test_levels_groups_and_a_version_for_some_sites_first(journal: Store) -> None:
    organisation = OrganisationStore(journal)
    first = publish(journal, ORGANISATION, "first")
    publish(journal, "@north", "of the north")
    organisation.assign("cafe-1", "north")
    assert levels_of(journal, "cafe-1") == {"organisation": "first", "group": "of the north"}
    assert levels_of(journal, "cafe-2") == {"organisation": "first"}
    publish(journal, ORGANISATION, "tried", "cafe-2", "cafe-20")
    assert [levels_of(journal, site)["organisation"] for site in ("cafe-1", "cafe-2", "cafe-20")] == [
        "first",
        "tried",
        "tried",
    ]
    versions = organisation.of_level(ORGANISATION)
    publish(journal, ORGANISATION, versions.version(first).files["hedgerow.yaml"])
    assert levels_of(journal, "cafe-2") == {"organisation": "first"}
    assert [(each.summary, each.sites) for each in versions.latest()] == [
        ("first", ()),
        ("tried", ("cafe-2", "cafe-20")),
        ("first", ()),
    ]
    organisation.assign("cafe-1", "south")
    assert levels_of(journal, "cafe-1") == {"organisation": "first"}
    organisation.assign("cafe-1", "")
    assert organisation.groups() == {}
    with pytest.raises(NoSuchEntry):
        organisation.of_level("@north").version(first)


def test_many_trials_at_some_sites_leave_the_version_of_the_others(journal: Store) -> None:
    versions = OrganisationStore(journal).of_level(ORGANISATION)
    publish(journal, ORGANISATION, "before")
    general = publish(journal, ORGANISATION, "for all")
    alone = publish(journal, ORGANISATION, "at two", "cafe-8", "cafe-9")
    for number in range(MAX_CHANGES + 5):
        publish(journal, ORGANISATION, f"trial {number}", "cafe-7", *(["cafe-9"] if number == 3 else []))
    found = [levels_of(journal, site)["organisation"] for site in ("cafe-1", "cafe-7", "cafe-8", "cafe-9")]
    assert found == ["for all", f"trial {MAX_CHANGES + 4}", "at two", "trial 3"]
    kept = [each.id for each in versions.latest(2 * MAX_CHANGES)]
    assert kept[-2:] == [alone, general]
    assert len(kept) == MAX_CHANGES + 3
    in_force = [each.summary for each in versions.in_force() if each is not None]
    assert in_force == ["for all", "at two", "trial 3", f"trial {MAX_CHANGES + 4}"]
    last = publish(journal, ORGANISATION, "for all again")
    assert {levels_of(journal, site)["organisation"] for site in ("cafe-1", "cafe-7", "cafe-8")} == {"for all again"}
    assert [each.id for each in versions.in_force() if each is not None] == [last]
    assert len(versions.latest(2 * MAX_CHANGES)) == MAX_CHANGES


def test_reports_of_sites(journal: Store) -> None:
    organisation = OrganisationStore(journal)
    organisation.report("old", NOW - 40 * 86400, STATE)
    organisation.report("a", NOW, STATE)
    organisation.report("a", NOW + 30, replace(STATE, problems=("lists are missing",)))
    organisation.assign("silent", "north")
    found = organisation.nodes()
    expected = [(journal.site, "", "a", NOW + 30), ("silent", "north", "", 0.0)]
    assert [(each.site, each.group, each.node, each.at) for each in found] == expected
    assert [each.state and each.state.problems for each in found] == [("lists are missing",), None]


def test_blocks_of_a_site_count_once_for_all_its_nodes() -> None:
    def row(site: str, node: str, at: float, **blocked: int) -> NodeRow:
        return NodeRow(site, "", node, at, replace(STATE, blocked=blocked))

    nodes = [
        row("a", "one", 2, adult=5, social=1),
        row("a", "two", 1, adult=4),
        row("b", "one", 1, social=9),
        NodeRow("c", "", "", 0, None),
    ]
    assert blocked_by_category(nodes) == {"social": {"a": 1, "b": 9}, "adult": {"a": 5}}


@pytest.fixture
def chain(postgres: PostgresServer) -> Iterator[tuple[Store, Store]]:
    """The store as its owner and as the manager of the site `cafe-1` see it."""
    postgres.execute("ALTER ROLE hedgerow CREATEROLE")
    database = postgres.database()
    with closing(open_journal(postgres.address(database))) as owner:
        with owner.begin() as connection:
            make_role(connection, f"{database}_cafe", "a password")
            grant_site(connection, f"{database}_cafe", "cafe-1", may_manage=True)
        with closing(open_journal(postgres.address(database, f"{database}_cafe"))) as site:
            yield owner, site
    postgres.drop(database)


def test_a_site_reads_the_levels_above_it_and_no_others(chain: tuple[Store, Store]) -> None:
    owner, site = chain
    publish(owner, ORGANISATION, "base")
    publish(owner, "@north", "of the north")
    publish(owner, "@south", "of the south")
    publish(owner, "cafe-2", "of another site")
    OrganisationStore(owner).assign("cafe-1", "north")
    assert levels_of(site, "cafe-1") == {"organisation": "base", "group": "of the north"}
    with site.connect() as connection:
        assert set(connection.scalars(text("SELECT site FROM policy_versions"))) == {"@", "@north"}
        assert connection.scalars(text("SELECT site FROM site_groups")).all() == ["cafe-1"]


def test_a_site_writes_no_level_above_it(chain: tuple[Store, Store]) -> None:
    owner, site = chain
    publish(owner, ORGANISATION, "base")
    for level in (ORGANISATION, "@north", "cafe-2"):
        with pytest.raises(DatabaseError, match="row-level security"):
            publish(site, level, "mine")
    with pytest.raises(DatabaseError, match="permission denied"):
        OrganisationStore(site).assign("cafe-1", "south")
    with site.connect() as connection:  # a manager may replace its own versions only
        assert connection.execute(text("UPDATE policy_versions SET files = '{}'")).rowcount == 0
        assert connection.execute(policy_versions.delete()).rowcount == 0
    assert levels_of(site, "cafe-1") == {"organisation": "base"}


def test_a_site_manager_sees_their_site_only(chain: tuple[Store, Store]) -> None:
    owner, site = chain
    OrganisationStore(replace(owner, site="cafe-2")).report("b", NOW, STATE)
    OrganisationStore(site).report("a", NOW, STATE)
    assert [each.site for each in OrganisationStore(site).nodes()] == ["cafe-1"]
    assert [each.site for each in OrganisationStore(owner).nodes()] == ["cafe-1", "cafe-2"]


def test_sites_hear_of_a_version_above_them(chain: tuple[Store, Store]) -> None:
    owner, site = chain
    changes = site.dialect.changes(site.site)
    assert changes is not None
    with closing(changes):
        assert changes.wait(0)
        for level in (ORGANISATION, "@north"):
            publish(owner, level, "new")
            assert changes.wait(10)
        OrganisationStore(owner).assign("cafe-1", "north")
        assert changes.wait(10)
        assert not changes.wait(0)
