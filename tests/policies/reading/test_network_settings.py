"""Settings of the resolver in the network section."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from hedgerow.codec import decode, encode
from hedgerow.policies.model import Policy
from hedgerow.policies.network import (
    BlockedAnswer,
    DnssecMode,
    ForwardZone,
    LocalRecord,
    QueryLimit,
    ResolverSettings,
    UpstreamStrategy,
)
from hedgerow.policies.reading.load import parse_policy
from hedgerow.policies.reading.network_settings import reverse_zones

FULL = b"""network:
  upstream: [tls://dns.quad9.net]
  upstream_strategy: fastest
  forward: {lan: 192.168.1.1, 192.168.1.0/24: [192.168.1.1, "tcp://192.168.1.2"]}
  records: {NAS.lan: [192.168.1.5, "FD00::5"]}
  blocked_answer: page
  block_page: 192.168.1.2
  dnssec: validate
  query_limit: {per_client: 50, total: 0, exempt: [192.168.1.9]}
  forwarders: [192.168.1.3, "FD00::3"]
  proxy_protocol_from: [192.168.1.4, 10.9.0.0/24]
  client_subnet: 203.0.113.0/24
  store: "postgresql://hedgerow@db.example/hedgerow"
  site: cafe-3
"""


def test_all_settings_are_read_and_survive_the_codec() -> None:
    policy = parse_policy(FULL, None)
    assert policy.network.resolver == ResolverSettings(
        BlockedAnswer.PAGE,
        ("192.168.1.2",),
        UpstreamStrategy.FASTEST,
        (
            ForwardZone("lan", ("192.168.1.1",)),
            ForwardZone("1.168.192.in-addr.arpa", ("192.168.1.1", "tcp://192.168.1.2")),
        ),
        (LocalRecord("nas.lan", ("192.168.1.5", "fd00::5")),),
        DnssecMode.VALIDATE,
        QueryLimit(50, 0, (ip_network("192.168.1.9"),)),
        ("192.168.1.3", "fd00::3"),
        (ip_network("192.168.1.4"), ip_network("10.9.0.0/24")),
        ip_network("203.0.113.0/24"),
    )
    assert decode(Policy, encode(policy)) == policy


def test_defaults_are_safe() -> None:
    settings = parse_policy(b"", None).network.resolver
    assert settings == ResolverSettings()
    assert settings.limit.exempts("127.0.0.1")
    assert not settings.limit.exempts("192.168.1.7")
    assert not settings.limit.exempts("nobody")


@pytest.mark.parametrize(
    ("network", "zones"),
    [
        ("10.0.0.0/8", ["10.in-addr.arpa"]),
        ("172.16.0.0/12", [f"{number}.172.in-addr.arpa" for number in range(16, 32)]),
        ("fd00::/8", ["d.f.ip6.arpa"]),
        ("fc00::/7", ["c.f.ip6.arpa", "d.f.ip6.arpa"]),
        ("192.0.2.1/32", ["1.2.0.192.in-addr.arpa"]),
        ("192.0.2.128/25", [f"{number}.2.0.192.in-addr.arpa" for number in range(128, 256)]),
        ("0.0.0.0/0", ["in-addr.arpa"]),
    ],
)
def test_reverse_zones(network: str, zones: list[str]) -> None:
    assert list(reverse_zones(ip_network(network))) == zones


def test_reverse_zones_cover_a_network_exactly() -> None:
    forward = parse_policy(b"network: {forward: {192.168.1.0/25: 192.168.1.1}}", None).network.resolver.forward
    assert len(forward) == 128
    assert (forward[0].zone, forward[-1].zone) == ("0.1.168.192.in-addr.arpa", "127.1.168.192.in-addr.arpa")
