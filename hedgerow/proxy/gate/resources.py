"""The parts of a gate that its connections share."""

from __future__ import annotations

import socket
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from hedgerow.proxy.certificate_examiner import CertificateExaminer
from hedgerow.proxy.gate.commands import GateClient
from hedgerow.proxy.gate.poller import Poller
from hedgerow.proxy.gate.rules import GateRules
from hedgerow.proxy.gate.table import GateTable
from hedgerow.proxy.gate.tunnel import PipePool
from hedgerow.proxy.handover import HandoverSender, encode_handover_header
from hedgerow.proxy.policy import Counters


@dataclass(frozen=True, slots=True)
class GateResources[C: Hashable]:
    """Parts of a gate that its connections, of the class `C`, share."""

    rules: GateRules
    table: GateTable[C]
    sender: HandoverSender
    examiner: CertificateExaminer | None
    counters: Counters
    clock: Callable[[], float]
    poller: Poller
    pipes: PipePool

    def drop(self, cause: str) -> None:
        """Count a connection that was dropped or refused."""
        self.counters.add("hedgerow_proxy_dropped_total", cause)

    def admit(self, connection: C, address: str) -> str:
        """Count a connection as that of the device at `address`. Returns the cause if it is turned away."""
        if self.table.is_full:
            return "full"
        client = self.rules.find_client(address)
        if client is None:
            return "outsider"
        return "" if self.table.add(connection, client.device.id) else "device"

    def hand_over_again(self, sock: socket.socket, address: str, first: bytes) -> GateClient | None:
        """Hand a connection over if it begins with a CONNECT that led to an inspector before, and close our end of it.

        Returns the client, or None if the connection must be read.
        """
        known = self.rules.repeated_handover(address, first)
        if known is None or not self.table.has_room(known.client.device.id):
            return None
        try:
            if not self.sender.hand_over(sock.fileno(), encode_handover_header(self.rules.key, known.command.header, self.clock())):
                return None
        except OSError:
            return None
        self.counters.add("hedgerow_proxy_connections_total", known.command.lane, known.command.verdict.value)
        sock.close()
        return known.client
