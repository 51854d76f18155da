"""The sites of a store: up or down, versions of the policy, age of the lists, seats in use and problems."""

from __future__ import annotations

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from hedgerow.dashboards.pages.context import PageGroup
from hedgerow.dashboards.routes import READ, get
from hedgerow.journal.organisation import ORGANISATION, UP_S, NodeRow, OrganisationStore
from hedgerow.journal.policy_history import PolicyVersion

_SHOWN_VERSIONS = 10


class OrganisationPages(PageGroup):
    """`/organisation`. A role of one site sees that site only."""

    @get("/organisation", READ)
    async def organisation(self, request: Request) -> Response:
        nodes, versions = await run_in_threadpool(self._read)
        now = self._context.clock()
        troubled = {each for each in nodes if each.state is None or each.state.problems or now - each.at > UP_S}
        ordered = sorted(nodes, key=lambda each: (each not in troubled, each.site, each.node))
        return self._page(request, "organisation.html", nodes=ordered, troubled=troubled, versions=versions, up_since=now - UP_S)

    def _read(self) -> tuple[tuple[NodeRow, ...], dict[str, tuple[PolicyVersion, ...]]]:
        """Return the nodes, and the latest versions by level: of the organisation under an empty name, and of its groups."""
        organisation = OrganisationStore(self._context.reader.store)
        names = sorted({"", *organisation.groups().values()})
        versions = {name: organisation.of_level(ORGANISATION + name).latest(_SHOWN_VERSIONS) for name in names}
        return organisation.nodes(), {name: found for name, found in versions.items() if found}
