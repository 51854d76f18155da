"""Detection of outages: a question that got no answer in time may be one that is slow to answer, or no upstream may answer anything.

An upstream answers others at once while it is slow with one name, since the nameservers of that name are. So a slow name is waited for, and
dead upstreams are not.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from struct import pack
from typing import Final

from hedgerow.dns import wire
from hedgerow.dns.upstreams.health import UpstreamHealth
from hedgerow.dns.upstreams.in_flight import DeadlineHandle, Deadlines
from hedgerow.dns.upstreams.upstream import Channel, UpstreamQuestion

FAST_PROBE_SECONDS: Final = 1.0
SLOW_PROBE_SECONDS: Final = 2.0  # for upstreams that took long before, as over a satellite, or have not answered yet
_FAST_SECONDS: Final = 0.25
_ROOT: Final = UpstreamQuestion(b"\0" + pack("!HH", wire.SOA, wire.IN))


class Outage:
    """`is_on`: no upstream of a pool answers. `on_outage` is called when a probe finds that out."""

    def __init__(self, deadlines: Deadlines, on_outage: Callable[[], None]) -> None:
        self.is_on = False
        self._heard_at = float("-inf")  # when an upstream last answered anything
        self._deadlines, self._on_outage = deadlines, on_outage
        self._deadline: DeadlineHandle | None = None  # of the probe in progress
        self._cancels: dict[str, Callable[[], None]] = {}

    def note_answer(self, now: float) -> None:
        """Note that an upstream answers, whatever it says."""
        self.is_on = False
        self._heard_at = now

    def suspect(self, began: float, channels: Iterable[Channel], health: Mapping[str, UpstreamHealth]) -> None:
        """Ask the channels for what each upstream knows, unless one has answered since a question `began` that got no answer in time."""
        if self._heard_at >= began or self.is_on or self._deadline is not None:
            return
        asked = tuple(channels)
        is_fast = all(0 < health[channel.name].seconds <= _FAST_SECONDS for channel in asked)
        self._deadline = self._deadlines.after(FAST_PROBE_SECONDS if is_fast else SLOW_PROBE_SECONDS, self._on_silence)
        for channel in asked:
            with contextlib.suppress(OSError):
                self._cancels[channel.name] = channel.send(_ROOT, _ROOT.question, partial(self._on_message, channel.name))

    def _on_message(self, name: str, message: bytes | Exception) -> None:
        self._cancels.pop(name, None)
        if isinstance(message, bytes) and self._deadline is not None:
            self._deadlines.cancel(self._deadline)
            self._end_probe()
            self.is_on = False

    def _on_silence(self) -> None:
        self._end_probe()
        self.is_on = True
        self._on_outage()

    def _end_probe(self) -> None:
        self._deadline = None
        cancels, self._cancels = self._cancels, {}
        for cancel in cancels.values():
            cancel()
