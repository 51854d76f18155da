"""API of the sites of a store and of the policies above them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated

from fastapi import Path, Query
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from hedgerow.dashboards.api.schema import Author, StrictModel
from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.routes import MANAGE, READ, ScopedRouter
from hedgerow.features.organisation.answers import LOOK_S, NodeAnswer, SiteAnswer
from hedgerow.features.organisation.levels import UP_S, SiteState, level_name
from hedgerow.features.organisation.publishing import SITE_NAMES, PolicyDraft, Publishing
from hedgerow.features.organisation.site_search import SearchResult
from hedgerow.journal.policy_history import PolicyVersion, lines_between
from hedgerow.policies.text.yaml_tree import MAX_BYTES


@dataclass(frozen=True, slots=True)
class SiteNode:
    """The last report of a site's machine.

    `at` and `state` are null for a site that has not reported, `up` after silence is false.
    """

    site: str
    group: str
    node: str
    up: bool
    at: float | None
    state: SiteState | None


@dataclass(frozen=True, slots=True)
class LevelVersion:
    """A version of a policy.

    `only` are the sites that try it; empty for all of the level. `follows` is the version before, or 0.
    """

    id: int
    at: float
    actor: str
    node: str
    note: str
    only: tuple[str, ...]
    follows: int


@dataclass(frozen=True, slots=True)
class LevelVersionText:
    """A version with the texts of its files, and the lines in which it differs from another one, as in `diff -u`."""

    version: LevelVersion
    level: str
    files: dict[str, str]
    diff: tuple[str, ...]


class NewLevelVersion(StrictModel):
    """A `policy` to publish as YAML, or an earlier `version` again: for a group, a site, or the whole organisation.

    `only` names sites to try it first. With `follows`, it is refused unless that is still the newest version.
    """

    policy: str | None = Field(None, max_length=MAX_BYTES)
    version: int | None = Field(None, ge=1, le=2**62)
    group: str | None = Field(None, max_length=31)
    site: str | None = Field(None, max_length=31)
    only: list[Annotated[str, Field(max_length=31)]] = Field(default=[], max_length=1000)
    note: str = Field("", max_length=200)
    follows: int | None = Field(None, ge=0, le=2**62)


class SiteGroup(StrictModel):
    """The group of a site; null for none."""

    group: str | None = Field(None, max_length=31)


type GroupQuery = Annotated[str | None, Query(max_length=31)]
type SiteQuery = Annotated[str | None, Query(max_length=31)]
type VersionId = Annotated[int, Path(ge=1, le=2**62)]


def add_organisation_routes(api: ScopedRouter, publishing: Publishing) -> None:
    """Add the routes."""
    _add_sites(api, publishing)
    _add_versions(api, publishing)


def _add_sites(api: ScopedRouter, publishing: Publishing) -> None:
    @api.serve("GET", "/organisation/sites", READ)
    async def sites() -> tuple[SiteNode, ...]:
        """Return the machines of all sites that this one may see."""
        now = publishing.clock()
        return tuple(
            SiteNode(each.site, each.group, each.node, now - each.at < UP_S, each.at or None, each.state)
            for each in await run_in_threadpool(publishing.organisation.nodes)
        )

    @api.serve("GET", "/organisation/search", MANAGE)
    async def search(q: Annotated[str, Query(min_length=2, max_length=253)]) -> SearchResult:
        """Return the newest decisions at all sites whose host, device or person has `q` in its name.

        Only what the person's privacy lets be recorded is found. With a site's role, it is that site's.
        """
        return await run_in_threadpool(publishing.search, q.strip())

    @api.serve("PUT", "/organisation/sites/{site}", MANAGE, status_code=204)
    async def assign(author: Author, site: Annotated[str, Path(max_length=31)], change: SiteGroup) -> None:
        """Put a site into a group, or into none."""
        await run_in_threadpool(publishing.assign, site, change.group or "", author)


def _add_versions(api: ScopedRouter, publishing: Publishing) -> None:
    organisation = publishing.organisation

    @api.serve("GET", "/organisation/versions", READ)
    async def versions(
        group: GroupQuery = None, site: SiteQuery = None, limit: Annotated[int, Query(ge=1, le=500)] = 50
    ) -> tuple[LevelVersion, ...]:
        """Return the versions of the policy of the organisation, a group or a site, the newest first."""
        return tuple(map(_view, await run_in_threadpool(organisation.history, _level(group, site), limit)))

    @api.serve("GET", "/organisation/versions/{number}", MANAGE)
    async def version(
        number: VersionId, against: Annotated[int | None, Query(ge=1, le=2**62)] = None
    ) -> LevelVersionText:
        """Return a version, compared with the one `against` or with the one before."""

        def read() -> LevelVersionText:
            level, found = organisation.find(number)
            before = organisation.find(against)[1].files if against is not None else publishing.before(found)
            return LevelVersionText(_view(found), level, dict(found.files), lines_between(before, found.files))

        return await run_in_threadpool(read)

    @api.serve("GET", "/organisation/versions/{number}/answers", READ)
    async def answers(number: VersionId, wait: Annotated[float, Query(ge=0, le=60)] = 0) -> tuple[NodeAnswer, ...]:
        """Return what the machines that a version is for have done with it.

        Waits for at most `wait` seconds until all that are not silent have answered.
        """
        ends = asyncio.get_running_loop().time() + wait
        while True:
            found = await run_in_threadpool(publishing.answers, number)
            is_over = asyncio.get_running_loop().time() >= ends
            if is_over or not any(each.answer is SiteAnswer.NONE_YET for each in found):
                return found
            await asyncio.sleep(LOOK_S)

    @api.serve("POST", "/organisation/versions", MANAGE, status_code=201)
    async def publish(author: Author, new: NewLevelVersion) -> LevelVersion:
        """Put a version in force."""
        if (new.policy is None) == (new.version is None):
            raise InvalidInput("Send a `policy`, or the `version` to publish again.")
        draft = PolicyDraft(new.policy, new.version, tuple(new.only), new.note, new.follows)
        level = _level(new.group, new.site)
        return _view(await run_in_threadpool(publishing.publish, level, draft, author))


def _level(group: str | None, site: str | None) -> str:
    if group is not None and site is not None:
        raise InvalidInput("Name a group or a site.")
    try:
        return level_name(group, site)
    except ValueError:
        raise InvalidInput(SITE_NAMES) from None


def _view(version: PolicyVersion) -> LevelVersion:
    return LevelVersion(
        version.id, version.at, version.actor, version.node, version.summary, version.sites, version.follows
    )
