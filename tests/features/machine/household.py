"""The page of the machine, for tests that look at all pages."""

from __future__ import annotations

from web_server import Web

PAGES = ("/machine",)


def fill(_web: Web) -> None:
    """Add nothing: the machine is the one that runs the test."""
