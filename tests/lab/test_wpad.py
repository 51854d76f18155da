"""The proxy found by name (WPAD), and Hedgerow's pages at port 80: by a device whose pages are redirected, and by one
that is not.
"""

from __future__ import annotations

import pytest
from lab import House
from lab.house import LAN4
from small_internet.running import wait_until

pytestmark = pytest.mark.root


@pytest.mark.timeout(200)
@pytest.mark.parametrize("who", ["tablet", "parent"])
def test_a_browser_finds_the_proxy_by_name(house: House, who: str) -> None:
    house.hedgerow("gateway", "apply", "--no-strict")
    house.meet(who)
    device = house.devices[who]
    address = device.run("kdig", "+short", "+time=2", f"@{LAN4}.1", "wpad.lan").stdout.split()
    assert address == [f"{LAN4}.1"]
    assert device.run("kdig", "+short", "+time=2", f"@{LAN4}.1", "wpad.home.arpa").stdout == "", (
        "the policy does not name this domain"
    )
    at = ("--resolve", f"wpad.lan:80:{LAN4}.1", "--resolve", f"hedgerow.internal:80:{LAN4}.1")

    def reads(url: str) -> str:
        return device.run("curl", "-s", "--max-time", "20", *at, url).stdout

    script = wait_until(lambda: reads("http://wpad.lan/wpad.dat"), 20)
    assert f'return "PROXY {LAN4}.1:3128";' in script
    assert script.count("return") == 4
    assert "<html" in reads("http://hedgerow.internal/check")
