"""The sites of a store: up or down, versions of the policy, age of the lists, seats in use and problems; and the
policies above them.
"""

from __future__ import annotations

import math
from typing import Annotated

from fastapi import Form, Path, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.extensions import Card, Extensions, Place
from hedgerow.dashboards.pages.context import PageContext, PageGroup, principal_of
from hedgerow.dashboards.routes import MANAGE, READ, ScopedRouter, get, post
from hedgerow.dashboards.words.languages import language_of, message
from hedgerow.features.organisation.answers import SiteAnswer, count_answers
from hedgerow.features.organisation.api import add_organisation_routes
from hedgerow.features.organisation.levels import ORGANISATION, UP_S, NodeRow, blocked_by_category, level_name
from hedgerow.features.organisation.publishing import SITE_NAMES, PolicyDraft, Publishing
from hedgerow.journal.policy_history import MAIN_FILE, PolicyVersion, lines_between
from hedgerow.policies.text.yaml_tree import MAX_BYTES

type FormText = Annotated[str, Form(max_length=600)]
type VersionId = Annotated[int, Path(ge=1, le=2**62)]

_SHOWN_VERSIONS, _SHOWN_MACHINES = 10, 100
# The sentences that machines report, those of `deferred_app.readiness_problems` among them.
PROBLEMS = (
    message("some workers are not running"),
    message("the newest policy has mistakes, and the last good one is in force"),
    message("the newest rules are not in force"),
    message("lists are missing"),
    message("a newer policy of the organisation can't be used here"),
    message("the disk is full, and changes can't be saved"),
)


