"""Handshakes of one client with one host that are under way at the same time.

A browser that does not know yet that a host has HTTP/2 connects once per request. It closes all of these connections
but the first as soon as that one has HTTP/2. So the others wait, and most of them need no handshake.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

MOST_SECONDS = 0.5
"""Seconds for which connections wait for the handshake of the first one."""

GRACE_SECONDS = 0.02
"""Seconds that a client has to close the others after that.

Browsers need a few milliseconds, and keep some (requests without cookies).
"""

type Key = tuple[str, str, int]
"""A client's address, a host and its port."""

type GoOn = Callable[[], None]
"""Goes on with the handshake of a connection, which it stands for."""


class ParallelHandshakes:
    """The connections that wait, by client and host. Use it on one event loop."""

    def __init__(self) -> None:
        self._groups: dict[Key, _Group] = {}

    def begin(self, key: Key, go_on: GoOn) -> bool:
        """Return True if the connection is to go on at once, False if `go_on` is called later.

        It must call `leave` when it is lost.
        """
        group = self._groups.get(key)
        if group is None:
            self._groups[key] = _Group(go_on)
            return True
        if group.timer is None:
            group.timer = asyncio.get_running_loop().call_later(MOST_SECONDS, self._release, key, group)
        group.waiting[go_on] = None
        return False

    def end(self, key: Key, go_on: GoOn) -> None:
        """Take note that a connection's handshake is done. If it is the first, the others go on soon."""
        group = self._groups.get(key)
        if group is None or group.first != go_on:
            return
        group.first = None
        if not group.waiting:
            self._release(key, group)
        else:
            assert group.timer is not None
            group.timer.cancel()
            group.timer = asyncio.get_running_loop().call_later(GRACE_SECONDS, self._release, key, group)

    def leave(self, key: Key, go_on: GoOn) -> None:
        """Forget a connection that is lost. If it is the first, the others go on at once."""
        group = self._groups.get(key)
        if group is None:
            return
        group.waiting.pop(go_on, None)
        if group.first == go_on or (group.first is None and not group.waiting):
            self._release(key, group)

    def _release(self, key: Key, group: _Group) -> None:
        if group.timer is not None:
            group.timer.cancel()
        del self._groups[key]
        for go_on in group.waiting:
            asyncio.get_running_loop().call_soon(go_on)


@dataclass(slots=True)
class _Group:
    """The first connection while its handshake is under way, and those that wait."""

    first: GoOn | None
    waiting: dict[GoOn, None] = field(default_factory=dict)
    timer: asyncio.TimerHandle | None = None
