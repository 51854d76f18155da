"""Every bypass is closed or open as documented in strict mode and in a pause."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab import House
from lab.aims import reached
from lab.attempts import ALLOWED, ATTEMPTS
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


def test_bypasses_are_as_documented_in_a_pause(paused: House) -> None:
    assert not unexpected(paused, "tablet", {attempt: attempt.in_pause for attempt in (*ATTEMPTS, *ALLOWED)})
