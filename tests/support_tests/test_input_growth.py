"""The search for input that takes more than its share of time."""

from __future__ import annotations

import pytest
from fuzz_targets.target import FuzzTarget, Shape
from input_growth import SIZES, find_fast_growth

COMMAS = (Shape(b"", b",", b""),)
MEMORY = 64 << 20
"""Octets for the longest input, whose pages take longer to find than to write."""


def quadratic(data: bytes) -> None:
    for at in range(0, len(data), 64):
        data[at:].count(b"x")


def linear(data: bytes) -> None:
    data.count(b"x")


def in_new_memory(data: bytes) -> None:
    """Write to memory that the kernel has to find for the longest input only, as if shorter ones fitted into what is
    free.
    """
    if len(data) > SIZES[-2]:
        bytearray(b"x") * MEMORY


@pytest.mark.parametrize(("run", "is_found"), [(quadratic, True), (linear, False), (in_new_memory, False)])
def test_finds_what_grows_faster_than_its_input(run, is_found):
    assert (find_fast_growth(FuzzTarget(run, (b",",), grown=COMMAS), 0.1) is not None) == is_found
