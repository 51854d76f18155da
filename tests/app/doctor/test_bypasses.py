"""Advice of `hedgerow doctor DEVICE`."""

from __future__ import annotations

from pathlib import Path

import pytest

from hedgerow.app.doctor.bypasses import CHECKS, CheckedDevice
from hedgerow.app.snapshot import LoadedSnapshot, Snapshot
from hedgerow.blocklists.compiler import compile_generation
from hedgerow.network.gateway_rules import Gateway, RedirectPorts
from hedgerow.policies.explain import find_device
from hedgerow.policies.reading.load import parse_policy

POLICY = "devices: {tablet: {ip: 192.168.1.10, profile: child-8-12}}\nprofiles: {child-8-12: {block: [bypass]}}\n"


@pytest.mark.parametrize(
    ("gateway", "advised"),
    [
        (None, "hedgerow gateway apply"),
        (Gateway(("lan",), RedirectPorts(53)), "--transparent 0.0.0.0:3129"),
        (Gateway(("lan",), RedirectPorts(53, 3129)), ""),
    ],
)
def test_what_is_missing_is_advised(tmp_path: Path, gateway: Gateway | None, advised: str) -> None:
    compile_generation((), tmp_path / "generation")
    view = LoadedSnapshot(Snapshot(1, 0.0, parse_policy(POLICY.encode(), None), tmp_path / "generation"))
    device = find_device(view.rulesets, "tablet")
    assert device is not None
    subject = CheckedDevice(view, device, view.rulesets.ruleset(device, 0.0), gateway)
    found = {finding.what: finding for check in CHECKS for finding in check(subject)}
    mend = found["a page by its address"].mend
    assert advised in mend
    assert bool(mend) == bool(advised)
    if gateway is not None:
        assert "gateway apply" not in mend, "it is in place"
