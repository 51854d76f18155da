"""Every bypass is closed or open as documented. HEDGEROW_WRITE_DOCS=1 writes the document."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import House
from lab.aims import OPEN_SITE
from lab.attempts import ALLOWED, ATTEMPTS
from lab.table import render
from lab.trials import unexpected
from small_internet.running import wait_until

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]
DOCUMENT = Path(__file__).parents[2] / "docs" / "ways-round.md"
WHOLE = Path(__file__).parents[2] / "bench" / "results" / "ways_round.md"
NORMALLY = {attempt: attempt.normally for attempt in ATTEMPTS}
STRICTLY = {attempt: attempt.strictly for attempt in ATTEMPTS}
PAUSED = {attempt: attempt.in_pause for attempt in ATTEMPTS}
INSPECTED = {attempt: attempt.with_certificate for attempt in ATTEMPTS}
FRESH = {attempt: attempt.with_fresh_mac for attempt in ATTEMPTS}
WORKS = dict.fromkeys(ALLOWED, True)


@pytest.fixture
def trusting(tablet_house: House) -> Iterator[House]:
    """The tablet trusts the network's certificate, and is inspected."""
    policy = tablet_house.policy.read_text()
    tablet_house.policy.write_text(policy.replace("  tablet: {mac", "  tablet: {trusts_ca: true, mac"))
    words = ("curl", "-skv", "--max-time", "5", f"https://{OPEN_SITE}/")
    wait_until(
        lambda: "Hedgerow network CA" in tablet_house.devices["tablet"].run(*words).stderr,
        20,
        "the tablet is inspected",
    )
    tablet_house.resolve("tablet")
    yield tablet_house
    tablet_house.policy.write_text(policy)


def test_bypasses_are_as_documented(tablet_house: House) -> None:
    assert not unexpected(tablet_house, "tablet", NORMALLY)
    assert not unexpected(tablet_house, "tablet", WORKS)


def test_bypasses_are_as_documented_with_the_networks_certificate(trusting: House) -> None:
    """Of those that do not pass the proxy, none is tried unless the document is written."""
    is_whole = bool(os.environ.get("HEDGEROW_WRITE_DOCS"))
    tried = {attempt: is_open for attempt, is_open in INSPECTED.items() if attempt.is_web or is_whole}
    assert not unexpected(trusting, "tablet", tried | WORKS)
    for path, text in zip((DOCUMENT, WHOLE), render(NORMALLY, INSPECTED, STRICTLY, PAUSED, FRESH), strict=True):
        if is_whole:
            path.write_text(text, encoding="utf-8")
        assert path.read_text(encoding="utf-8") == text


def test_an_adults_device_is_not_restricted(house: House) -> None:
    house.hedgerow("gateway", "apply", "--strict")
    house.meet("parent")
    rest = [attempt for attempt in ATTEMPTS if not attempt.tool.startswith(("ip ", "openssl"))]
    # These fail for adults too: they end at Hedgerow's own ports or nowhere.
    rest = [
        attempt
        for attempt in rest
        if not any(words in attempt.what for words in ("Host header", "port 53", "resolver's port"))
    ]
    assert not unexpected(house, "parent", dict.fromkeys([*rest, *ALLOWED], True))
