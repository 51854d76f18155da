"""Work grows no faster than a stranger's input: four times the octets cost at most eight times the CPU time, in every
target.
"""

from __future__ import annotations

import pytest
from fuzz_targets import TARGETS
from input_growth import SIZES, find_fast_growth

SECONDS, QUICK_SECONDS = 0.3, 0.15
"""CPU seconds for each target. `make fuzz` takes as many as it has."""


@pytest.mark.parametrize("name", TARGETS)
def test_work_grows_no_faster_than_the_input(name, is_quick):
    """The quick tier tries inputs of up to 64 kB."""
    seconds, largest = (QUICK_SECONDS, SIZES[-2]) if is_quick else (SECONDS, SIZES[-1])
    found = find_fast_growth(TARGETS[name], seconds, largest)
    assert found is None, str(found)
