"""Discovery of designated resolvers: the answer to `_dns.resolver.arpa` names our own encrypted transports (RFC 9462, RFC 9461). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from struct import pack
from typing import Final

from hedgerow.dns import answers, wire
from hedgerow.dns.answers import Draft
from hedgerow.dns.wire import Query
from hedgerow.policies.transports import ENCRYPTED_TRANSPORTS

DDR_NAME: Final = "_dns.resolver.arpa"
_TTL: Final = 60  # seconds; short, since the next start may serve other transports
_ALPN, _PORT, _DOHPATH = 1, 3, 7


@dataclass(frozen=True, slots=True)
class DesignatedResolver:
    """Our server name, and the ports by the names of the encrypted transports that are served."""

    server_name: str
    ports: Mapping[str, int]

    def answer(self, query: Query) -> Draft:
        """Return one SVCB record per transport, or no records for other query types."""
        if query.qtype != wire.SVCB:
            return answers.negative()
        target = wire.name_of(self.server_name)
        body, ttls = b"", []
        transports = sorted((ENCRYPTED_TRANSPORTS[name] for name in self.ports), key=lambda transport: transport.ddr_rank)
        for priority, transport in enumerate(transports, 1):
            alpn = b"".join(bytes((len(protocol),)) + protocol.encode() for protocol in transport.alpn)
            keys = wire.option_bytes(_ALPN, alpn) + wire.option_bytes(_PORT, pack("!H", self.ports[transport.name]))
            if transport.doh_path:
                keys += wire.option_bytes(_DOHPATH, transport.doh_path.encode())
            ttls.append((len(body) + 6, _TTL))
            body += wire.record_bytes(wire.QUESTION_POINTER, wire.SVCB, _TTL, pack("!H", priority) + target + keys)
        return Draft(wire.NOERROR, len(ttls), 0, body, tuple(ttls), float(_TTL))
