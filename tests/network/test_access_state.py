"""Access states of devices, and the instant until which they hold."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.blocklists.rules import Origin
from hedgerow.network.access_state import (
    AccessState,
    DeviceStates,
    OpenApp,
    addresses_not_open,
    addresses_to_cut,
    compute_device_states,
    without_overlaps,
)
from hedgerow.policies.effective_users import ALL_UNNAMED
from hedgerow.policies.model import DeviceId, Grant, Pause, Session
from hedgerow.policies.reading.load import parse_policy
from hedgerow.policies.ruleset import Rulesets
from hedgerow.policies.time_model import SpentBudget

POLICY = b"""
network: {timezone: UTC, unknown_devices: child-8-12, lan: [192.168.1.0/24, "fd00::/64"]}
people:
  mia: {age: 9, bedtime: "20:00-07:00", devices: [tablet, "192.168.1.64/28"]}
  ana: {profile: adult, devices: [phone, desk]}
devices:
  tablet: {mac: ["02:00:00:00:00:01", "02:00:00:00:00:02"]}
  phone: {mac: "02:00:00:00:00:0a"}
  desk: {ip: [192.168.1.70, "fd00::70"]}
"""
NOON, NIGHT = 1_764_072_000.0, 1_764_072_000.0 + 9 * 3600  # Tuesday, 25 November 2025, 12:00 and 21:00 UTC
MIDNIGHT = NIGHT + 3 * 3600


def device_states(
    catalogue: Catalogue, now: float, *, pauses: tuple[Pause, ...] = (), grants: tuple[Grant, ...] = ()
) -> DeviceStates:
    return compute_device_states(
        Rulesets(parse_policy(POLICY, Path("hedgerow.yaml")), grants, pauses, catalogue), catalogue, now
    )


def shown(found: DeviceStates, access: AccessState) -> list[str]:
    return [
        *found.macs_in(access),
        *(str(network) for version in (4, 6) for network in found.networks_in(access, version)),
    ]


def test_closed_devices_are_cut_by_their_neighbour_entries() -> None:
    """Also those that send nothing, as a program does that only listens to a stream."""
    macs = (("02:00:00:00:00:01", AccessState.CLOSED), ("02:00:00:00:00:02", AccessState.OPEN))
    networks = ((ip_network("192.168.1.7"), AccessState.CLOSED), (ip_network("192.168.1.8"), AccessState.CLOSED))
    states = DeviceStates(macs, (*networks, (ip_network("192.168.1.64/28"), AccessState.CLOSED)))
    neighbours = {
        **dict.fromkeys(("192.168.1.20", "fd00::20"), "02:00:00:00:00:01"),
        **dict.fromkeys(("192.168.1.8", "192.168.1.65"), "02:00:00:00:00:02"),
        "192.168.1.30": "02:00:00:00:00:03",
    }
    assert addresses_to_cut(states, neighbours) == {"192.168.1.20", "fd00::20", "192.168.1.7"}
    assert addresses_not_open(states, neighbours) == {"192.168.1.20", "fd00::20", "192.168.1.30"}


def test_states_by_day(catalogue: Catalogue) -> None:
    found = device_states(catalogue, NOON)
    assert shown(found, AccessState.OPEN) == ["02:00:00:00:00:0a", "192.168.1.70/32", "fd00::70/128"]
    guarded = ["192.168.1.64/30", "192.168.1.68/31", "192.168.1.71/32", "192.168.1.72/29"]
    assert shown(found, AccessState.GUARDED) == ["02:00:00:00:00:01", "02:00:00:00:00:02", *guarded]
    assert shown(found, AccessState.CLOSED) == []
    assert found.others is AccessState.HELD
    assert found.until == NOON + 8 * 3600, "bedtime is a boundary"


def test_states_at_bedtime(catalogue: Catalogue) -> None:
    found = device_states(catalogue, NIGHT)
    assert shown(found, AccessState.CLOSED)[:2] == ["02:00:00:00:00:01", "02:00:00:00:00:02"]
    assert shown(found, AccessState.OPEN)[0] == "02:00:00:00:00:0a"
    assert not found.is_same(device_states(catalogue, NOON))
    assert found.is_same(device_states(catalogue, NIGHT + 60))


def test_a_pause_for_everybody_closes_unknown_and_adults_devices(catalogue: Catalogue) -> None:
    found = device_states(catalogue, NOON, pauses=(Pause("p", "ana", NOON - 1),))
    assert found.others is AccessState.CLOSED
    assert shown(found, AccessState.OPEN) == []


def test_a_pause_for_everybody_spares_an_unknown_device(catalogue: Catalogue) -> None:
    pause = Pause("p", "ana", NOON - 1, spared_device=DeviceId("02:00:00:00:00:99"))
    found = device_states(catalogue, NOON, pauses=(pause,))
    assert found.others is AccessState.CLOSED
    assert "02:00:00:00:00:99" not in shown(found, AccessState.CLOSED)
    assert "02:00:00:00:00:99" in dict(found.macs)


def test_an_unknown_device_is_paused_by_mac_or_ip_address(catalogue: Catalogue) -> None:
    ids = ("02:00:00:00:00:99", "192.168.1.9", "fd00::/64", "gone-from-the-policy", "10.9.9.9")
    pauses = tuple(Pause(id, "ana", NOON - 1, device=DeviceId(id)) for id in ids)
    found = device_states(catalogue, NOON, pauses=pauses)
    assert shown(found, AccessState.CLOSED)[:2] == ["02:00:00:00:00:99", "192.168.1.9/32"]
    closed = [network for network, state in found.networks if state is AccessState.CLOSED]
    assert [any(ip_address(each) in network for network in closed) for each in ("fd00::9", "fd00::70")] == [
        True,
        False,
    ], "a link but its desk"


def test_the_spent_budget_of_unknown_devices_closes_all_of_them(catalogue: Catalogue) -> None:
    policy = POLICY.replace(b"people:", b"profiles:\n  child-8-12: {extends: child-8-12, budget: 1h}\npeople:")
    unknown = DeviceId("02:00:00:00:00:99")
    spent = (SpentBudget(f"device:{ALL_UNNAMED}", "", NOON - 60, MIDNIGHT, 60, Origin("hedgerow.yaml")),)
    rulesets = Rulesets(parse_policy(policy, Path("hedgerow.yaml")), (), (), catalogue, spent)
    found = compute_device_states(rulesets, catalogue, NOON, [unknown])
    assert shown(found, AccessState.CLOSED) == [unknown]
    assert found.others is AccessState.CLOSED


def test_a_grant_for_bypasses_opens_a_device(catalogue: Catalogue) -> None:
    grant = Grant("g", "bypass", "ana", NOON - 1, NOON + 600, person="mia")
    found = device_states(catalogue, NOON, grants=(grant,))
    assert "02:00:00:00:00:01" in shown(found, AccessState.OPEN)
    assert found.until == NOON + 600


@given(
    st.lists(
        st.tuples(st.integers(0, 255), st.integers(24, 32), st.sampled_from(AccessState)),
        max_size=8,
        unique_by=lambda each: each[:2],
    )
)
def test_without_overlaps_the_longest_prefix_decides(raw: list[tuple[int, int, AccessState]]) -> None:
    unique: dict[IPv4Network, AccessState] = {
        IPv4Network((f"10.0.0.{last}", length), strict=False): its for last, length, its in raw
    }
    flat = without_overlaps(unique.items())
    for last in range(256):
        address = IPv4Address(f"10.0.0.{last}")
        around = [network for network in unique if address in network]
        expected = [unique[max(around, key=lambda network: network.prefixlen)]] if around else []
        assert [its for network, its in flat if address in network] == expected


def test_ipv4_and_ipv6_networks_do_not_overlap() -> None:
    pairs = [
        (ip_network("0.0.0.0/0"), AccessState.OPEN),
        (ip_network("::/0"), AccessState.CLOSED),
        (ip_network("::1"), AccessState.OPEN),
    ]
    flat = without_overlaps(pairs)
    assert sum(ip_address("10.0.0.1") in network for network, _ in flat) == 1
    assert dict(flat)[ip_network("::1")] is AccessState.OPEN


def test_a_host_name_can_close_but_not_open(catalogue: Catalogue) -> None:
    policy = b"""
