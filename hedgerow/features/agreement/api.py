"""API of agreements: those with all children, and with one."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path
from starlette.concurrency import run_in_threadpool

from hedgerow.dashboards.pages.context import PageContext
from hedgerow.dashboards.routes import READ, ScopedRouter
from hedgerow.features.agreement.actions import AgreementView, view_of
from hedgerow.features.agreement.agreements import agreements_of, children_of


def add_agreement_routes(api: ScopedRouter, context: PageContext) -> None:
    """Add the routes."""

    @api.serve("GET", "/agreements", READ)
    async def agreements() -> tuple[AgreementView, ...]:
        """Return the agreements with all children: the rules in words, and who has said yes to them."""
        return await run_in_threadpool(_all, context)

    @api.serve("GET", "/agreements/{name}", READ)
    async def agreement(name: Annotated[str, Path(max_length=60)]) -> AgreementView:
        """Return the agreement with a child."""
        return view_of(await run_in_threadpool(context.part(agreements_of).standing, name))


def _all(context: PageContext) -> tuple[AgreementView, ...]:
    part = context.part(agreements_of)
    return tuple(view_of(part.standing(person.name)) for person in children_of(context.policy()))
