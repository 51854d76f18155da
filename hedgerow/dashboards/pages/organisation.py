"""The sites of a store: up or down, versions of the policy, age of the lists, seats in use and problems."""

from __future__ import annotations

from dataclasses import replace

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from hedgerow.dashboards.pages.context import PageGroup
from hedgerow.dashboards.routes import READ, get
from hedgerow.dashboards.words.languages import message
from hedgerow.journal.organisation import ORGANISATION, UP_S, NodeRow, OrganisationStore
from hedgerow.journal.policy_history import PolicyVersion

_SHOWN_VERSIONS = 10
# The sentences that machines report, those of `deferred_app.readiness_problems` among them.
PROBLEMS = (
    message("some workers are not running"),
    message("the newest policy has mistakes, and the last good one is in force"),
    message("the newest rules are not in force"),
    message("lists are missing"),
    message("a newer policy of the organisation can't be used here"),
)


class OrganisationPages(PageGroup):
    """`/organisation`. A role of one site sees that site only."""

    @get("/organisation", READ)
    async def organisation(self, request: Request) -> Response:
        nodes, versions = await run_in_threadpool(self._read)
        now = self._context.clock()
        ordered = sorted(nodes, key=lambda each: (not _is_troubled(each, now), each.site, each.node))
        troubled = sum(_is_troubled(each, now) for each in nodes)
        return self._page(request, "organisation.html", nodes=ordered, troubled=troubled, versions=versions, up_since=now - UP_S)

    def _read(self) -> tuple[tuple[NodeRow, ...], dict[str, tuple[PolicyVersion, ...]]]:
        """Return the nodes, and the latest versions by level: of the organisation under an empty name, and of its groups."""
        store = self._context.reader.store
        organisation = OrganisationStore(store)
        names = sorted({"", *organisation.groups().values()})
        found = {name: organisation.of_level(ORGANISATION + name).latest(_SHOWN_VERSIONS) for name in names}
        if (site := store.rights.site) is not None:  # which other sites try a version is not for one of them
            found = {
                name: tuple(_as_seen_at(site, each) for each in some if not each.sites or site in each.sites)
                for name, some in found.items()
            }
        return organisation.nodes(), {name: some for name, some in found.items() if some}


def _is_troubled(node: NodeRow, now: float) -> bool:
    return node.state is None or bool(node.state.problems) or now - node.at > UP_S


def _as_seen_at(site: str, version: PolicyVersion) -> PolicyVersion:
    return replace(version, sites=(site,)) if version.sites else version
