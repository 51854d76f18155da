"""Apps of families work by age, as the catalogue says. HEDGEROW_WRITE_DOCS=1 writes the document."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from lab import House
from lab.aims import reached
from lab.family_apps import AGES, ANYWHERE, FLOWS, NAMES, AppFlow, app_servers, render
from lab.house import MACS
from small_internet.running import wait_until

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]
DOCUMENT = Path(__file__).parents[2] / "docs" / "family-apps.md"
DEVICES = dict(zip(AGES, ("phone", "tablet", "laptop"), strict=True))
TOGETHER = 8
TELEGRAM = [flow for flow in FLOWS if flow.service == "telegram" and "network" in flow.what]


@pytest.fixture
def gateway(house: House) -> Iterator[House]:
    """The house with a child of each age, each with a device that has looked up the apps' names."""
    before = house.policy.read_text()
    text = before.replace("people:\n", "people:\n  leo: {age: 6, devices: [phone]}\n")
    house.policy.write_text(text.replace("devices:\n  tab", f'devices:\n  phone: {{mac: "{MACS["phone"]}"}}\n  tab'))
    house.hedgerow("gateway", "apply", "--no-strict")
    with app_servers(house):
        for who in DEVICES.values():
            house.meet(who)
            house.resolve(who, *NAMES)
        yield house
    house.policy.write_text(before)
    house.hedgerow("gateway", "remove")


def unexpected(house: House, who: str, flows: Sequence[AppFlow], age: int) -> list[str]:
    """Return the flows that are open or closed on a device against the age, where 0 stands for a pause."""

    def is_wrong(flow: AppFlow) -> bool:
        expected = bool(age) and flow.is_open(age)
        return reached(flow.aim, house, house.devices[who], hoped=expected) != expected

    with ThreadPoolExecutor(TOGETHER) as threads:
        return [flow.what for flow, wrong in zip(flows, threads.map(is_wrong, flows), strict=True) if wrong]


def test_apps_are_open_by_age_and_closed_in_a_pause(gateway: House) -> None:
    for ages, who in DEVICES.items():
        assert not unexpected(gateway, who, FLOWS, AGES[ages]), ages
    gateway.hedgerow("pause", "tom")
    try:
        laptop = gateway.devices["laptop"]
        wait_until(lambda: not FLOWS[1].aim(gateway, laptop), 20, "the gateway follows the pause")
        assert not unexpected(gateway, "laptop", FLOWS, 0)
    finally:
        gateway.hedgerow("resume", "tom")
    text = render(AGES)
    if os.environ.get("HEDGEROW_WRITE_DOCS"):
        DOCUMENT.write_text(text, encoding="utf-8")
    assert DOCUMENT.read_text(encoding="utf-8") == text


def test_a_block_closes_the_flows_of_a_service(gateway: House) -> None:
    laptop, before = gateway.devices["laptop"], gateway.policy.read_text()
    assert not unexpected(gateway, "laptop", TELEGRAM, 15)
    gateway.policy.write_text(before.replace("tom: {age: 15", "tom: {block: [telegram], age: 15"))
    try:
        wait_until(lambda: not any(flow.aim(gateway, laptop) for flow in TELEGRAM), 20, "Telegram is closed")
    finally:
        gateway.policy.write_text(before)
    assert not unexpected(gateway, "laptop", TELEGRAM, 15)


CALL = """
import socket, sys, time

sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.connect((sys.argv[1], 3478))
sock.settimeout(0.5)
answered, end = 0, time.monotonic() + 60
message, lost = bytes.fromhex("000100002112a442") + bytes(12), 0
while lost < 6 and time.monotonic() < end:
    try:
        sock.send(message)
        answered, lost = answered + bool(sock.recv(2000)), 0
    except OSError:
        lost += 1
        time.sleep(0.1)
    if answered == 1:
        print("runs", flush=True)
    message = b"media" * 20
    time.sleep(0.05)
sys.exit(not (answered and lost >= 6))
"""
"""Calls, and ends without an error once nothing of the call comes back."""


def test_a_running_call_ends_when_no_messenger_is_open_any_more(gateway: House) -> None:
    tablet, before = gateway.devices["tablet"], gateway.policy.read_text()
    running = tablet.start(sys.executable, "-c", CALL, ANYWHERE, stderr=gateway.folder / "call.log")
    try:
        assert running.stdout
        assert running.stdout.readline() == "runs\n", (gateway.folder / "call.log").read_text()
        gateway.policy.write_text(before.replace("mia: {age: 9", "mia: {block: [messaging], age: 9"))
        assert running.wait(45) == 0
    finally:
        gateway.policy.write_text(before)
        running.kill()
        running.wait(60)
