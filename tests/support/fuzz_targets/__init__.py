"""Parsers that meet strangers' bytes, each as a function of bytes for a fuzzer, with seeds.

A target must return, or raise one of its declared errors, which is how it refuses. Anything else is a finding: another exception, a failed
assertion, more time or memory than the fuzzer's limits, or time that grows faster than the input (`input_growth`).
"""

from __future__ import annotations

from fuzz_targets import content, control, dns, lists, proxy, services
from fuzz_targets.target import FuzzTarget

TARGETS: dict[str, FuzzTarget] = {
    **dns.TARGETS,
    **proxy.TARGETS,
    **content.TARGETS,
    **lists.TARGETS,
    **control.TARGETS,
    **services.TARGETS,
}
"""The targets by name."""
