"""Parsers that meet strangers' bytes, each as a function of bytes for a fuzzer, with seeds.

A target must return, or raise one of its declared errors, which is how it refuses. Anything else is a finding: another
exception, a failed assertion, more time or memory than the fuzzer's limits, or time that grows faster than the input
(`input_growth`).
"""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path

from fuzz_targets import content, control, dns, lists, proxy, services
from fuzz_targets.target import FuzzTarget

FEATURES = Path(__file__).parents[2] / "features"


def _of_features() -> Iterator[tuple[str, FuzzTarget]]:
    """Yield the targets in `fuzz_targets.py` of each feature's tests."""
    for file in sorted(FEATURES.glob("*/fuzz_targets.py")):
        yield from runpy.run_path(str(file))["TARGETS"].items()


TARGETS: dict[str, FuzzTarget] = {
    **dns.TARGETS,
    **proxy.TARGETS,
    **content.TARGETS,
    **lists.TARGETS,
    **control.TARGETS,
    **services.TARGETS,
    **dict(_of_features()),
}
"""The targets by name."""
