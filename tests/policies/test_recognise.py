"""Who is asking: what proves more decides, and a name that anybody can take decides last."""

from __future__ import annotations

import pytest

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.policies.reading.load import parse_policy
from hedgerow.policies.ruleset import Rulesets

POLICY = b"""
network: {unknown_devices: child-8-12, lan: [192.168.1.0/24]}
people:
  mia: {age: 9, devices: [tablet, by-mac, by-address, room]}
  ana: {profile: adult, devices: [laptop]}
devices:
  tablet: {hostname: [Mias-Tablet, mias-old-tablet]}
  laptop: {hostname: anas-laptop, proxy_user: [Ana, ana.work], proxy_password: "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$AAAA"}
  by-mac: {mac: "02:00:00:00:00:01"}
  by-address: {ip: 192.168.1.9}
  room: {cidr: 192.168.1.64/28}
"""
NAMES = {
    "02:00:00:00:00:01": "anas-laptop",
    "02:00:00:00:00:09": "anas-laptop",
    "02:00:00:00:00:0a": "mias-old-tablet",
    "02:00:00:00:00:0b": "somebody-elses",
    "192.168.1.30": "mias-tablet",
}


@pytest.fixture(scope="module")
def rulesets(catalogue: Catalogue) -> Rulesets:
    return Rulesets(parse_policy(POLICY, None), (), (), catalogue, names=NAMES)


@pytest.mark.parametrize(
    ("address", "mac", "expected"),
    [
        ("192.168.1.20", "02:00:00:00:00:0a", "tablet"),
        ("192.168.1.30", None, "tablet"),
        ("192.168.1.31", "02:00:00:00:00:09", "laptop"),
        ("192.168.1.20", "02:00:00:00:00:01", "by-mac"),  # it calls itself as Ana's laptop does
        ("192.168.1.9", "02:00:00:00:00:09", "by-address"),
        ("192.168.1.70", "02:00:00:00:00:09", "room"),
        ("192.168.1.20", "02:00:00:00:00:0b", "02:00:00:00:00:0b"),  # a name that the policy does not know
    ],
)
def test_a_name_counts_only_where_nothing_better_is_known(rulesets: Rulesets, address: str, mac: str | None, expected: str) -> None:
    found = rulesets.device_at(address, mac)
    assert found is not None
    assert found.id == expected


def test_a_phone_that_made_up_a_new_address_is_a_new_device(rulesets: Rulesets) -> None:
    """Phones make up MAC addresses; one that the policy does not know is nobody's, whatever the phone was before."""
    for mac in ("02:00:00:00:00:55", "da:a1:19:00:00:01"):
        found = rulesets.device_at("192.168.1.50", mac)
        assert found is not None
        assert (found.id, found.profile, found.person, found.known) == (mac, "child-8-12", None, False)


def test_who_signs_in_to_the_proxy(rulesets: Rulesets) -> None:
    assert {(found := rulesets.device_of_user(user)) and found.id for user in ("ana", "ANA", "ana.work")} == {"laptop"}
    assert rulesets.device_of_user("mia") is None
