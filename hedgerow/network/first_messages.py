"""The first messages of tunnels, QUIC, web proxies and SSH at any port, as nftables' JSON. Pure.

Over UDP each message is compared with them. Over TCP only the first one of a connection is, as what follows may be any
text or data, apart from the usual requests to web proxies: a proxy takes several of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hedgerow.network.nft_expressions import NftCommand, NftExpression, add_rule, jump, match, payload, protocol
from hedgerow.network.packet_rules import TCP, UDP, UDP_HEADER_BYTES

CHAIN = "first_message"


@dataclass(frozen=True, slots=True)
class ProtocolSignature:
    """The beginning of a protocol's first message.

    `fields` are (offset, bytes, value or its range), counted from the end of the header of UDP or TCP (`over`). A value
    that is text is letters in either case. `length` and `at_least` limit the message's bytes where it is a datagram.
    `at_any_time`: later messages of a connection over TCP are compared with it too.
    """

    what: str
    fields: tuple[tuple[int, int, int | tuple[int, int] | str], ...]
    length: int | None = None
    at_least: int = 0
    over: int = UDP
    at_any_time: bool = False

    def expressions(self) -> list[NftExpression]:
        """Return the conditions that a packet with this signature meets."""
        bounds = (("==", self.length), (">=", self.at_least))
        lengths = [match(payload("udp", "length"), UDP_HEADER_BYTES + size, sign) for sign, size in bounds if size]
        return [protocol(self.over), *lengths, *(_bytes_are(*field) for field in self.fields)]


def _bytes_are(offset: int, size: int, value: int | tuple[int, int] | str) -> NftExpression:
    found: NftExpression = {"payload": {"base": "ih", "offset": 8 * offset, "len": 8 * size}}
    if isinstance(value, str):  # the bit between a letter and its capital is masked
        return match({"&": [found, int.from_bytes(b"\xdf" * size)]}, int.from_bytes(value.upper().encode("ascii")))
    return match(found, value if isinstance(value, int) else {"range": list(value)})


def _openvpn(operation: int, offset: int, length: int | None = None, at_least: int = 0) -> ProtocolSignature:
    """A reset with replay protection: at `offset` a packet counter below 256, whose first byte may say that the client
    negotiates early (15), then a time between 2021 and 2038.
    """
    return ProtocolSignature(
        "tunnel",
        ((0, 1, operation), (offset, 1, (0, 15)), (offset + 1, 2, 0), (offset + 4, 1, (0x60, 0x7F))),
        length,
        at_least,
    )


def _request(start: str) -> ProtocolSignature:
    fields = ((0, 8, int.from_bytes(start.encode("ascii"))),)
    return ProtocolSignature("web proxy", fields, over=TCP, at_any_time=True)


PROTOCOL_SIGNATURES = (
    # The WireGuard paper, section 5.4.2: 148 bytes that begin with 1, 0, 0, 0.
    ProtocolSignature("tunnel", ((0, 4, 0x01000000),), length=148),
    # OpenVPN's "Network protocol": operation (a reset of version 2, 0x38, or 3, 0x50, with key 0), session (8 bytes),
    # no acknowledgements (1), packet 0 (4).
    ProtocolSignature("tunnel", ((0, 1, 0x38), (9, 4, 0)), length=14),
    # The same with tls-crypt, and with tls-auth, whose digest comes before the counter.
    _openvpn(0x38, 9, 54),
    *(_openvpn(0x38, 9 + digest, 22 + digest) for digest in (16, 20, 28, 32, 36, 48, 64)),
    _openvpn(0x50, 9, at_least=54),
    # The same over TCP, where each packet follows its length. That of version 3 has the client's key (tls-crypt-v2).
    ProtocolSignature("tunnel", ((0, 2, (14, 255)), (2, 1, 0x38)), over=TCP),
    ProtocolSignature("tunnel", ((0, 2, (54, 2047)), (2, 1, 0x50), (12, 2, 0), (15, 1, (0x60, 0x7F))), over=TCP),
    # QUIC's Initial packet of versions 1 and 2 and of drafts (RFC 9000 §17.2.2, RFC 9369), which is padded to at least
    # 1,200 bytes.
    *(
        ProtocolSignature("quic", ((1, 4, version),), at_least=1200)
        for version in (0x00000001, 0x6B3343CF, (0xFF000001, 0xFF0000FF))
    ),
    # The usual requests that only a proxy gets, in capitals.
    *map(_request, ("CONNECT ", "\r\nCONNEC", "\nCONNECT", "GET http", "HEAD htt", "POST htt")),
    # Requests that only a proxy gets: CONNECT, or a whole URL in place of a path (RFC 9110 §9.3.6, RFC 9112 §3.2.2), in
    # capitals or not, behind any method and white space. Servers ignore empty lines before a request (RFC 9112 §2.2),
    # and some white space: up to eight bytes of them. The first byte is such a one or a letter, and `http:` or `https:`
    # follows.
    ProtocolSignature("web proxy", ((0, 7, "connect"), (7, 1, (0x09, 0x20))), over=TCP),
    *(
        ProtocolSignature(
            "web proxy", ((0, 1, (0x09, 0x20)), (blanks, 7, "connect"), (blanks + 7, 1, (0x09, 0x20))), over=TCP
        )
        for blanks in range(1, 9)
    ),
    *(
        ProtocolSignature(
            "web proxy",
            ((0, 1, (0x09, 0x7A)), (at - 1, 1, (0x09, 0x20)), (at, 4, "http"), *colon),
            over=TCP,
        )
        for at in range(4, 20)
        for colon in (((at + 4, 1, 0x3A),), ((at + 4, 1, "s"), (at + 5, 1, 0x3A)))
    ),
)
# RFC 4253 §4.2 and 5.1: SSH-2.0- or SSH-1.99-
SSH_SIGNATURE = ProtocolSignature("ssh", ((0, 4, int.from_bytes(b"SSH-")),), over=TCP)


_PIECES = tuple(
    # Clients send a request at once: one that begins with less than 16 bytes hides from the signatures above.
    ProtocolSignature("web proxy", ((0, len(word), word),), over=TCP)
    for word in ("conn", "get", "head", "opti", "post", "put")
)
_FIRST_LETTERS = tuple(ProtocolSignature("web proxy", ((0, 1, letter),), over=TCP) for letter in "cghops")
"""The first one to three letters of those words and of `SSH-`."""

_CT_MARK: NftExpression = {"ct": {"key": "mark"}}
SPOKEN_MARK = 0x04000000
"""The bit of a connection's mark that says that the device's first message has passed."""

_LINE_ENDS = (0x0A, 0x0D)
"""Range of the first byte of a packet that is not a message yet: servers ignore empty lines before one."""


def first_messages(guarded: str, refuse: Callable[..., NftCommand], *, allow_ssh: bool) -> list[NftCommand]:
    """Return the rules that refuse messages over TCP, in the chain of guarded devices and in `CHAIN`.

    `refuse` is called with a chain, what is refused, and conditions, and returns the rule.
    """
    over_tcp = [each for each in PROTOCOL_SIGNATURES if each.over == TCP]
    over_tcp += [] if allow_ssh else [SSH_SIGNATURE]
    # without a payload there is no first byte, and nothing matches
    has_message = match({"payload": {"base": "ih", "offset": 0, "len": 8}}, {"range": [*_LINE_ENDS]}, "!=")
    has_said_nothing = match({"&": [_CT_MARK, SPOKEN_MARK]}, 0)
    note: NftExpression = {"mangle": {"key": _CT_MARK, "value": {"|": [_CT_MARK, SPOKEN_MARK]}}}
    passes: list[NftExpression] = [note, {"return": None}]
    return [
        *(refuse(guarded, each.what, *each.expressions()) for each in over_tcp if each.at_any_time),
        add_rule(guarded, protocol("tcp"), has_said_nothing, jump(CHAIN)),
        *(refuse(CHAIN, each.what, *each.expressions()) for each in over_tcp if not each.at_any_time),
        add_rule(CHAIN, protocol(TCP), _has_bytes(16), has_message, *passes),
        *(refuse(CHAIN, each.what, *each.expressions()) for each in _PIECES),
        add_rule(CHAIN, protocol(TCP), _has_bytes(4), has_message, *passes),
        *(refuse(CHAIN, each.what, *each.expressions()) for each in _FIRST_LETTERS),
        add_rule(CHAIN, protocol(TCP), has_message, note),
    ]


def _has_bytes(count: int) -> NftExpression:
    """Return the condition that a message has so many bytes: what reads a byte that is not there matches nothing."""
    return match({"payload": {"base": "ih", "offset": 8 * (count - 1), "len": 8}}, 0, ">=")
