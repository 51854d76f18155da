"""The contract between an inspector and its connections, and what these have in common."""

from __future__ import annotations

import ssl
from abc import abstractmethod
from collections.abc import Callable
from typing import Protocol

from mitmproxy.proxy.context import Context

from hedgerow.proxy.inspection.addon import InspectionAddon
from hedgerow.proxy.inspection.leaf_certificates import LeafCertificates
from hedgerow.proxy.inspection.origins import OriginPool
from hedgerow.proxy.inspection.parallel_handshakes import ParallelHandshakes
from hedgerow.proxy.inspection.shares import DeviceShares
from hedgerow.proxy.inspection.streams import Stream, StreamOwner
from hedgerow.proxy.policy import Counters


class InspectorContext(Protocol):
    """The inspector, for its connections."""

    counters: Counters
    clock: Callable[[], float]
    leaf_certificates: LeafCertificates
    inspection: InspectionAddon
    origins: OriginPool
    parallel_handshakes: ParallelHandshakes
    shares: DeviceShares

    def register(self, session: InspectorSession) -> None:
        """Take note of a session. It replaces the one that its client had."""

    def unregister(self, session: InspectorSession) -> None:
        """Forget a session that is over, and its client."""


class InspectorSession(StreamOwner):
    """The owner of a client's stream, in its handshake or under inspection."""

    def __init__(self, inspector: InspectorContext, context: Context, stream: Stream) -> None:
        self._inspector = inspector
        self._context = context
        self.client = context.client
        self.stream = stream

    def abort(self) -> None:
        """End at once, and drop what is not sent."""
        self.stream.abort()

    @abstractmethod
    def idle_seconds(self, now: float) -> float:
        """Return the seconds for which nothing has happened, in the loop's time."""

    def failed(self, stream: Stream, error: ssl.SSLError | None) -> None:
        if stream is self.stream:
            self._note_refusal(error.reason if error else None)
        stream.abort()

    def _note_refusal(self, reason: str | None) -> None:
        """Note that the client has refused our certificate, or may have."""
        self._inspector.inspection.certificates.refused(self.client, self._context.server.address, reason)
