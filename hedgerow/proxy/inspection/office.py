"""What an inspector's connections need of it, and it of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from mitmproxy.connection import Client

from hedgerow.proxy.inspection.judging import Inspection
from hedgerow.proxy.inspection.lines.leaves import LeafStore
from hedgerow.proxy.inspection.lines.line import Line
from hedgerow.proxy.inspection.lines.origins import Origins
from hedgerow.proxy.judge import Counters


class Guest(Protocol):
    """Somebody who is at the inspector: a connection that begins, or an exchange."""

    @property
    def line(self) -> Line: ...

    def abort(self) -> None: ...
    def rests(self, now: float) -> float: ...


class Office(Protocol):
    """What a connection needs of its inspector."""

    @property
    def counters(self) -> Counters: ...
    @property
    def clock(self) -> Callable[[], float]: ...
    @property
    def leaves(self) -> LeafStore: ...
    @property
    def inspection(self) -> Inspection: ...
    @property
    def origins(self) -> Origins: ...
    def entered(self, guest: Guest) -> None: ...
    def left(self, guest: Guest, client: Client | None) -> None: ...
