"""A device without a name that has hundreds of IPv6 addresses takes no place from the devices of the family."""

from __future__ import annotations

import sys

import pytest
import silent_clients
from lab import House
from lab.house import LAN6

pytestmark = pytest.mark.root

ADDRESSES = 200
ASKED = 10
HALF_A_REQUEST = b"GET http://www.school.example/ HTTP/1.1\r\nHost: www.sch".hex()


@pytest.mark.parametrize(("port", "first"), [(853, ""), (443, ""), (3128, HALF_A_REQUEST)], ids=["DoT", "DoH", "proxy"])
def test_hundreds_of_ipv6_addresses_take_no_place_of_a_child(house: House, port: int, first: str) -> None:
    house.hedgerow("gateway", "apply")
    phone, tablet = house.devices["phone"], house.devices["tablet"]
    house.meet("tablet")
    sources = [f"{LAN6}:ffff:{number:x}" for number in range(1, ADDRESSES + 1)]
    lines = [f"address add {source}/64 dev eth0 nodad\n" for source in sources]
    assert phone.run("ip", "-6", "-batch", "-", text="".join(lines)).returncode == 0
    crowd = phone.start(sys.executable, silent_clients.__file__, f"{LAN6}:1", str(port), "8", first, *sources)
    try:
        assert crowd.stdout
        assert crowd.stdout.readline() == "held\n"
        for _ in range(ASKED):
            if port == 3128:
                page = (
                    "-s",
                    "-o",
                    "/dev/null",
                    "-w",
                    "%{http_code}",
                    "-x",
                    f"http://[{LAN6}:1]:3128",
                    "http://www.school.example/",
                )
                assert tablet.run("curl", "--max-time", "20", *page).stdout == "200", house.log
            else:
                how = "+tls" if port == 853 else "+https"
                answer = tablet.run("kdig", "+short", "+time=5", "+retry=0", how, f"@{LAN6}:1", "www.school.example")
                assert answer.stdout.strip(), (answer, house.log)
        assert crowd.poll() is None
    finally:
        crowd.kill()
        crowd.wait()
        phone.run("ip", "-6", "-batch", "-", text="".join(lines).replace("address add", "address delete"))
