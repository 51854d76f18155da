"""API of the devices that use Hedgerow."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.concurrency import run_in_threadpool

from hedgerow.dashboards.pages.context import PageContext
from hedgerow.dashboards.routes import OPERATE, READ, ScopedRouter
from hedgerow.features.connecting.connections import DeviceConnection, read_home
from hedgerow.network.discovery import VendorLookup


def add_connection_routes(api: ScopedRouter, context: PageContext) -> None:
    """Add the route."""
    vendors = VendorLookup()

    @api.serve("GET", "/connections", OPERATE, READ)
    async def connections() -> Sequence[DeviceConnection]:
        """Return the devices of the policy, those of children first, then those without a name, and routers that ask.

        Each with whether it uses Hedgerow. Without `last`, it has never used it, and nothing of it is filtered.
        """
        home = await run_in_threadpool(
            lambda: read_home(context.index(), context.reader, context.activity, vendors, context.clock())
        )
        return (*home.named, *home.unnamed, *home.equipment)
