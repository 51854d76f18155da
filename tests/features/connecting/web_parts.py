"""Parts of connecting a home in the web server of tests."""

from __future__ import annotations

from typing import Any

from hedgerow.app.settings import Endpoint
from hedgerow.features.connecting.handed_out import RouterWatch, router_watch_of
from hedgerow.features.connecting.resolver import HomeResolver, resolver_of


def parts(**_core: Any) -> dict[Any, Any]:
    """Return the DNS of a machine at home and a router that does not answer, by the functions that make them."""
    return {resolver_of: HomeResolver(Endpoint("192.168.1.2", 53)), router_watch_of: RouterWatch(lambda: None)}
