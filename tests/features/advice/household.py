"""Pages of advice in the household of the tests of pages."""

from __future__ import annotations

from web_server import Web

PAGES = (
    *("/device/advice/picture", "/device/advice/meeting", "/device/advice/friend", "/device/advice/saw"),
    "/device/advice/apps",
    "/advice/told",
    "/advice/apps",
)


def fill(_web: Web) -> None:
    """The texts need nothing of the journal."""