class OrganisationPages(PageGroup):
    """`/organisation` and its forms. A role of one site sees that site only."""

    @property
    def _publishing(self) -> Publishing:
        return Publishing(self._context.reader.store, self._context.clock)

    @get("/organisation", READ)
    async def organisation(
        self, request: Request, q: Annotated[str, Query(max_length=60)] = "", page: int = 1
    ) -> Response:
        """Show the machines, those that need attention first. `q` is a part of a site's, group's or machine's name."""
        nodes, versions = await run_in_threadpool(self._read)
        now, wanted = self._context.clock(), q.strip().lower()
        found = [each for each in nodes if wanted in f"{each.site}\n{each.group}\n{each.node}".lower()]
        found.sort(key=lambda each: (not _is_troubled(each, now), each.site, each.node))
        pages = max(1, math.ceil(len(found) / _SHOWN_MACHINES))
        number = min(max(1, page), pages)
        return self._page(
            request,
            "organisation/templates/sites.html",
            nodes=found[(number - 1) * _SHOWN_MACHINES : number * _SHOWN_MACHINES],
            total=len(nodes),
            troubled=sum(_is_troubled(each, now) for each in nodes),
            query=q.strip(),
            number_of_page=number,
            pages=pages,
            sites=sorted({each.site for each in nodes}),
            versions=versions,
            up_since=now - UP_S,
            blocked=blocked_by_category(nodes),
            is_office=self._publishing.is_office,
        )

    def _read(self) -> tuple[tuple[NodeRow, ...], dict[str, tuple[PolicyVersion, ...]]]:
        """Return the nodes, and the latest versions by level: of the organisation under an empty name, and of its
        groups.
        """
        publishing = self._publishing
        organisation = publishing.organisation
        names = sorted({"", *organisation.groups().values()})
        found = {name: organisation.history(ORGANISATION + name, _SHOWN_VERSIONS) for name in names}
        return organisation.nodes(), {name: some for name, some in found.items() if some or publishing.is_office}

    @get("/organisation/search", MANAGE)
    async def search(self, request: Request, q: Annotated[str, Query(max_length=253)] = "") -> Response:
        """Show the newest decisions of all sites for a host, a device or a person."""
        wanted = q.strip()
        found = await run_in_threadpool(self._publishing.search, wanted) if len(wanted) > 1 else None
        return self._page(
            request,
            "organisation/templates/search.html",
            query=wanted,
            found=found,
            is_office=self._publishing.is_office,
        )

    @post("/organisation/sites", MANAGE)
    async def assign(self, request: Request, site: FormText, group: FormText = "") -> Response:
        site, group = site.strip(), group.strip()
        await run_in_threadpool(self._publishing.assign, site, group, principal_of(request))
        text = message("%(site)s belongs to %(group)s.") if group else message("%(site)s belongs to no group.")
        return self._done(request, text, site=site, group=group)

    @get("/organisation/edit", MANAGE)
    async def edit(
        self,
        request: Request,
        group: Annotated[str, Query(max_length=31)] = "",
        site: Annotated[str, Query(max_length=31)] = "",
    ) -> Response:
        organisation, level = self._publishing.organisation, _level(group, site)
        versions = await run_in_threadpool(organisation.history, level, _SHOWN_VERSIONS)
        newest = await run_in_threadpool(organisation.of_level(level).newest)
        sites = sorted({each.site for each in await run_in_threadpool(organisation.nodes)})
        text = newest.files.get(MAIN_FILE, "") if newest is not None else ""
        follows = newest.id if newest is not None else 0
        return self._page(
            request,
            "organisation/templates/edit.html",
            heading=_heading(request, level),
            group=group,
            site=site,
            text=text,
            follows=follows,
            sites=sites,
            versions=versions,
        )

    @post("/organisation/edit", MANAGE)
    async def publish(
        self,
        request: Request,
        policy: Annotated[str, Form(max_length=MAX_BYTES)],
        follows: Annotated[int, Form(ge=0, le=2**62)] = 0,
        group: FormText = "",
        site: FormText = "",
        only: FormText = "",
        note: FormText = "",
    ) -> Response:
        draft = PolicyDraft(policy.replace("\r\n", "\n"), None, _sites(only), note[:200], follows)
        version = await run_in_threadpool(self._publishing.publish, _level(group, site), draft, principal_of(request))
        return self._published(request, version.id)

    def _published(self, request: Request, number: int) -> Response:
        path = f"/organisation/versions/{number}"
        return self._done(request, message("Version %(number)s is published."), path=path, number=number)

    @get("/organisation/versions/{number}", READ)
    async def version(self, request: Request, number: VersionId) -> Response:
        publishing = self._publishing
        level, version = await run_in_threadpool(publishing.organisation.find, number)
        lines = lines_between(await run_in_threadpool(publishing.before, version), version.files)
        answers = await run_in_threadpool(publishing.answers, number)
        return self._page(
            request,
            "organisation/templates/version.html",
            counts={answer.value: count for answer, count in count_answers(answers).items()},
            missing=[each for each in answers if each.answer is not SiteAnswer.TAKEN][:_SHOWN_MACHINES],
            heading=_heading(request, level),
            version=version,
            lines=lines[2:],
            may_publish=publishing.may_publish(level),
            is_level=level.startswith(ORGANISATION),
        )

    @post("/organisation/versions/{number}", MANAGE)
    async def publish_again(self, request: Request, number: VersionId, only: FormText = "") -> Response:
        """Put an earlier version in force, or one that some sites have tried."""
        publishing = self._publishing
        level, _version = await run_in_threadpool(publishing.organisation.find, number)
        version = await run_in_threadpool(
            publishing.publish, level, PolicyDraft(None, number, _sites(only)), principal_of(request)
        )
        return self._published(request, version.id)


def _sites(typed: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(typed.replace(",", " ").split()))


def _level(group: str, site: str) -> str:
    try:
        return level_name(group or None, site or None)
    except ValueError:
        raise InvalidInput(SITE_NAMES) from None


def _heading(request: Request, level: str) -> str:
    gettext = language_of(request).gettext
    if not level.startswith(ORGANISATION):
        return gettext(message("Policy of the site %(name)s"), name=level)
    group = level.removeprefix(ORGANISATION)
    return (
        gettext(message("Policy of the group %(name)s"), name=group)
        if group
        else gettext(message("Policy of the organisation"))
    )


def _is_troubled(node: NodeRow, now: float) -> bool:
    return node.state is None or bool(node.state.problems) or now - node.at > UP_S


def _has_sites(context: PageContext, _subject: object) -> bool | None:
    """Return True where several sites share a store, else None."""
    return context.reader.store.dialect.is_partitioned or None


def _add_routes(api: ScopedRouter, context: PageContext) -> None:
    add_organisation_routes(api, Publishing(context.reader.store, context.clock))


EXTENSIONS = Extensions(
    cards=(Card(place=Place.SETTINGS_LINKS, template="organisation/templates/settings.html", read=_has_sites),),
    page_groups=(OrganisationPages,),
    api_routes=(_add_routes,),
)
