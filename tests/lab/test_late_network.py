"""Without upstreams in the policy, Hedgerow follows the system's resolvers, also if the network comes up later."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab import House
from lab.house import LAN4
from lab.internet import UPSTREAM, address4
from small_internet.running import wait_until

pytestmark = pytest.mark.root


@pytest.fixture
def without_upstreams(house: House) -> Iterator[House]:
    """A policy without upstreams, on a machine without resolvers."""
    before = house.policy.read_text()
    said = house.folder / "router.resolv.conf"
    said.write_text("")
    house.router.files["/etc/resolv.conf"] = said
    house.stop()
    house.policy.write_text(before.replace("  upstream: [9.9.9.9]\n", ""))
    house.start()
    try:
        yield house
    finally:
        house.stop()
        del house.router.files["/etc/resolv.conf"]
        house.policy.write_text(before)
        house.start()


def test_the_systems_resolvers_are_followed(without_upstreams: House) -> None:
    house, site = without_upstreams, "www.school.example"
    assert status(house, site) == "SERVFAIL"
    (house.folder / "router.resolv.conf").write_text(f"nameserver {UPSTREAM}\n")
    wait_until(lambda: status(house, site) == "NOERROR", 15)
    wait_until(lambda: page(house, site) == "200", 15)
    assert address4(site) in asked(house, site)
    (house.folder / "router.resolv.conf").write_text("nameserver 192.0.2.1\n")  # nobody's
    wait_until(lambda: status(house, site) != "NOERROR", 30)


def asked(house: House, name: str) -> str:
    return house.devices["parent"].run("kdig", "+time=3", "+retry=0", f"@{LAN4}.1", name).stdout


def status(house: House, name: str) -> str:
    return asked(house, name).partition("status: ")[2].partition(";")[0]


def page(house: House, name: str) -> str:
    """Return the proxy's HTTP status."""
    words = ("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-x", f"http://{LAN4}.1:3128", f"http://{name}/")
    return house.devices["tablet"].run(*words).stdout
