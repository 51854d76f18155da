"""The parts of a gate that its connections share."""

from __future__ import annotations

import socket
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Protocol

from hedgerow.policies.model import Decision
from hedgerow.policies.privacy import counted_reason
from hedgerow.policies.unlisted import CertificateFlaw
from hedgerow.proxy.certificate_examiner import CertificateExaminer, Server
from hedgerow.proxy.gate.commands import GateClient, HandOver
from hedgerow.proxy.gate.handover_queue import HandoverQueue
from hedgerow.proxy.gate.rules import GateRules, KnownConnect
from hedgerow.proxy.gate.table import GateTable
from hedgerow.proxy.gate.tunnel import PipePool
from hedgerow.proxy.handover import encode_handover_header
from hedgerow.proxy.policy import Counters
from hedgerow.proxy.poller import Poller
from hedgerow.proxy.tunnel_traffic import TunnelTraffic


class Abortable(Hashable, Protocol):
    """A connection at the gate."""

    def abort(self) -> None:
        """Close it at once."""


@dataclass(frozen=True, slots=True)
class GateResources[C: Abortable]:
    """Parts of a gate that its connections, of the class `C`, share."""

    rules: GateRules
    table: GateTable[C]
    handovers: HandoverQueue
    examiner: CertificateExaminer | None
    counters: Counters
    clock: Callable[[], float]
    poller: Poller
    pipes: PipePool
    traffic: TunnelTraffic

    def flaw_of(self, server: Server) -> CertificateFlaw:
        """Return what is known of an unlisted host's server by now, NONE if there is nothing."""
        if self.traffic.is_tunnel(server.owner, server.host, self.clock()):
            return CertificateFlaw.TUNNEL
        return CertificateFlaw.NONE if self.examiner is None else self.examiner.known(server)

    def drop(self, cause: str) -> None:
        """Count a connection that was dropped or refused for a `cause`, if there is one."""
        if cause:
            self.counters.add("hedgerow_proxy_dropped_total", cause)

    def count_decision(self, lane: str, decision: Decision) -> None:
        """Count a connection with the decision on it."""
        verdict, reason = decision.verdict.value, counted_reason(decision.reason)
        self.counters.add("hedgerow_proxy_connections_total", lane, verdict)
        self.counters.add("hedgerow_proxy_requests_total", lane, verdict, reason)

    def admit(self, connection: C, address: str, client: GateClient | None) -> str:
        """Give a place to a connection of the device at `address`, whose `client` may be known.

        Returns the cause if it is turned away.
        """
        client = client or self.rules.find_client(address)
        if client is None:
            return "outsider"
        classed, places = client.classed, self.table.places
        if not places.has_room(classed):
            if places.count(classed) >= places.per_client:
                return "device"
            displaced = self.table.to_displace(classed)
            if displaced is None:
                return "full"
            self.drop("full")
            displaced.abort()
        places.enter(connection, classed)
        return ""

    def hand_over_again(self, sock: socket.SocketType, known: KnownConnect) -> bool:
        """Hand over a connection that begins with a CONNECT which led to an inspector before, and close our end of it.

        Returns False if that must go another way.
        """
        command = known.command
        if not isinstance(command, HandOver) or not self.table.places.has_room(known.client.classed):
            return False
        try:
            if not self.handovers.hand_over(
                sock.fileno(), encode_handover_header(self.rules.key, command.header, self.clock())
            ):
                return False
        except OSError:
            return False
        self.counters.add("hedgerow_proxy_connections_total", command.lane, command.verdict.value)
        sock.close()
        return True
