"""The page of the children's Wi-Fi in the household of the tests of pages."""

from __future__ import annotations

from web_server import Web

PAGES = ("/settings/wifi",)


def fill(_web: Web) -> None:
    """The household has a radio, and no Wi-Fi yet."""
