"""`--allow-ssh` opens SSH and nothing else to guarded devices, until `--refuse-ssh`. A flow opens it to one server."""

from __future__ import annotations

import json
import time

import pytest
from lab import House
from lab.aims import CLOSED, reached, reads, through_ssh, through_web_proxy
from lab.internet import PEER4, PEER6
from lab.tunnels import SSH_PORT

pytestmark = pytest.mark.root


def chosen(house: House) -> bool:
    facts = json.loads(house.hedgerow("gateway", "status", "--json").stdout)
    return bool(facts["chosen"]["allow_ssh"])


@pytest.mark.timeout(200)
def test_ssh_can_be_allowed(house: House) -> None:
    house.hedgerow("gateway", "apply", "--no-strict")
    house.meet("tablet")
    house.resolve("tablet")
    tablet, ports = house.devices["tablet"], (22, SSH_PORT)
    assert not any(through_ssh(PEER4, port)(house, tablet) for port in ports)
    house.hedgerow("gateway", "apply", "--allow-ssh")
    try:
        house.hedgerow("gateway", "apply")
        assert chosen(house)
        deadline = time.monotonic() + 60
        while not all(through_ssh(PEER4, port)(house, tablet) for port in ports):
            assert time.monotonic() < deadline, "SSH does not pass"
        assert not through_web_proxy(PEER4, f"https://{CLOSED}/")(house, tablet)
        assert not reads(f"https://{CLOSED}/")(house, tablet)
    finally:
        house.hedgerow("gateway", "apply", "--refuse-ssh")
    assert not chosen(house)
    assert not any(through_ssh(PEER4, port)(house, tablet) for port in ports)


def test_a_flow_opens_ssh_to_one_server(house: House) -> None:
    """As a repository of a school needs it, whose address the policy names."""
    house.hedgerow("gateway", "apply", "--no-strict")
    house.meet("tablet")
    house.resolve("tablet")
    tablet, before = house.devices["tablet"], house.policy.read_text()
    house.policy.write_text(before.replace("network:\n", f"network:\n  flows: [calls, tcp 22 to {PEER4}]\n"))
    try:
        assert reached(through_ssh(PEER4, 22), house, tablet, hoped=True)
        assert not through_ssh(PEER4, SSH_PORT)(house, tablet), "another port of the server"
        assert not through_ssh(PEER6, 22)(house, tablet), "another address"
    finally:
        house.policy.write_text(before)
