"""Recognition of devices: stronger evidence wins, and a host name, which any device can claim, only restricts."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.policies.decide import decide
from hedgerow.policies.identity import TETHERED, DeviceLookup, is_link
from hedgerow.policies.model import Device, DeviceId, Grant, Pause, Policy, Reason, Request, RequestKind, Verdict
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
  desk: {mac: "02:00:00:00:00:02", hostname: mias-desk, block: [games]}
  by-address: {ip: 192.168.1.9}
  room: {cidr: 192.168.1.64/28}
"""  # noqa: E501
NAMES = {
    "02:00:00:00:00:01": "anas-laptop",
    "02:00:00:00:00:09": "anas-laptop",
    "02:00:00:00:00:0a": "mias-old-tablet",
    "02:00:00:00:00:0b": "somebody-elses",
    "02:00:00:00:00:0c": "mias-desk",
    "192.168.1.30": "mias-tablet",
}


@pytest.fixture(scope="module")
def rulesets(catalogue: Catalogue) -> Rulesets:
    return Rulesets(parse_policy(POLICY, None), (), (), catalogue, names=NAMES)


@pytest.mark.parametrize(
    ("address", "mac", "expected", "claimed"),
    [
        ("192.168.1.20", "02:00:00:00:00:0a", "02:00:00:00:00:0a", "tablet"),
        ("192.168.1.30", None, "192.168.1.30", "tablet"),
        ("192.168.1.31", "02:00:00:00:00:09", "02:00:00:00:00:09", None),  # an adult's name
        ("192.168.1.20", "02:00:00:00:00:01", "by-mac", None),  # it calls itself as Ana's laptop does
        ("192.168.1.9", "02:00:00:00:00:0a", "by-address", None),
        ("192.168.1.70", "02:00:00:00:00:0a", "room", None),
        ("192.168.1.20", "02:00:00:00:00:0b", "02:00:00:00:00:0b", None),  # a name that the policy does not know
        # the name of a device that the policy knows by its MAC
        ("192.168.1.20", "02:00:00:00:00:0c", "02:00:00:00:00:0c", None),
    ],
)
def test_host_names_count_only_without_better_evidence(
    rulesets: Rulesets, address: str, mac: str | None, expected: str, claimed: str | None
) -> None:
    found = rulesets.devices.find(address, mac)
    assert found is not None
    assert (found.id, found.claims) == (expected, claimed)
    if mac is not None and expected == mac:
        assert rulesets.devices.find_mac(mac) == found, "the same for a forwarder that tells the MAC"


def test_the_mac_of_a_lease_counts_where_none_is_seen() -> None:
    leases = {"192.168.1.70": "02:00:00:00:00:01", "192.168.1.71": "02:00:00:00:00:77"}
    devices = DeviceLookup(parse_policy(POLICY, None), {}, leases)
    seen = "02:00:00:00:00:78"
    found = [
        devices.find(*pair)
        for pair in (("192.168.1.70",), ("192.168.1.70", seen), ("192.168.1.71",), ("192.168.1.72",))
    ]
    assert [each and each.id for each in found] == ["by-mac", "room", "room", "room"]


def test_a_randomised_mac_is_a_new_device(rulesets: Rulesets) -> None:
    """Phones randomise MAC addresses; one that the policy does not name belongs to nobody."""
    for mac in ("02:00:00:00:00:55", "da:a1:19:00:00:01"):
        found = rulesets.devices.find("192.168.1.50", mac)
        assert found is not None
        assert (found.id, found.profile, found.person, found.known) == (mac, "child-8-12", None, False)


def test_proxy_users_are_found_in_any_case(rulesets: Rulesets) -> None:
    assert {(found := rulesets.devices.find_user(user)) and found.id for user in ("ana", "ANA", "ana.work")} == {
        "laptop"
    }
    assert rulesets.devices.find_user("mia") is None


