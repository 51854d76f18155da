"""The contracts between an inspector and its connections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from mitmproxy.connection import Client

from hedgerow.proxy.inspection.addon import InspectionAddon
from hedgerow.proxy.inspection.leaf_certificates import LeafCertificates
from hedgerow.proxy.inspection.origins import OriginPool
from hedgerow.proxy.inspection.parallel_handshakes import ParallelHandshakes
from hedgerow.proxy.inspection.shares import DeviceShares
from hedgerow.proxy.inspection.streams import Stream
from hedgerow.proxy.policy import Counters


class InspectorSession(Protocol):
    """A connection in its handshake or under inspection."""

    @property
    def stream(self) -> Stream: ...
    @property
    def client(self) -> Client: ...

    def abort(self) -> None: ...
    def idle_seconds(self, now: float) -> float: ...


class InspectorContext(Protocol):
    """The inspector, for its connections."""

    @property
    def counters(self) -> Counters: ...
    @property
    def clock(self) -> Callable[[], float]: ...
    @property
    def leaf_certificates(self) -> LeafCertificates: ...
    @property
    def inspection(self) -> InspectionAddon: ...
    @property
    def origins(self) -> OriginPool: ...
    @property
    def parallel_handshakes(self) -> ParallelHandshakes: ...
    @property
    def shares(self) -> DeviceShares: ...
    def register(self, session: InspectorSession) -> None: ...
    def unregister(self, session: InspectorSession, client: Client | None) -> None: ...
