"""The system's resolver settings (resolv.conf), and the copy of them that confined workers read."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path

from hedgerow.files import error_text, write_atomically
from hedgerow.ticks import next_tick

# The second has the servers behind systemd-resolved's stub, in case the stub points to us.
RESOLV_CONFS = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))

CHECK_INTERVAL_S = 1.0

log = logging.getLogger("hedgerow.control")


def system_resolv_conf(copy: Path | None = None) -> str:
    """The text of all resolv.conf files. They change when the machine joins a network.

    A confined process can't read a file that has replaced the one it knew; it gets the text of control's `copy`.
    """
    texts = []
    for path in RESOLV_CONFS:
        try:
            texts.append(path.read_text(encoding="ascii", errors="replace"))
        except PermissionError:
            with contextlib.suppress(OSError):
                return copy.read_text(encoding="utf-8") if copy is not None else ""
        except OSError:
            continue
    return "\n".join(texts)


class ResolvConfCopy:
    """The workers' copy of the system's resolver settings at `path`, kept in step.

    A confined worker can read the files that were there at its start, and programs that change the settings often put a
    new file in place of the old one.
    """

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
            await next_tick(CHECK_INTERVAL_S)
