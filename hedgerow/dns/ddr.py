"""Which encrypted resolver we designate to who asks `_dns.resolver.arpa` (RFC 9462, with the keys of RFC 9461): our own. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from struct import pack
from typing import Final

from hedgerow.dns import answers, wire
from hedgerow.dns.answers import Draft
from hedgerow.dns.wire import Query

DDR_NAME: Final = "_dns.resolver.arpa"
_TTL: Final = 60  # short: at the next start there may be none
_ALPN, _PORT, _DOHPATH = 1, 3, 7


@dataclass(frozen=True, slots=True)
class DesignatedResolver:
    """Our server name, and the ports of DoT, DoH and DoQ where they are served."""

    server_name: str
    dot: int | None = None
    doh: int | None = None
    doq: int | None = None

    def answer(self, query: Query) -> Draft:
        """One SVCB record for each; nothing for other types."""
        if query.qtype != wire.SVCB:
            return answers.negative()
        ways = []
        if self.doh is not None:
            ways.append((b"\x02h2\x08http/1.1", self.doh, wire.option_bytes(_DOHPATH, b"/dns-query{?dns}")))
        if self.dot is not None:
            ways.append((b"\x03dot", self.dot, b""))
        if self.doq is not None:
            ways.append((b"\x03doq", self.doq, b""))
        target = wire.name_of(self.server_name)
        body, ttls = b"", []
        for priority, (alpn, port, path) in enumerate(ways, 1):
            keys = wire.option_bytes(_ALPN, alpn) + wire.option_bytes(_PORT, pack("!H", port)) + path
            ttls.append((len(body) + 6, _TTL))
            body += wire.record_bytes(wire.QUESTION_POINTER, wire.SVCB, _TTL, pack("!H", priority) + target + keys)
        return Draft(wire.NOERROR, len(ways), 0, body, tuple(ttls), float(_TTL))
