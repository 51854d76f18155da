"""Devices that were seen: their role in the home, and whose they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from web_server import NOW, Web, running_web

from hedgerow.journal.messages import DeviceSeen
from hedgerow.network.own_addresses import own_addresses
from hedgerow.policies.model import DeviceId

POLICY = """\
people:
  Mia: {age: 9, devices: [tablet]}
  Ana: {profile: adult, devices: [phone]}
devices:
  tablet: {mac: "02:00:00:00:77:0b"}
  phone: {mac: "02:00:00:00:77:0a"}
  visitor: {mac: "02:00:00:00:77:0d", profile: guest}
  scanner: {mac: "02:00:00:00:77:0e", kind: printer}
"""
PRINTER, STRANGER = "00:00:48:11:22:33", "02:00:00:00:77:0f"


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    with running_web(tmp_path) as running:
        running.policy_path.write_text(POLICY)
        addresses = {"tablet": 11, "phone": 10, "visitor": 13, "scanner": 14, PRINTER: 15, STRANGER: 16}
        for name, number in addresses.items():
            mac = name if ":" in name else f"02:00:00:00:77:{number:02x}"
            running.recorder.add([DeviceSeen(NOW, DeviceId(name), f"192.168.1.{number}", mac, None, "child-8-12")])
        own = own_addresses()[0]
        running.recorder.add([DeviceSeen(NOW, DeviceId(own), own, None, None, "child-8-12")])
        running.recorder.flush()
        yield running


def test_a_program_reads_what_each_device_is_and_whose(web: Web) -> None:
    rows = httpx.get(f"{web.url}/api/v1/devices", trust_env=False, verify=False, timeout=60).json()
    found = {row["device"]: (row["role"], row["whose"]) for row in rows}
    assert found == {
        "tablet": ("personal", "child"),
        "phone": ("personal", "adult"),
        "visitor": ("personal", "guest"),
        "scanner": ("thing", "nobody"),
        PRINTER: ("thing", "nobody"),
        STRANGER: ("personal", "nobody"),
        own_addresses()[0]: ("own", "nobody"),
    }
