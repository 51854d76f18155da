"""Every way round that the documents call closed is closed, and what they call open is. Set HEDGEROW_WRITE_DOCS=1 to write the document."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from lab import House
from lab.attempts import ALLOWED, ATTEMPTS, Attempt
from lab.table import render

pytestmark = pytest.mark.root
DOCUMENT = Path(__file__).parents[2] / "docs" / "ways-round.md"
TOGETHER = 4


def got_through(house: House, who: str, attempts: Sequence[Attempt]) -> dict[Attempt, bool]:
    """Those that change the device itself are tried alone."""
    device = house.devices[who]
    alone = [attempt for attempt in attempts if attempt.tool.startswith("ip ")]
    with ThreadPoolExecutor(TOGETHER) as threads:
        rest = [attempt for attempt in attempts if attempt not in alone]
        found = dict(zip(rest, threads.map(lambda attempt: attempt.aim(house, device), rest), strict=True))
    return found | {attempt: attempt.aim(house, device) for attempt in alone}


@pytest.mark.timeout(600)
def test_ways_round(house: House) -> None:
    house.hedgerow("gateway", "apply")
    house.meet("tablet")
    seen, steers = {}, house.steers_pages
    for strict in (False, True):
        house.hedgerow("gateway", "apply", "--strict" if strict else "--no-strict")
        seen[strict] = got_through(house, "tablet", ATTEMPTS)
        expected = {each: (each.pages and not steers) or (each.strictly if strict else each.normally) for each in ATTEMPTS}
        wrong = [attempt.what for attempt in ATTEMPTS if seen[strict][attempt] != expected[attempt]]
        assert not wrong, f"strict={strict}"
        shut = [attempt.what for attempt, open in got_through(house, "tablet", ALLOWED).items() if not open]
        assert not shut, f"strict={strict}"
    text = render(seen[False], seen[True])
    if os.environ.get("HEDGEROW_WRITE_DOCS"):
        DOCUMENT.write_text(text, encoding="utf-8")
    assert DOCUMENT.read_text(encoding="utf-8") == text


@pytest.mark.timeout(600)
def test_an_adult_is_left_alone(house: House) -> None:
    house.hedgerow("gateway", "apply", "--strict")
    house.meet("parent")
    rest = [attempt for attempt in ATTEMPTS if not attempt.tool.startswith(("ip ", "openssl"))]
    # What is no way round for an adult either: it leads to Hedgerow's own ports, or nowhere.
    rest = [attempt for attempt in rest if not any(words in attempt.what for words in ("Host header", "port 53", "resolver's port"))]
    shut = [attempt.what for attempt, open in got_through(house, "parent", [*rest, *ALLOWED]).items() if not open]
    assert not shut
