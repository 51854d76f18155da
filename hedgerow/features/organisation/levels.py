"""An organisation of sites in one store: versions of its base policy and of its groups' policies, and what each site
reports.

The versions are kept with those of the sites, under names that no site can have: `@` for the organisation, and
`@GROUP`. A site reads those of the levels above it, and only the owner of the store writes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from sqlalchemy import select

from hedgerow.blocklists.rules import Problem
from hedgerow.codec import decode, encode
from hedgerow.journal.access_store import NoSuchEntry
from hedgerow.journal.policy_history import MAIN_FILE, PolicyVersion, PolicyVersions, newest_of_levels
from hedgerow.journal.store import Store
from hedgerow.journal.tables import policy_versions, site_groups, site_status
from hedgerow.policies.model import Policy
from hedgerow.policies.reading.levels import level_file
from hedgerow.policies.reading.load import PolicyError, parse_policy
from hedgerow.policies.text.addresses import site_name_mistake

ORGANISATION = "@"
"""The name under which versions of the organisation's policy are kept; a group's name follows it for those of a group.
"""
UP_S = 90.0
"""Seconds without a report after which a node counts as silent: it reports every 30 seconds."""
_FORGOTTEN_AFTER_S = 30 * 86400.0
_CHECKED_AS = Path("/nonexistent/policy.yaml")  # with which there are no levels of this machine


@dataclass(frozen=True, slots=True)
class SiteState:
    """Report of a node about its site. `versions` are those in force by level, `problems` are plain sentences without
    names.

    `coverage` is the state of the lists by category, `list_age_hours` the age of the oldest list in force. `blocked`
    counts what all nodes of the site have blocked in the last 24 hours, by category. `refused` are the versions that
    the site can't use, by level, for the mistakes in `refusal`. `own` is the version of the site's own policy,
    `own_refused` the one that this node can't use, for the mistakes in `own_refusal`; 0 for none.
    """

    software: str
    policy_hash: str
    versions: dict[str, int]
    list_age_hours: int | None
    coverage: dict[str, str]
    seats: int
    seats_in_use: int
    problems: tuple[str, ...]
    blocked: dict[str, int] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    refusal: str = ""
    own: int = 0
    own_refused: int = 0
    own_refusal: str = ""


@dataclass(frozen=True, slots=True)
class NodeRow:
    """The last report of a node, at `at` by its own clock.

    `state` is None for a site that has not reported yet, or in another form.
    """

    site: str
    group: str
    node: str
    at: float
    state: SiteState | None


def blocked_by_category(nodes: Iterable[NodeRow]) -> dict[str, dict[str, int]]:
    """Return what each site has blocked by category, the most of all sites first.

    The newest report of a site counts for all its nodes.
    """
    newest = {each.site: each.state for each in sorted(nodes, key=lambda each: each.at) if each.state is not None}
    found: dict[str, dict[str, int]] = {}
    for site, state in newest.items():
        for category, count in state.blocked.items():
            found.setdefault(category, {})[site] = count
    return dict(sorted(found.items(), key=lambda pair: (-sum(pair[1].values()), pair[0])))


def level_name(group: str | None, site: str | None) -> str:
    """Return the name under which the versions of a group's or a site's policy are kept, or of the organisation's
    without either.

    Raises ValueError for a name that no group or site can have.

    >>> level_name(None, None), level_name("north", None), level_name(None, "cafe-1")
    ('@', '@north', 'cafe-1')
    """
    if group is not None and site is not None:
        raise ValueError("name a group or a site")
    for name in (group, site):
        if name is not None and (mistake := site_name_mistake(name)):
            raise ValueError(mistake)
    return site if site is not None else ORGANISATION + (group or "")


def check_level(level: str, text: str, base: str | None) -> Policy:
    """Read a level's text as sites will, below the organisation's policy `base` if there is one. Raises PolicyError.

    Files that it names are the sites', and are not opened.
    """
    place = level_file(_CHECKED_AS, "organisation" if level == ORGANISATION else "group")
    texts = {str(level_file(_CHECKED_AS, "organisation")): base.encode()} if base is not None else {}
    try:
        if level.startswith(ORGANISATION):
            return parse_policy(b"", _CHECKED_AS, texts={**texts, str(place): text.encode()}, is_elsewhere=True)
        return parse_policy(text.encode(), _CHECKED_AS, texts=texts, is_elsewhere=True)
    except PolicyError as error:
        raise PolicyError(tuple(map(_without_folder, error.problems))) from None


def _without_folder(problem: Problem) -> Problem:
    message = problem.message.replace(f"{level_file(_CHECKED_AS, '').parent}/", "")
    return replace(problem, source=Path(problem.source).name, message=message)


class OrganisationStore:
    """Every method waits for the disk: call it from a thread."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def of_level(self, name: str) -> PolicyVersions:
        """Return the versions of a level: those of `@`, of `@GROUP` or of a site."""
        return PolicyVersions(replace(self._store, site=name))

    def levels(self) -> Mapping[str, PolicyVersion]:
        """Return the versions that are to be in force above this site, by level."""
        group = select(ORGANISATION + site_groups.c.group_name).where(self._store.own(site_groups)).scalar_subquery()
        newest = newest_of_levels(self._store, ORGANISATION, group)
        return {"organisation" if name == ORGANISATION else "group": version for name, version in newest.items()}

    def publish(self, level: str, version: PolicyVersion) -> int:
        """Put a version in force, whose `id` is ignored. Returns its id.

        Raises PolicyError for mistakes, `VersionConflict`, and ValueError for names of sites that there can't be.
        """
        for site in version.sites:
            if mistake := site_name_mistake(site):
                raise ValueError(mistake)
        if version.sites and not level.startswith(ORGANISATION):
            raise ValueError("a site's own policy is in force there only")
        if version.files.keys() == {MAIN_FILE}:  # versions with several files come from a site that had them in force
            newest = self.of_level(ORGANISATION).newest("") if level != ORGANISATION else None
            base = newest.files[MAIN_FILE] if newest is not None else None
            policy = check_level(level, version.files[MAIN_FILE], base)
            if not level.startswith(ORGANISATION):
                self._check_store(level, policy, base)
        return self.of_level(level).add(version)

    def _check_store(self, site: str, policy: Policy, base: str | None) -> None:
        """Raise PolicyError if a site with this policy would not find the store at its next start."""
        newest, needed = self.of_level(site).newest(), ""
        with suppress(PolicyError):  # it may be of another version of Hedgerow, or of another policy above it
            needed = check_level(site, newest.files[MAIN_FILE], base).network.store if newest is not None else ""
        missing = f"network.site: {site}" if policy.network.site != site else f"network.store: {needed}"
        if policy.network.site != site or (needed and not policy.network.store):
            raise PolicyError(
                (Problem(MAIN_FILE, None, None, f"the site would not find its store again without {missing}"),)
            )

    def history(self, level: str, limit: int = 50) -> tuple[PolicyVersion, ...]:
        """Return the latest versions of a level that this role may see, the newest first."""
        return tuple(seen for each in self.of_level(level).latest(limit) if (seen := self._as_seen(each)) is not None)

    def find(self, number: int) -> tuple[str, PolicyVersion]:
        """Return a version that this role may see by its id, after the level that it is of. Raises `NoSuchEntry`."""
        level = self._store.scalar(select(policy_versions.c.site).where(policy_versions.c.id == number))
        seen = self._as_seen(self.of_level(level).version(number)) if level is not None else None
        if seen is None:
            raise NoSuchEntry(f"there is no version {number}")
        return level, seen

    def _as_seen(self, version: PolicyVersion) -> PolicyVersion | None:
        """Return a version as this role may see it: which other sites try one is not for a site."""
        site = self._store.rights.site
        if site is None or not version.sites:
            return version
        return replace(version, sites=(site,)) if site in version.sites else None

    def assign(self, site: str, group: str) -> None:
        """Put a site into a group, and into no other; into none for an empty name. Needs the store's owner."""
        kept = replace(self._store, site=site)
        if group:
            kept.execute(kept.upsert(site_groups, lambda new: {"group_name": new.group_name}).values(group_name=group))
        else:
            kept.execute(kept.delete(site_groups))

    def groups(self) -> dict[str, str]:
        """Return the groups of the sites that have one."""
        return {row.site: row.group_name for row in self._store.rows(select(site_groups))}

    def report(self, node: str, at: float, state: SiteState) -> None:
        """Replace a node's report, and forget nodes that have not reported for a month."""
        values = {"at": at, "state": encode(state).decode()}
        statement = self._store.upsert(site_status, lambda new: {"at": new.at, "state": new.state})
        with self._store.begin() as connection:
            connection.execute(statement.values(node=node, **values))
            connection.execute(self._store.delete(site_status).where(site_status.c.at < at - _FORGOTTEN_AFTER_S))

    def nodes(self, known: Iterable[str] = ()) -> tuple[NodeRow, ...]:
        """Return the last reports of all nodes that this role may see, and an empty one for each of the `known` sites
        without any.
        """
        groups = self.groups()
        rows = [
            NodeRow(row.site, groups.get(row.site, ""), row.node, row.at, _state(row.state))
            for row in self._store.rows(select(site_status).order_by(site_status.c.site, site_status.c.node))
        ]
        silent = sorted({*known, *groups} - {row.site for row in rows})
        return (*rows, *(NodeRow(site, groups.get(site, ""), "", 0.0, None) for site in silent))


def _state(text: str) -> SiteState | None:
    try:
        return decode(SiteState, text.encode())
    except ValueError:
        return None
