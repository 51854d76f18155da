"""The copy of the system's resolver settings for workers.

A confined worker can read the files that were there at its start. Programs that change them often put a new file in place of the old one.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from hedgerow.app.files import error_text, write_atomically
from hedgerow.app.workers.upstreams import system_resolv_conf

log = logging.getLogger("hedgerow.control")

CHECK_INTERVAL_S = 1.0


class ResolvConfCopy:
    """Keeps the copy at `path` in step."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._text: str | None = None
        self._problem = ""

    async def run(self) -> None:
        """Copy the settings whenever they change, until cancelled. A failure is logged once and tried again."""
        while True:
            text = system_resolv_conf()
            if text != self._text:
                try:
                    await asyncio.to_thread(write_atomically, self._path, text.encode())
                    self._text, self._problem = text, ""
                except OSError as error:
                    if error_text(error) != self._problem:
                        log.warning("Can't copy the resolver settings for the workers: %s", error_text(error))
                    self._problem = error_text(error)
            await asyncio.sleep(CHECK_INTERVAL_S)
