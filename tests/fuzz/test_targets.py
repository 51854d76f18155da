"""Each fuzzing target with its seeds, with every input that a fuzzer ever found, and with seeds that were changed a
little.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from fuzz_targets import TARGETS

FOUND = Path(__file__).parent / "found"
"""Inputs that once were findings, named `TARGET.CONTENT`."""
CHANGED = 40


def changed(seed: bytes, chance: random.Random) -> bytes:
    """Return a seed with a few octets replaced, removed or repeated, sometimes cut off."""
    data = bytearray(seed)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(4):
            case 0:
                data[at : at + 1] = bytes([chance.choice((0, 1, 0x7F, 0x80, 0xC0, 0xFF, chance.randrange(256)))])
            case 1:
                del data[at : at + chance.randint(1, 8)]
            case 2:
                data[at:at] = data[at : at + 16] * chance.randint(1, 20)
            case 3:
                del data[at:]
    return bytes(data)


@pytest.mark.parametrize("name", TARGETS)
def test_target_returns_or_refuses(name):
    target, chance = TARGETS[name], random.Random(name)
    for seed in target.seeds:
        target.run(seed)  # seeds are valid
        for _ in range(CHANGED):
            target(changed(seed, chance))


@pytest.mark.parametrize("path", sorted(FOUND.glob("*")), ids=lambda path: path.name)
def test_what_was_found_stays_mended(path):
    TARGETS[path.name.partition(".")[0]](path.read_bytes())
