"""Upstreams: how they are written, the questions they are asked, and the interface of a channel to one.

An upstream is written as `9.9.9.9`, `9.9.9.9:5353`, `udp://[2620:fe::fe]:53`, `tcp://…`, `tls://dns.example`,
`quic://dns.example` or `https://dns.example/dns-query`.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from struct import pack
from typing import Final, NamedTuple, Protocol
from urllib.parse import urlsplit

from hedgerow.dns import wire
from hedgerow.dns.wire import Query
from hedgerow.policies.text.addresses import parse_ip
from hedgerow.policies.transports import UPSTREAM_TRANSPORTS

_CLIENT_SUBNET: Final = 8  # the EDNS option
_PADDING_BLOCK: Final = 128
_BOGUS: Final = frozenset((1, 2, *range(5, 13)))  # extended errors of failed DNSSEC validation (RFC 8914)
# the bit that switches the case of a letter
_CASE_BITS: Final = bytes(0x20 if 0x61 <= octet <= 0x7A else 0 for octet in range(256))


class UpstreamError(Exception):
    """An upstream did not answer, or not with DNS: its fault or the network's, never the client's.

    `ede` is the code of the extended error that the upstream gave, or None. `rcode` is what clients are told: SERVFAIL,
    or NOTIMP if the upstream does not implement what they ask. Its refusals stay with us, since they would look like
    ours.
    """

    def __init__(self, text: str, ede: int | None = None, rcode: int = wire.SERVFAIL) -> None:
        super().__init__(text)
        self.ede, self.rcode = ede, rcode

    @property
    def is_bogus(self) -> bool:
        """True if the upstream failed to validate the answer by DNSSEC."""
        return self.ede in _BOGUS


@dataclass(frozen=True, slots=True)
class UpstreamSpec:
    """The place of an upstream. `host` is an address, or a name for encrypted ones. `path` is for https."""

    scheme: str
    host: str
    port: int
    path: str = ""

    @property
    def is_address(self) -> bool:
        return parse_ip(self.host) is not None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"


class UpstreamQuestion(NamedTuple):
    """A question to an upstream: `question` is the name in lower case, type and class in wire form.

    `options` are EDNS options, unless it is asked `without_edns`.
    """

    question: bytes
    dnssec: bool = False
    checking_disabled: bool = False
    options: bytes = b""
    without_edns: bool = False

    @classmethod
    def of(cls, query: Query) -> UpstreamQuestion:
        """Return the question for a client's query."""
        dnssec = query.edns is not None and query.edns.dnssec
        return cls(query.name + query.suffix[:4], dnssec, bool(query.data[3] & 0x10))

    @property
    def body(self) -> bytes:
        """The message after the id: RD, AD, question, OPT with our datagram size.

        It reveals nothing about the client: no cookies, and no client subnet but the policy's.
        """
        return self.body_with(self.question)

    def body_with(self, question: bytes) -> bytes:
        """Return the body with the question in another spelling."""
        flags, opt = _QUERY_PARTS[self.dnssec, self.checking_disabled]
        if self.without_edns:
            return flags[:-2] + b"\0\0" + question
        return flags + question + (wire.opt_bytes(0, self.dnssec, self.options) if self.options else opt)

    @property
    def padded_body(self) -> bytes:
        """The body for an encrypted channel, padded so that its length says little (RFC 7830; RFC 8467,
        section 4.1).
        """
        flags, _ = _QUERY_PARTS[self.dnssec, self.checking_disabled]
        size = 2 + len(flags) + len(self.question) + len(wire.opt_bytes(0, self.dnssec, self.options)) + 4
        padding = wire.option_bytes(wire.PADDING, bytes(-size % _PADDING_BLOCK))
        return flags + self.question + wire.opt_bytes(0, self.dnssec, self.options + padding)

    def in_random_case(self, random: Callable[[int], bytes] = os.urandom) -> bytes:
        """Return the question with each letter in random case ("0x20"), which an attacker who cannot see it
        must guess.
        """
        question = self.question
        size = len(question)
        mask = int.from_bytes(question[:-4].translate(_CASE_BITS)) & int.from_bytes(random(size - 4))
        return (int.from_bytes(question) ^ mask << 32).to_bytes(size)


_QUERY_PARTS: Final = {
    (dnssec, disabled): (pack("!HHHHH", 0x0120 | (0x10 if disabled else 0), 1, 0, 0, 1), wire.opt_bytes(0, dnssec))
    for dnssec in (False, True)
    for disabled in (False, True)
}


