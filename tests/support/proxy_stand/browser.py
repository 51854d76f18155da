"""A browser behind the gate of a stand."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from small_internet.browser import browser_for_pages, trusting

from proxy_stand.stand import Stand


@contextlib.contextmanager
def opened_page(stand: Stand, home: Path, authority: Path) -> Iterator[Any]:
    """A page of a browser whose user has installed an authority."""
    with browser_for_pages(
        proxy={"server": f"http://127.0.0.1:{stand.gate.port}"}, env=trusting(home, authority)
    ) as browser:
        yield browser.new_context().new_page()
