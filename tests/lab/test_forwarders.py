"""dnsmasq, Pi-hole's engine, and dnsdist forward to Hedgerow with the MAC address of the client."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from lab import House
from lab.house import LAN4
from lab.internet import address4
from small_internet.running import wait_until

pytestmark = pytest.mark.root
PORT = "5353"


DNSMASQ = (
    *(
        "dnsmasq",
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--user=root",
        "--pid-file=",
        "--no-hosts",
        "--no-resolv",
    ),
    *(
        f"--port={PORT}",
        f"--listen-address={LAN4}.1",
        "--bind-interfaces",
        "--server=127.0.0.1#53",
        "--add-mac",
        "--cache-size=1000",
    ),
)
DNSDIST = f"""
setLocal("{LAN4}.1:{PORT}")
setACL("0.0.0.0/0")
setSecurityPollSuffix("")
newServer({{address="127.0.0.1:53", healthCheckMode="up"}})
addAction(AllRule(), SetMacAddrAction(65001))
"""


@pytest.fixture(params=["dnsmasq", "dnsdist"])
def behind_forwarder(house: House, request: pytest.FixtureRequest) -> Iterator[House]:
    if shutil.which(request.param, path="/usr/sbin:/usr/bin") is None:
        pytest.skip(f"{request.param} is not installed")
    before = house.policy.read_text()
    house.policy.write_text(before.replace("  upstream:", "  forwarders: [127.0.0.1]\n  upstream:"))
    config = house.folder / "dnsdist.conf"
    config.write_text(DNSDIST)
    words = (
        DNSMASQ if request.param == "dnsmasq" else ("dnsdist", "--supervised", "--disable-syslog", "-C", str(config))
    )
    forwarder = house.router.start(*words, stderr=house.folder / "forwarder.log")
    try:
        yield house
    finally:
        forwarder.terminate()
        forwarder.wait(60)
        house.policy.write_text(before)


def test_devices_behind_a_forwarder_are_told_apart(behind_forwarder: House) -> None:
    """dnsmasq's cache does not mix their answers."""
    expected = {"parent": address4("adult.example"), "tablet": "0.0.0.0", "phone": "0.0.0.0"}
    for who in expected:
        behind_forwarder.meet(who)
    wait_until(lambda: asked(behind_forwarder, "parent") == expected["parent"], 30)
    for _ in range(3):
        assert {who: asked(behind_forwarder, who) for who in expected} == expected


def asked(house: House, who: str) -> str:
    words = ("kdig", "+short", "+time=2", "-p", PORT, f"@{LAN4}.1", "adult.example")
    return house.devices[who].run(*words).stdout.strip()
