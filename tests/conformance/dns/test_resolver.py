"""The short form of `make conformance` for DNS: all cases, against Hedgerow alone."""

from __future__ import annotations

import shutil

import pytest
from dns_conformance.suites import run_all
from small_internet.whole import SmallInternet

CASES = 160


@pytest.mark.skipif(
    not (shutil.which("knotd") and shutil.which("unbound")), reason="knotd and unbound are not both installed"
)
def test_every_case(whole_internet: SmallInternet) -> None:
    found = list(run_all("Hedgerow", whole_internet))
    assert len(found) >= CASES
    assert [f"{each.area}: {each.case} (RFC {each.section}): {each.seen}" for each in found if not each.passed] == []
