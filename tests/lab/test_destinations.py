"""No name, no connection: a guarded device reaches only addresses that the resolver gave it, and what `network.flows`
allows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from lab import House
from lab.aims import Aim, calls, datagram, is_called_from_outside, noise, pings, reached, reads
from lab.house import LAN4, MACS
from lab.internet import (
    GAME4,
    GAME6,
    GAME_NAME,
    PEER4,
    PEER6,
    PEER_NAME,
    PRIVATE4,
    PRIVATE6,
    TRANSPORT_NAMES,
    UNNAMED4,
    UNNAMED6,
)
from small_internet.running import wait_until

pytestmark = pytest.mark.root
ENCRYPTED = ("tls", "https", "quic")
WORKS: dict[str, Aim] = {
    "captive portal check": reads("http://captive.apple.com/", page="captive.apple.com"),
    "push messages, by name": noise(PEER4, 5223),
    "mail (IMAP), by name": noise(PEER6, 993),
    "a game, by name": datagram(PEER4, 40000, 900),
    "a game, by name, IPv6": datagram(PEER6, 40000, 900),
    "a call's relay, by address": calls(UNNAMED4, 3478),
    "a call's relay, by address, IPv6": calls(UNNAMED6, 3478),
    "Xbox, by address": datagram(UNNAMED4, 3074, 900),
    "the time": datagram(UNNAMED4, 123, 48),
    "a ping": pings(UNNAMED4, 56),
    "a ping, IPv6": pings(UNNAMED6, 56),
    "the router's own pages": lambda _house, device: (
        device.run("curl", "-s", "--max-time", "3", f"http://{LAN4}.1:8053/healthz").returncode == 0
    ),
}
"""What normal applications do."""


@pytest.fixture
def gateway(house: House) -> Iterator[House]:
    house.hedgerow("gateway", "apply", "--no-strict")
    house.meet("tablet")
    yield house
    house.hedgerow("gateway", "remove")


def refused(house: House) -> int:
    return int(json.loads(house.hedgerow("gateway", "status", "--json").stdout)["packets"]["no name"])


@pytest.mark.timeout(200)
def test_an_address_is_open_once_its_name_was_resolved(gateway: House) -> None:
    tablet, laptop = gateway.devices["tablet"], gateway.devices["laptop"]
    aims = (datagram(GAME4, 40000), datagram(GAME6, 40000), noise(GAME4, 993), noise(GAME6, 5223))

    def counted() -> bool:
        """Return whether refused packets are counted. A table that is applied again meanwhile begins with zero."""
        before = refused(gateway)
        assert not any(aim(gateway, tablet) for aim in aims)
        return refused(gateway) > before

    wait_until(counted, 60)
    gateway.resolve("tablet", GAME_NAME)
    assert all(reached(aim, gateway, tablet, hoped=True) for aim in aims)
    gateway.meet("laptop")
    assert not any(aim(gateway, laptop) for aim in aims), "another device's names count"
    gateway.hedgerow("gateway", "apply", "--allow-ssh")
    try:
        assert all(aim(gateway, tablet) for aim in aims), "lost with the old table"
    finally:
        gateway.hedgerow("gateway", "apply", "--refuse-ssh")


def test_normal_applications_work(gateway: House) -> None:
    tablet = gateway.devices["tablet"]
    gateway.resolve("tablet", PEER_NAME)
    assert [what for what, aim in WORKS.items() if not reached(aim, gateway, tablet, hoped=True)] == []


def test_flows_of_the_policy_and_any_destination(gateway: House) -> None:
    tablet, before = gateway.devices["tablet"], gateway.policy.read_text()
    aim = datagram(UNNAMED4, 40000)
    assert not aim(gateway, tablet)
    gateway.policy.write_text(before.replace("network:\n", f"network:\n  flows: [udp 40000 to {UNNAMED4}]\n"))
    try:
        assert reached(aim, gateway, tablet, hoped=True)
        assert not calls(UNNAMED4, 3478)(gateway, tablet), "the default flows are replaced"
        assert not datagram(UNNAMED6, 40000)(gateway, tablet)
    finally:
        gateway.policy.write_text(before)
    assert reached(calls(UNNAMED4, 3478), gateway, tablet, hoped=True)
    gateway.hedgerow("gateway", "apply", "--any-destination")
    try:
        assert reached(aim, gateway, tablet, hoped=True)
    finally:
        gateway.hedgerow("gateway", "apply", "--named-destinations")
    assert not aim(gateway, tablet)


def test_private_addresses_outside_the_home_are_open_where_the_policy_names_them(gateway: House) -> None:
    """Such as a printer at the provider's router, behind which Hedgerow's own network is."""
    tablet, before = gateway.devices["tablet"], gateway.policy.read_text()
    aims = (noise(PRIVATE4, 5222), datagram(PRIVATE4, 40000), noise(PRIVATE6, 5222), datagram(PRIVATE6, 40000))
    assert not any(aim(gateway, tablet) for aim in aims)
    gateway.policy.write_text(before.replace("network:\n", f"network:\n  reachable: [{PRIVATE4}, {PRIVATE6}]\n"))
    try:
        assert all(reached(aim, gateway, tablet, hoped=True) for aim in aims)
    finally:
        gateway.policy.write_text(before)


def test_a_games_server_on_the_device_answers_strangers_at_its_flow(gateway: House) -> None:
    tablet, before = gateway.devices["tablet"], gateway.policy.read_text()
    assert not is_called_from_outside(gateway, tablet)
    gateway.policy.write_text(before.replace("network:\n", "network:\n  flows: [tcp 5000]\n"))
    try:
        assert reached(is_called_from_outside, gateway, tablet, hoped=True)
        findings = json.loads(gateway.hedgerow("doctor", "tablet", "--json", must=False).stdout)
        assert [row["found"] for row in findings if row["what"] == "connections from outside"] == [
            "answered at tcp 5000, as network.flows says, and to addresses that DNS gave the device; else refused"
        ]
    finally:
        gateway.policy.write_text(before)


def test_answers_over_every_transport_admit(gateway: House) -> None:
    """Queries to another resolver at port 53 are redirected, and admit as well."""
    tablet = gateway.devices["tablet"]

    def missing() -> list[str]:
        admitted = gateway.router.must("nft", "list", "set", "inet", "hedgerow", "admitted_v4")
        return [
            how for how, (_, address) in TRANSPORT_NAMES.items() if f"{MACS['tablet']} . {address} " not in admitted
        ]

    def admit() -> bool:
        """Ask for what is not admitted. Answers before the gateway's process has started admit nothing."""
        for how in missing():
            server = (
                (f"@{LAN4}.1", f"+{how}") if how in ENCRYPTED else ("@8.8.8.8", "+notcp" if how == "udp" else "+tcp")
            )
            assert tablet.run("kdig", "+short", "+time=3", *server, TRANSPORT_NAMES[how][0]).stdout.strip(), how
        return not missing()

    wait_until(admit, 20)
