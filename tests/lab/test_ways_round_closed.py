"""Every bypass is closed or open as documented in strict mode, in a pause, and with a fresh MAC address."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from lab import House
from lab.aims import reached
from lab.attempts import ALLOWED, ATTEMPTS
from lab.house import LAN4
from lab.internet import OWN_RESOLVER, PEER_NAME, VPN_NAME
from lab.trials import unexpected
from small_internet.running import wait_until

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]


@pytest.fixture
def paused(tablet_house: House) -> Iterator[House]:
    tablet_house.hedgerow("pause", "mia")
    wait_until(
        lambda: not reached(ALLOWED[0].aim, tablet_house, tablet_house.devices["tablet"], hoped=False), 20, "the pause"
    )
    yield tablet_house
    tablet_house.hedgerow("resume", "mia")


def test_bypasses_are_as_documented_in_strict_mode(tablet_house: House) -> None:
    tablet_house.hedgerow("gateway", "apply", "--strict")
    tablet_house.resolve("tablet")
    assert not unexpected(tablet_house, "tablet", {attempt: attempt.strictly for attempt in ATTEMPTS})
    assert not unexpected(tablet_house, "tablet", dict.fromkeys(ALLOWED, True))


def test_bypasses_are_as_documented_with_a_fresh_mac(house: House) -> None:
    """Of those that neither pass the proxy nor are open to named devices, none is tried unless the document is
    written: one rule refuses them all.
    """
    house.hedgerow("gateway", "apply", "--no-strict")
    for who in ("phone", "parent"):
        house.meet(who)
    for name in (PEER_NAME, VPN_NAME, OWN_RESOLVER):
        house.devices["phone"].run("kdig", f"@{LAN4}.1", name)
    fresh = {attempt: attempt.with_fresh_mac for attempt in ATTEMPTS}
    is_whole = bool(os.environ.get("HEDGEROW_WRITE_DOCS"))
    tried = {each: is_open for each, is_open in fresh.items() if is_open is not None}
    tried = {each: is_open for each, is_open in tried.items() if is_whole or each.is_web or each.normally}
    works = dict.fromkeys(ALLOWED, True)
    assert not unexpected(house, "phone", tried | works)


def test_bypasses_are_as_documented_in_a_pause(paused: House) -> None:
    assert not unexpected(paused, "tablet", {attempt: attempt.in_pause for attempt in (*ATTEMPTS, *ALLOWED)})
