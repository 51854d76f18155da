"""Which running tunnels are in use: a film keeps one tunnel busy for an hour without asking for anything anew."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hedgerow.proxy.tunnel import Tunnel

MIN_BYTES = 64 * 1024
"""Moved within a minute, in both directions together; less is keeping alive."""


class TunnelUse:
    """Remembers of each tunnel what it had moved when the minute began."""

    def __init__(self) -> None:
        self._minute = 0
        self._begun: dict[Tunnel, int] = {}

    def busy(self, tunnels: Iterable[Tunnel], now: float) -> Iterator[Tunnel]:
        """Those that have moved enough in this minute of the clock; `now` is in seconds since the epoch."""
        minute, before = int(now // 60), self._begun
        if minute != self._minute:
            self._minute, self._begun = minute, {}
        for tunnel in tunnels:
            moved = tunnel.client.count + tunnel.server.count
            begun = self._begun.setdefault(tunnel, moved if tunnel in before else 0)
            if moved - begun >= MIN_BYTES and not tunnel.blocked:
                yield tunnel
