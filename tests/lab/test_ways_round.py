"""Every bypass is closed or open as documented. HEDGEROW_WRITE_DOCS=1 writes the document."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from lab import House
from lab.aims import OPEN_SITE, reached
from lab.attempts import ALLOWED, ATTEMPTS, Attempt
from lab.table import render
from small_internet.running import wait_until

pytestmark = pytest.mark.root
DOCUMENT = Path(__file__).parents[2] / "docs" / "ways-round.md"
TOGETHER = 4


def wrong(house: House, who: str, expected: Mapping[Attempt, bool]) -> list[str]:
    """Return the attempts with an unexpected result. Those that change the device itself run alone."""
    device = house.devices[who]

    def is_wrong(attempt: Attempt) -> bool:
        hoped = expected[attempt]
        return reached(attempt.aim, house, device, hoped=hoped) != hoped

    alone = [attempt for attempt in expected if attempt.tool.startswith("ip ")]
    rest = [attempt for attempt in expected if attempt not in alone]
    with ThreadPoolExecutor(TOGETHER) as threads:
        found = list(zip(rest, threads.map(is_wrong, rest), strict=True))
    return [attempt.what for attempt, so in found if so] + [attempt.what for attempt in alone if is_wrong(attempt)]


def trust(house: House) -> None:
    """Let the tablet trust the network's certificate, and wait until it is inspected."""
    house.policy.write_text(house.policy.read_text().replace("  tablet: {mac", "  tablet: {trusts_ca: true, mac"))
    words = ("curl", "-skv", "--max-time", "5", f"https://{OPEN_SITE}/")
    wait_until(lambda: "Hedgerow network CA" in house.devices["tablet"].run(*words).stderr, 20, "the tablet is inspected")


@pytest.mark.timeout(600)
def test_bypasses_are_as_documented(house: House) -> None:
    house.hedgerow("gateway", "apply")
    house.meet("tablet")
    table, steers = {}, house.steers_pages
    for strict in (False, True):
        house.hedgerow("gateway", "apply", "--strict" if strict else "--no-strict")
        house.resolve("tablet")
        table[strict] = {each: (each.pages and not steers) or (each.strictly if strict else each.normally) for each in ATTEMPTS}
        assert not wrong(house, "tablet", table[strict]), f"strict={strict}"
        assert not wrong(house, "tablet", dict.fromkeys(ALLOWED, True)), f"strict={strict}"
    house.hedgerow("gateway", "apply", "--no-strict")
    house.hedgerow("pause", "mia")
    paused = {each: each.in_pause for each in ATTEMPTS}
    wait_until(lambda: not reached(ALLOWED[0].aim, house, house.devices["tablet"], hoped=False), 20, "the pause")
    assert not wrong(house, "tablet", paused | {each: each.in_pause for each in ALLOWED}), "paused"
    house.hedgerow("resume", "mia")
    inspected = {each: each.with_certificate for each in ATTEMPTS}
    policy, is_whole = house.policy.read_text(), bool(os.environ.get("HEDGEROW_WRITE_DOCS"))
    try:
        trust(house)
        house.resolve("tablet")
        tried = {each: result for each, result in inspected.items() if each.is_web or is_whole}  # the others do not pass the proxy
        assert not wrong(house, "tablet", tried | dict.fromkeys(ALLOWED, True)), "inspected"
    finally:
        house.policy.write_text(policy)
    text = render(table[False], inspected, table[True], paused)
    if is_whole:
        DOCUMENT.write_text(text, encoding="utf-8")
    assert DOCUMENT.read_text(encoding="utf-8") == text


@pytest.mark.timeout(600)
def test_an_adults_device_is_not_restricted(house: House) -> None:
    house.hedgerow("gateway", "apply", "--strict")
    house.meet("parent")
    rest = [attempt for attempt in ATTEMPTS if not attempt.tool.startswith(("ip ", "openssl"))]
    # These fail for adults too: they end at Hedgerow's own ports or nowhere.
    rest = [attempt for attempt in rest if not any(words in attempt.what for words in ("Host header", "port 53", "resolver's port"))]
    assert not wrong(house, "parent", dict.fromkeys([*rest, *ALLOWED], True))
