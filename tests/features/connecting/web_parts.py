"""Parts of connecting a home in the web server of tests."""

from __future__ import annotations

from typing import Any

from hedgerow.app.settings import Endpoint
from hedgerow.features.connecting.resolver import HomeResolver, resolver_of


def parts(**_core: Any) -> dict[Any, Any]:
    """Return the DNS of a machine at home, by the function that makes it from the settings."""
    return {resolver_of: HomeResolver(Endpoint("192.168.1.2", 53))}
