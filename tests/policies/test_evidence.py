"""Grades of identity, and what a claimed host name cannot use up."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.blocklists.compiler import compile_generation
from hedgerow.blocklists.sources import starter_sources
from hedgerow.policies.activity import ActivityLog
from hedgerow.policies.identity import Grade, Use, grade_at, is_enough
from hedgerow.policies.model import Device, DeviceId, Request, RequestKind
from hedgerow.policies.network import TunnelPeer
from hedgerow.policies.reading.load import parse_policy
from hedgerow.policies.ruleset import Rulesets
from hedgerow.policies.time_model import ActiveMinute

MAC, NOON = "02:00:00:00:00:01", 1_800_014_400.0
TABLET = Device(DeviceId("tablet"), "child-8-12", macs=(MAC,))
STRANGER = Device(DeviceId(MAC), "child-8-12", known=False)
POLICY = b"""
network: {timezone: UTC, lan: [192.168.1.0/24]}
people: {mia: {age: 9, budget: 1h, devices: [console]}}
devices: {console: {hostname: mias-console}}
"""


@pytest.mark.parametrize(
    ("device", "mac", "grade"),
    [
        (TABLET, MAC, Grade.MAC_AND_ADDRESS),
        (TABLET, None, Grade.ADDRESS),
        (replace(TABLET, macs=()), MAC, Grade.ADDRESS),
        (STRANGER, MAC, Grade.MAC_AND_ADDRESS),
        (replace(STRANGER, claims=DeviceId("console")), MAC, Grade.HOST_NAME),
    ],
)
def test_grade_of_a_connection(device: Device, mac: str | None, grade: Grade) -> None:
    assert grade_at(device, mac) is grade


def test_an_address_inside_the_tunnel_is_as_good_as_a_mac() -> None:
    """Unless a MAC address is known for it, which nothing that comes through the tunnel has."""
    phone = replace(TABLET, macs=(), tunnel=TunnelPeer("key", (ip_network("10.87.214.2"),)))
    inside, outside = ip_address("10.87.214.2"), ip_address("192.168.1.9")
    assert grade_at(phone, None, inside) is Grade.MAC_AND_ADDRESS
    assert grade_at(phone, None, outside) is grade_at(phone, MAC, inside) is Grade.ADDRESS


def test_weak_evidence_gives_no_access() -> None:
    enough = {use: [grade for grade in Grade if is_enough(grade, use)] for use in Use}
    assert enough[Use.KEPT] == enough[Use.SIGN_IN] == [Grade.ADDRESS, Grade.MAC_AND_ADDRESS, Grade.PROXY_SIGN_IN]
    assert Grade.HOST_NAME not in enough[Use.BUDGET]


@pytest.mark.parametrize(("names", "counted"), [({MAC: "mias-console"}, {"device:*"}), ({}, {"device:*"})])
def test_a_claimed_host_name_uses_no_minutes_of_its_owner(
    tmp_path: Path, names: dict[str, str], counted: set[str]
) -> None:
    compile_generation(starter_sources(), tmp_path / "generation")
    catalogue, seen = Catalogue.open(tmp_path / "generation"), list[ActiveMinute]()
    rulesets = Rulesets(parse_policy(POLICY, None), (), (), catalogue, names=names)
    device = rulesets.devices.find("192.168.1.9", MAC)
    assert device is not None
    assert (device.claims == "console") == bool(names)
    ruleset, request = rulesets.ruleset(device, NOON), Request(device.id, RequestKind.TUNNEL, "en.wikipedia.org", 443)
    ActivityLog(seen.append).note(ruleset, catalogue, request, ruleset.default, NOON)
    assert {each.account for each in seen} == counted