network: {timezone: UTC, lan: [192.168.1.0/24]}
people:
  mia: {age: 9, bedtime: "20:00-07:00", devices: [tablet]}
  ana: {profile: adult, devices: [desk]}
devices: {tablet: {hostname: mias-tablet}, desk: {hostname: desk}}
"""
    names = {"02:00:00:00:00:01": "mias-tablet", "192.168.1.40": "mias-tablet", "02:00:00:00:00:02": "desk"}
    rulesets = Rulesets(parse_policy(policy, Path("hedgerow.yaml")), (), (), catalogue, names=names)
    night = compute_device_states(rulesets, catalogue, NIGHT)
    assert night.macs == (("02:00:00:00:00:01", AccessState.CLOSED),)
    assert night.others is AccessState.CLOSED, "a child is in bed"
    day = compute_device_states(rulesets, catalogue, NIGHT - 12 * 3600)
    assert day.others is AccessState.HELD, "an adult's host name changes nothing"
    assert night.networks == ((ip_network("192.168.1.40"), AccessState.CLOSED),)


@pytest.mark.parametrize(
    ("profile", "state"),
    [("child-8-12", AccessState.HELD), ("guest", AccessState.GUARDED), ("adult", AccessState.OPEN)],
)
def test_devices_without_a_name_are_held_unless_they_are_guests(
    catalogue: Catalogue, profile: str, state: AccessState
) -> None:
    policy = parse_policy(POLICY.replace(b"unknown_devices: child-8-12", f"unknown_devices: {profile}".encode()), None)
    grant = Grant("g", "example.org", "ana", NOON, None, device=DeviceId("02:00:00:00:00:99"))
    found = compute_device_states(Rulesets(policy, (grant,), (), catalogue), catalogue, NOON)
    assert found.others is state
    assert dict(found.macs)["02:00:00:00:00:99"] is state, "a permission does not name it"


@pytest.mark.parametrize(
    ("extra", "adult"), [("", AccessState.OPEN), ("profiles: {seat-adult: {block: [+bypass]}}", AccessState.GUARDED)]
)
def test_a_seat_is_guarded_as_the_profile_of_its_session_says(
    catalogue: Catalogue, extra: str, adult: AccessState
) -> None:
    text = (
        "network: {timezone: UTC, lan: [192.168.1.0/24]}\nunopened_seats: closed\nseats: {seat-1: {ip:"
        f" 192.168.1.9}}}}\n{extra}\n"
    )
    policy, seat = parse_policy(text.encode(), Path("hedgerow.yaml")), DeviceId("seat-1")

    def state(*sessions: Session) -> AccessState:
        (found,) = compute_device_states(Rulesets(policy, (), (), catalogue, (), sessions), catalogue, NOON).networks
        return found[1]

    assert state() is AccessState.CLOSED
    for kind, expected in (("seat-child", AccessState.GUARDED), ("seat-adult", adult)):
        assert state(Session("s", seat, "ana", NOON - 60, NOON + 60, profile=kind)) is expected


def opening(id: str, states: DeviceStates) -> OpenApp:
    (found,) = [each for each in states.apps if each.id == id]
    return found


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ("age: 6", {"google-meet", "teams", "zoom", "facetime", "xbox", "playstation"}),
        ("age: 6, allow: [signal]", {"whatsapp", "google-meet", "teams", "zoom", "facetime", "xbox", "playstation"}),
        ("age: 9, block: [messaging]", {"google-meet", "teams", "zoom", "facetime", "xbox", "playstation"}),
        ("age: 9, block: [messaging, google-meet, google-chat, teams, zoom, facetime]", {"xbox", "playstation"}),
        ("age: 9, block: [games]", {"whatsapp", "google-meet", "teams", "zoom", "facetime"}),
        ("age: 15, block: [zoom, xbox]", {"whatsapp", "google-meet", "teams", "facetime", "steam", "playstation"}),
    ],
)
def test_flows_are_open_while_one_of_their_services_is(catalogue: Catalogue, rules: str, expected: set[str]) -> None:
    text = f"network: {{timezone: UTC}}\npeople:\n  tom: {{{rules}, devices: [laptop]}}\n"
    text += 'devices:\n  laptop: {mac: "02:00:00:00:00:01"}\n'
    rulesets = Rulesets(parse_policy(text.encode(), Path("hedgerow.yaml")), (), (), catalogue)
    opened = [each.id for each in compute_device_states(rulesets, catalogue, NOON).apps if each.macs]
    flows = {each.removeprefix("flows-").rpartition("-")[0] for each in opened if each.startswith("flows-")}
    assert flows == expected


@pytest.mark.parametrize(
    ("rules", "now", "expected"),
    [
        ("age: 15", NOON, True),
        ("age: 9", NOON, False),
        ("age: 9, allow: [telegram]", NOON, True),
        ("age: 15, block: [telegram]", NOON, False),
        ("age: 15, block: [messaging]", NOON, False),
        ('age: 15, bedtime: "20:00-07:00"', NIGHT, False),
        ('age: 15, schedules: {late: {block: telegram, when: "20:00-23:00"}}', NIGHT, False),
        ('age: 15, schedules: {late: {block: telegram, when: "20:00-23:00"}}', NOON, True),
        ("profile: adult", NOON, False),
    ],
)
def test_an_apps_networks_are_open_while_its_service_is(
    catalogue: Catalogue, rules: str, now: float, expected: bool
) -> None:
    """An adult's device is open as a whole, so that no set needs it."""
    text = f"network: {{timezone: UTC}}\npeople:\n  tom: {{{rules}, devices: [laptop]}}\n"
    text += 'devices:\n  laptop: {mac: "02:00:00:00:00:01", ip: 192.168.1.9}\n'
    rulesets = Rulesets(parse_policy(text.encode(), Path("hedgerow.yaml")), (), (), catalogue)
    app = opening("telegram", compute_device_states(rulesets, catalogue, now))
    assert app.macs == (("02:00:00:00:00:01",) if expected else ())
    assert not app.others, "a device without a name could be a child's"


def test_a_pause_and_a_grant_change_an_apps_networks(catalogue: Catalogue) -> None:
    pause = Pause("p", "ana", NOON - 1, NOON + 60)
    assert opening("telegram", device_states(catalogue, NOON, pauses=(pause,))) == OpenApp("telegram")
    grant = Grant("g", "telegram", "ana", NOON - 1, NOON + 60, device=DeviceId("tablet"))
    app = opening("telegram", device_states(catalogue, NOON, grants=(grant,)))
    assert app.macs == ("02:00:00:00:00:01", "02:00:00:00:00:02")
    assert not app.networks
