"""Signatures of tunnels, QUIC, web proxies and SSH: the first bytes of a connection, by which the gateway knows them at any port."""

from __future__ import annotations

from dataclasses import dataclass

from hedgerow.network.nft_expressions import NftExpression, match, payload, protocol

TCP, UDP = 6, 17
UDP_HEADER_BYTES = 8


@dataclass(frozen=True, slots=True)
class ProtocolSignature:
    """The beginning of a protocol's first message.

    `fields` are (offset, bytes, value or its range), counted from the end of the header of UDP or TCP (`over`). `length` and `at_least`
    limit the message's bytes where it is a datagram.
    """

    what: str
    fields: tuple[tuple[int, int, int | tuple[int, int]], ...]
    length: int | None = None
    at_least: int = 0
    over: int = UDP

    def expressions(self) -> list[NftExpression]:
        """Return the conditions that a packet with this signature meets."""
        udp_length = payload("udp", "length")
        lengths = [match(udp_length, UDP_HEADER_BYTES + self.length)] if self.length is not None else []
        lengths += [match(udp_length, UDP_HEADER_BYTES + self.at_least, ">=")] if self.at_least else []
        values = [
            match(
                {"payload": {"base": "ih", "offset": 8 * offset, "len": 8 * size}},
                value if isinstance(value, int) else {"range": list(value)},
            )
            for offset, size, value in self.fields
        ]
        return [protocol(self.over), *lengths, *values]


def _openvpn(operation: int, offset: int, length: int | None = None, at_least: int = 0) -> ProtocolSignature:
    """A reset with replay protection: at `offset` a packet counter below 256, then a time between 2021 and 2038."""
    return ProtocolSignature("tunnel", ((0, 1, operation), (offset, 3, 0), (offset + 4, 1, (0x60, 0x7F))), length, at_least)


def _text(what: str, start: str) -> ProtocolSignature:
    """Text that the client sends first over TCP."""
    return ProtocolSignature(what, ((0, len(start), int.from_bytes(start.encode("ascii"))),), over=TCP)


_RESET_V2, _RESET_V3 = 0x38, 0x50  # P_CONTROL_HARD_RESET_CLIENT_V2 and _V3, with key id 0
PROTOCOL_SIGNATURES = (
    # The WireGuard paper, section 5.4.2: 148 bytes that begin with 1, 0, 0, 0.
    ProtocolSignature("tunnel", ((0, 4, 0x01000000),), length=148),
    # OpenVPN's "Network protocol": operation, session (8 bytes), no acknowledgements (1), packet 0 (4).
    ProtocolSignature("tunnel", ((0, 1, _RESET_V2), (9, 4, 0)), length=14),
    # The same with tls-crypt, and with tls-auth by SHA-1, SHA-256 and SHA-512, whose digests come before the counter.
    *(_openvpn(_RESET_V2, offset, length) for offset, length in ((9, 54), (29, 42), (41, 54), (73, 86))),
    _openvpn(_RESET_V3, 9, at_least=54),
    # The same over TCP, where each packet follows its length.
    *(ProtocolSignature("tunnel", ((0, 2, (14, 255)), (2, 1, operation)), over=TCP) for operation in (_RESET_V2, _RESET_V3)),
    # QUIC's Initial packet of versions 1 and 2 and of drafts (RFC 9000 §17.2.2, RFC 9369), which is padded to at least 1,200 bytes.
    *(ProtocolSignature("quic", ((1, 4, version),), at_least=1200) for version in (0x00000001, 0x6B3343CF, (0xFF000001, 0xFF0000FF))),
    # Requests that only a proxy gets: CONNECT, or a whole URL in place of a path (RFC 9110 §9.3.6, RFC 9112 §3.2.2).
    # Servers ignore an empty line before a request (RFC 9112 §2.2).
    *(_text("web proxy", start) for start in ("CONNECT ", "\r\nCONNEC", "\nCONNECT", "GET http", "HEAD htt", "POST htt")),
)
SSH_SIGNATURE = _text("ssh", "SSH-")  # RFC 4253 §4.2 and 5.1: SSH-2.0- or SSH-1.99-
