"""Work grows no faster than a stranger's input: four times the octets cost at most eight times the CPU time, in every target."""

from __future__ import annotations

import pytest
from fuzz_targets import TARGETS
from input_growth import find_fast_growth

SECONDS = 0.4
"""CPU seconds for each target. `make fuzz` takes as many as it has."""


@pytest.mark.parametrize("name", TARGETS)
def test_work_grows_no_faster_than_the_input(name):
    found = find_fast_growth(TARGETS[name], SECONDS)
    assert found is None, str(found)
