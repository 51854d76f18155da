"""The page of an invitation, and an invitation that waits, for tests that look at all pages."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from web_server import NOW, Web

from hedgerow.journal.accounts import AccountRow

PAGES = ("/invitation?name=Ben",)


def fill(web: Web) -> None:
    """Invite somebody, without a code, unless the first password is not set yet."""
    if not web.accounts.has_any:
        return
    row = AccountRow("Ben", "parent", "", NOW, subject=f"invitation 00 {NOW + 3600:.0f} Ana")
    with ThreadPoolExecutor(1) as thread:  # a test with a browser has a running event loop in its own
        thread.submit(asyncio.run, web.accounts.add(row)).result()