def client_subnet(network: IPv4Network | IPv6Network) -> bytes:
    """Return the EDNS option that tells a nameserver where its answer is used (RFC 7871, section 6).

    >>> client_subnet(IPv4Network("192.0.2.0/24")).hex()
    '0008000700011800c00002'
    """
    octets = (network.prefixlen + 7) // 8
    family = 1 if network.version == 4 else 2
    return wire.option_bytes(
        _CLIENT_SUBNET, pack("!HBB", family, network.prefixlen, 0) + network.network_address.packed[:octets]
    )


type Resolve = Callable[[str], Awaitable[tuple[str, ...]]]
type MessageCallback = Callable[[bytes | Exception], None]
"""Called once, after `send` has returned, with a message that answers the question or an exception."""


class Channel(Protocol):
    """A way to one upstream. `secure`: nobody on the way can change its answers.

    `accepts_late_answers`: an answer after the deadline still counts. A connection is given up instead, since it may be
    dead.
    """

    name: str
    secure: bool
    accepts_late_answers: bool

    def send(self, ask: UpstreamQuestion, written: bytes, callback: MessageCallback) -> Callable[[], None]:
        """Ask. Returns a function that cancels the question, after which `callback` is not called. Raises OSError.

        `written` is the question in a random spelling. A channel on which nobody can forge answers may ignore it.
        """

    async def close(self) -> None: ...


def parse_upstream(text: str) -> UpstreamSpec:
    """Parse an upstream as a policy names it. Raises ValueError with a readable sentence.

    >>> str(parse_upstream("9.9.9.9")), str(parse_upstream("https://dns.example/dns-query"))
    ('udp://9.9.9.9:53', 'https://dns.example:443/dns-query')
    """
    text = text.strip()
    if "://" not in text:
        text = f"udp://[{text}]" if text.count(":") > 1 and not text.startswith("[") else f"udp://{text}"
    parts = urlsplit(text)
    if parts.scheme not in UPSTREAM_TRANSPORTS:
        raise ValueError(
            f"{text!r}: an upstream starts with one of {', '.join(f'{scheme}://' for scheme in UPSTREAM_TRANSPORTS)}"
        )
    if not parts.hostname:
        raise ValueError(f"{text!r}: no host")
    if not UPSTREAM_TRANSPORTS[parts.scheme].is_encrypted and parse_ip(parts.hostname) is None:
        raise ValueError(f"{text!r}: {parts.scheme} upstreams are given by address")
    try:
        port = parts.port or UPSTREAM_TRANSPORTS[parts.scheme].port
    except ValueError:
        raise ValueError(f"{text!r}: the port is a number from 1 to 65535") from None
    path = (parts.path or "/dns-query") if parts.scheme == "https" else ""
    return UpstreamSpec(parts.scheme, parts.hostname, port, path)


def system_upstreams(resolv_conf: str, own: Collection[tuple[str, int]] = ()) -> tuple[UpstreamSpec, ...]:
    """Return the name servers of a resolv.conf in its order, without ourselves (`own`: addresses and ports that we
    listen on).

    >>> [str(spec) for spec in system_upstreams("nameserver 127.0.0.1\\nnameserver 192.0.2.1", [("127.0.0.1", 53)])]
    ['udp://192.0.2.1:53']
    """
    specs: dict[UpstreamSpec, None] = {}
    for line in resolv_conf.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver" and parse_ip(words[1]):
            spec = UpstreamSpec("udp", words[1], 53)
            if not is_own(spec, own):
                specs[spec] = None
    return tuple(specs)


def is_own(spec: UpstreamSpec, own: Collection[tuple[str, int]]) -> bool:
    """Return whether an upstream is this server, as far as an address tells.

    `own` are the addresses and ports that we listen on.

    >>> (is_own(parse_upstream("127.0.0.1:5300"), [("0.0.0.0", 5300)]),
    ...  is_own(parse_upstream("127.0.0.1"), [("0.0.0.0", 5300)]))
    (True, False)
    """
    if not spec.is_address:
        return False
    address = ip_address(spec.host.partition("%")[0])
    for host, port in own:
        listening = ip_address(host.partition("%")[0])
        if port == spec.port and (
            address == listening or (listening.is_unspecified and (address.is_loopback or address.is_unspecified))
        ):
            return True
    return False
