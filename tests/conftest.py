"""Fixtures of all tests: the small internet, and the skips of what a machine may lack."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_internet import SmallInternet, small_internet

ROOT = Path(__file__).resolve().parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips by marker, each with its reason, so that the suite passes on a bare machine and says what it left out."""
    lacking = {
        "shared": None if SHARED_DATA.is_dir() else "there is no folder ../shared/data of real lists, packets and requests",
        "root": None if os.geteuid() == 0 else "this needs root rights",
        "browser": None if shutil.which("chromium") else "Chromium is not installed",
    }
    for item in items:
        for marker, reason in lacking.items():
            if reason and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real lists, packets and requests; for tests marked `shared`."""
    return SHARED_DATA


@pytest.fixture(scope="session")
def whole_internet() -> Iterator[SmallInternet]:
    """One small internet for the whole run. Tests that count or break things take `internet`."""
    with small_internet() as net:
        yield net


@pytest.fixture
def internet(whole_internet: SmallInternet) -> SmallInternet:
    """The small internet with its counters at zero."""
    whole_internet.nameserver.forget_queries()
    whole_internet.origins.forget_connections()
    return whole_internet
