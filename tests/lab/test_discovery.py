"""A phone that nobody has named shows up, with the name that it told the DHCP server."""

from __future__ import annotations

import json
import time

import pytest
from lab import House
from lab.house import MACS

pytestmark = pytest.mark.root


def test_a_new_phone_is_announced_by_the_name_it_gives_itself(house: House) -> None:
    leases = house.folder / "dnsmasq.leases"
    leases.write_text(f"{int(time.time()) + 3600} {MACS['phone']} 192.168.50.12 lunas-phone *\n")
    house.meet("phone")
    deadline = time.monotonic() + 20
    while True:
        rows = {row["device"]: row for row in json.loads(house.hedgerow("devices", "--json").stdout)}
        if MACS["phone"] in rows and rows[MACS["phone"]]["name"] == "lunas-phone":
            break
        assert time.monotonic() < deadline, rows
        time.sleep(0.5)
    assert rows[MACS["phone"]]["profile"] == "child-8-12"
    assert f"new on the network: lunas-phone at 192.168.50.12, filtered as child-8-12 ({MACS['phone']})" in house.log
