"""Findings of `hedgerow doctor` on a healthy and on a broken router."""

from __future__ import annotations

import json

import pytest
from lab import House

pytestmark = pytest.mark.root


def findings(house: House) -> tuple[dict[str, tuple[str, str]], int]:
    """Return (health, mend) per check, and the exit status."""
    done = house.hedgerow("doctor", "--json", must=False)
    assert done.stdout, done.stderr
    return {row["what"]: (row["health"], row["mend"]) for row in json.loads(done.stdout)}, done.returncode


def test_a_healthy_router(house: House) -> None:
    house.hedgerow("gateway", "apply")
    found, status = findings(house)
    assert status == 0, {what: row for what, row in found.items() if row[0] != "good"}
    well = (
        "dns over UDP",
        "dns over TCP",
        "DNS over TLS",
        "DNS over HTTPS",
        "DNS over QUIC",
        "proxy",
        "web",
        "workers",
        "lists",
        "policy file",
        "lan",
        "upstream udp://9.9.9.9:53",
        "gateway",
    )
    assert {what: found[what][0] for what in well} == dict.fromkeys(well, "good")
    assert found["safe search"][0] == "unsure", "the lab has no search engines"
    assert all(mend for health, mend in found.values() if health != "good")


def test_each_problem_is_reported_with_its_remedy(house: House) -> None:
    house.hedgerow("gateway", "apply")
    policy = house.policy.read_text()
    token = house.state / "admin-token"
    try:
        house.router.must("nft", "delete", "table", "inet", "hedgerow")
        house.policy.write_text(policy.replace("age: 9", "age: nine"))
        token.chmod(0o644)
        house.router.must("ip", "link", "set", "wan", "down")
        found, status = findings(house)
    finally:
        token.chmod(0o600)
        house.policy.write_text(policy)
        _bring_up(house)
    assert status == 1
    assert found["policy file"] == ("bad", f"hedgerow check {house.policy}")
    assert found["secrets"] == ("bad", f"chmod 600 {token}")
    assert found["upstream udp://9.9.9.9:53"][0] == "bad"
    assert "dns over UDP" in found
    assert found["dns over UDP"][0] == "good", "healthy parts are reported too"


def test_the_bypasses_of_a_device(house: House) -> None:
    """They agree with `test_ways_round`, which tries them from the device."""

    def ways(device: str) -> dict[str, str]:
        done = house.hedgerow("doctor", device, "--json", must=False)
        return {row["what"]: row["health"] for row in json.loads(done.stdout)}

    house.hedgerow("gateway", "apply", "--no-strict")
    child = ways("tablet")
    assert child.pop("unknown tunnels") == "unsure"
    assert set(child.values()) == {"good"}
    assert ways("laptop").keys() == ways("tablet").keys()
    assert ways("parent")["another resolver"] == "bad", "adults' devices are open"
    house.hedgerow("gateway", "apply", "--strict")
    assert ways("tablet")["unknown tunnels"] == "good"
    house.hedgerow("gateway", "remove")
    alone = ways("tablet")
    assert (alone["another resolver"], alone["encrypted DNS by name"], alone["a page by its address"]) == (
        "bad",
        "good",
        "unsure",
    )
    done = house.hedgerow("doctor", "nobodys-thing", must=False)
    assert done.returncode == 2
    assert "There is no device 'nobodys-thing'" in done.stderr


def _bring_up(house: House) -> None:
    house.router.ip("link", "set", "wan", "up")
    house.router.ip("address", "replace", "2600:9000:5500::2/64", "dev", "wan", "nodad")
    house.router.ip("route", "replace", "default", "via", "100.64.0.1")
    house.router.ip("-6", "route", "replace", "default", "via", "2600:9000:5500::1")
