"""Hosts whose server is examined, and those that need somebody's consent before they pass unread."""

from __future__ import annotations

import pytest

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.policies.content import TUNNEL_TRAFFIC
from hedgerow.policies.reading.load import parse_policy
from hedgerow.policies.ruleset import Ruleset, Rulesets
from hedgerow.policies.unlisted import UNTRUSTED_CERTIFICATE, CertificateFlaw, is_examined, needs_consent, suspicion_of

POLICY = b"""people:
  leo: {age: 13, devices: [192.168.1.9]}
  mia: {age: 9, devices: [192.168.1.8]}
  ana: {profile: adult, devices: [192.168.1.7]}
"""
RENTED = [
    "kid.workers.dev",
    "kid.fly.dev",
    "kid.onrender.com",
    "kid.up.railway.app",
    "8080-kid.gitpod.io",
    "20-21-55-45.sslip.io",
    "kid.cloudfront.net",
    "kid.execute-api.us-east-1.amazonaws.com",
    "1-2-3-4.kid.plex.direct",
]


def ruleset(catalogue: Catalogue, address: str) -> Ruleset:
    rulesets = Rulesets(parse_policy(POLICY, None), (), (), catalogue)
    device = rulesets.devices.find(address)
    assert device is not None
    return rulesets.ruleset(device, 1_795_521_600.0)


@pytest.mark.parametrize("host", RENTED)
def test_a_server_that_anybody_can_have_is_examined_and_needs_consent(catalogue: Catalogue, host: str) -> None:
    child = ruleset(catalogue, "192.168.1.9")
    assert (is_examined(child, catalogue, host), needs_consent(child, catalogue, host)) == (True, True)
    assert not needs_consent(ruleset(catalogue, "192.168.1.7"), catalogue, host)


@pytest.mark.parametrize("host", ["workers.dev", "www.roblox.com", "www.wikipedia.org", "app.plex.tv"])
def test_a_known_host_needs_neither(catalogue: Catalogue, host: str) -> None:
    child = ruleset(catalogue, "192.168.1.9")
    assert (is_examined(child, catalogue, host), needs_consent(child, catalogue, host)) == (False, False)


@pytest.mark.parametrize(
    ("host", "flaw", "at_nine", "at_thirteen"),
    [
        ("node-7.fast-net.example", CertificateFlaw.TUNNEL, TUNNEL_TRAFFIC, TUNNEL_TRAFFIC),
        ("cloud.school.edu.au", CertificateFlaw.TUNNEL, "", ""),
        ("node-7.fast-net.example", CertificateFlaw.SILENT, UNTRUSTED_CERTIFICATE, ""),
        ("node-7.fast-net.example", CertificateFlaw.UNSEEN, "", ""),
    ],
)
def test_what_follows_from_a_finding_by_age(
    catalogue: Catalogue, host: str, flaw: CertificateFlaw, at_nine: str, at_thirteen: str
) -> None:
    found = [
        suspicion_of(ruleset(catalogue, address), catalogue, host, flaw, catalogue.host_mask(host))
        for address in ("192.168.1.8", "192.168.1.9")
    ]
    assert found == [at_nine, at_thirteen]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("20.30.40.50.bc.googleusercontent.com", TUNNEL_TRAFFIC),
        ("lh3.googleusercontent.com", ""),
        ("node-7.fast-net.example", TUNNEL_TRAFFIC),
        ("www.fast-net.example", TUNNEL_TRAFFIC),
    ],
)
def test_a_tunnel_closes_no_known_host_of_its_domain(catalogue: Catalogue, host: str, expected: str) -> None:
    """A provider's domain is the same for its customers' machines and for its own hosts, such as those of pictures."""
    child, mask = ruleset(catalogue, "192.168.1.8"), catalogue.host_mask(host)
    assert suspicion_of(child, catalogue, host, CertificateFlaw.TUNNEL, mask) == expected
