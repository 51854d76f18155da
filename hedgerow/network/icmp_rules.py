"""Rules on ICMP for devices that are not open, as nftables' JSON. Pure.

Pings and error messages may say anything behind their headers, so they are small and few in both directions, and nothing else passes. An
error message belongs to a connection by the packet that it quotes, which a device writes itself: that it is `related` proves nothing.
"""

from __future__ import annotations

from hedgerow.network.nft_expressions import (
    ACCEPT,
    COUNTER,
    DROP,
    NftCommand,
    NftExpression,
    add_rule,
    add_source_to_set,
    connection_state,
    limit,
    match,
    meta,
    payload,
    protocol,
)

ICMP, ICMP6 = 1, 58
IP_VERSIONS = ((4, "ip"), (6, "ip6"))
WATCH_TIMEOUT_S = 60
MAX_PING_BYTES = 128  # the whole packet; people and games send 60 to 104
PING_RATE, PING_BURST = 20, 60  # packets per second for the whole network
ERROR_RATE, ERROR_BURST = 10, 20
MAX_ERROR_BYTES = 1280  # of the whole packet (RFC 4443, section 2.4)
DISCOVERY_TYPES = (133, 137)  # neighbour discovery, from router solicitation to redirect
_ECHOES = ((ICMP, "icmp"), (ICMP6, "icmpv6"))


def watch_source(chain: str, *condition: NftExpression) -> list[NftCommand]:
    """Return the rules that limit what comes back to the senders of these packets (`incoming_limits`)."""
    return [
        add_rule(chain, meta("nfproto", [f"ipv{version}"]), *condition, add_source_to_set(f"watched_v{version}", ip, WATCH_TIMEOUT_S))
        for version, ip in IP_VERSIONS
    ]


def incoming_limits(chain: str) -> list[NftCommand]:
    """Return the rules on what comes in for watched devices."""
    rules = []
    for (number, _), (version, ip) in zip(_ECHOES, IP_VERSIONS, strict=True):
        is_watched = [protocol(number), match(payload(ip, "daddr"), f"@watched_v{version}")]
        if number == ICMP6:
            is_watched.append(match(payload("icmpv6", "type"), {"range": list(DISCOVERY_TYPES)}, "!="))
        rules += [
            add_rule(chain, *is_watched, connection_state("related"), *_few_errors(), ACCEPT),
            add_rule(chain, *is_watched, connection_state("related", "!="), _at_most(MAX_PING_BYTES), limit(PING_RATE, PING_BURST), ACCEPT),
            add_rule(chain, *is_watched, COUNTER, DROP, comment="tunnel"),
        ]
    return rules


def error_rules(chain: str) -> list[NftCommand]:
    """Return the rules on error messages of a device about allowed connections."""
    is_error = (protocol(ICMP, ICMP6), connection_state("related"))
    return [
        *watch_source(chain, *is_error),
        add_rule(chain, *is_error, *_few_errors(), ACCEPT),
        add_rule(chain, *is_error, COUNTER, DROP, comment="tunnel"),
    ]


def is_long_ping() -> list[NftExpression]:
    """Return the conditions of a message that is longer than any ping, and no error."""
    return [protocol(ICMP, ICMP6), match({"meta": {"key": "length"}}, MAX_PING_BYTES, ">"), connection_state("related", "!=")]


def ping_limits(chain: str) -> list[NftCommand]:
    """Return the rules that limit the pings of a device."""
    rules = []
    for (number, icmp), (version, ip) in zip(_ECHOES, IP_VERSIONS, strict=True):
        is_request = [protocol(number), match(payload(icmp, "type"), "echo-request")]
        rules.append(add_rule(chain, *is_request, add_source_to_set(f"watched_v{version}", ip, WATCH_TIMEOUT_S)))
        rules.append(add_rule(chain, *is_request, limit(PING_RATE, PING_BURST, exceeded=True), COUNTER, DROP, comment="tunnel"))
    return rules


def other_messages() -> list[list[NftExpression]]:
    """Return the conditions of all messages but pings."""
    return [[protocol(number), match(payload(icmp, "type"), "echo-request", "!=")] for number, icmp in _ECHOES]


def _at_most(octets: int) -> NftExpression:
    return match({"meta": {"key": "length"}}, octets, "<=")


def _few_errors() -> list[NftExpression]:
    return [_at_most(MAX_ERROR_BYTES), limit(ERROR_RATE, ERROR_BURST)]