STRANGER = DeviceId("02:00:00:00:00:21")
NOON = datetime(2026, 11, 25, 12, tzinfo=UTC).timestamp()
LOOSER = """
network: {timezone: UTC, unknown_devices: UNKNOWN, lan: [192.168.1.0/24]}
people:
  ana: {profile: adult, allow: [games, gambling.example], devices: [laptop]}
  mia: {age: 9, allow: [social], always: [games.example], youtube: off, devices: [tablet, shared]}
  tom: {age: 15, devices: [shared]}
devices:
  laptop: {hostname: a}
  tablet: {hostname: a, allow: [gambling, adult.example/safe], trusts_ca: true}
  shared: {hostname: a, allow: [bypass], schedules: {free: {when: "00:00-24:00", allow: [games, internet]}}}
block: [{what: social, note: for all}]
allow: [adult.example/safe]
"""
HOSTS = (
    *("games.example", "gambling.example", "social.example", "roblox.com", "facebook.com", "tiktok.com", "vpn.example"),
    *(
        "www.youtube.com",
        "www.google.com",
        "yandex.com",
        "www.startpage.com",
        "search.brave.com",
        "adult.example",
        "www.school.example",
    ),
)


def bearing(policy: Policy, name: str, catalogue: Catalogue) -> Rulesets:
    """Return rulesets with a pause of the unknown device from 13:00, and grants for the device, its person and an
    address.
    """
    grants = (
        Grant("1", "tiktok.com", "ana", 0, device=DeviceId("tablet")),
        Grant("2", "roblox", "ana", 0, person="mia"),
        Grant("3", "facebook.com", "ana", 0, device=STRANGER),
    )
    return Rulesets(
        policy,
        grants,
        (Pause("1", "ana", NOON + 3600, device=STRANGER),),
        catalogue,
        names={STRANGER: name} if name else {},
    )


@pytest.mark.parametrize("unknown", ["child-under-8", "child-8-12", "teen-13-15", "adult"])
@pytest.mark.parametrize("device", ["laptop", "tablet", "shared"])
def test_a_host_name_never_allows_more_than_an_unknown_device(catalogue: Catalogue, unknown: str, device: str) -> None:
    text = LOOSER.replace("UNKNOWN", unknown).replace(f"{device}: {{hostname: a", f"{device}: {{hostname: taken")
    for other in {"laptop", "tablet", "shared"} - {device}:
        text = text.replace(f"{other}: {{hostname: a", f"{other}: {{hostname: {other}")
    policy = parse_policy(text.encode(), None)
    plain, claiming = bearing(policy, "", catalogue), bearing(policy, "taken", catalogue)
    for now in (NOON, NOON + 7200):
        without, bearer = (each.devices.find("192.168.1.50", STRANGER) for each in (plain, claiming))
        assert without is not None
        assert bearer is not None
        before, after = plain.ruleset(without, now), claiming.ruleset(bearer, now)
        for host in HOSTS:
            for kind in (RequestKind.DNS, RequestKind.TUNNEL, RequestKind.HTTP):
                request = Request(STRANGER, kind, host, url=f"http://{host}/safe" if kind is RequestKind.HTTP else None)
                was, will = decide(before, catalogue, request), decide(after, catalogue, request)
                assert was.verdict is not Verdict.BLOCK or will.verdict is Verdict.BLOCK, (host, kind, was, will)
                assert was.verdict is not Verdict.REWRITE or will.verdict is not Verdict.ALLOW, (host, kind, was, will)


def test_a_host_name_restricts(catalogue: Catalogue) -> None:
    policy = parse_policy(POLICY.replace(b"child-8-12", b"adult"), None)
    found = Rulesets(policy, (), (), catalogue, names=NAMES).devices.find("192.168.1.20", "02:00:00:00:00:0a")
    assert found is not None
    rulesets = Rulesets(policy, (), (), catalogue, names=NAMES)
    decision = decide(rulesets.ruleset(found, NOON), catalogue, Request(found.id, RequestKind.DNS, "gambling.example"))
    assert (decision.verdict, decision.reason) == (Verdict.BLOCK, Reason.CATEGORY)
    unknown = Device(found.id, "adult", known=False)
    assert (
        decide(
            rulesets.ruleset(unknown, NOON), catalogue, Request(found.id, RequestKind.DNS, "gambling.example")
        ).verdict
        is Verdict.ALLOW
    )


def test_clients_behind_a_device_that_forwards_are_one_without_a_name() -> None:
    """Whatever networks the policy serves and names. Nobody is asked whose it is."""
    everywhere = b"network: {lan: [0.0.0.0/0]}\ndevices: {all: {cidr: 0.0.0.0/0, profile: adult}}\n"
    lookup = DeviceLookup(parse_policy(everywhere, None))
    for address in TETHERED:
        device = lookup.find(str(address))
        assert device is not None
        assert (device.known, is_link(device.id)) == (False, True)
