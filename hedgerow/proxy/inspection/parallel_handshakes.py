"""Handshakes of one client with one host that are under way at the same time.

A browser that does not know yet that a host has HTTP/2 connects once per request. It closes all of these connections but the first as soon
as that one has HTTP/2. So the others wait, and most of them need no handshake.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

MOST_SECONDS = 0.5
"""Seconds for which connections wait for the handshake of the first one."""

GRACE_SECONDS = 0.05
"""Seconds that a client has to close the others after that."""

type Key = tuple[str, str]
"""A client's address and a host."""


class ParallelHandshakes:
    """The connections that wait, by client and host. Use it on one event loop."""

    def __init__(self) -> None:
        self._waiting: dict[Key, list[Callable[[], None]]] = {}

    def begin(self, key: Key, go_on: Callable[[], None]) -> bool:
        """Return True for the first connection, which must call `end` after its handshake. For any other, `go_on` is called later."""
        waiting = self._waiting.get(key)
        if waiting is None:
            self._waiting[key] = []
            return True
        if not waiting:
            asyncio.get_running_loop().call_later(MOST_SECONDS, self._release, key, waiting)
        waiting.append(go_on)
        return False

    def end(self, key: Key, *, has_failed: bool) -> None:
        """Let the others go on, at once if the first one has failed."""
        waiting = self._waiting.get(key)
        if not waiting or has_failed:
            self._release(key, waiting)
        else:
            asyncio.get_running_loop().call_later(GRACE_SECONDS, self._release, key, waiting)

    def _release(self, key: Key, waiting: list[Callable[[], None]] | None) -> None:
        if waiting is None or self._waiting.get(key) is not waiting:
            return  # they have gone on already
        del self._waiting[key]
        for go_on in waiting:
            asyncio.get_running_loop().call_soon(go_on)
