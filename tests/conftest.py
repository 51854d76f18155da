"""Fixtures of all tests: the small internet, and the skips of what a machine may lack."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import server_logs
from hypothesis import HealthCheck, settings
from small_internet import SmallInternet, small_internet

ROOT = Path(__file__).resolve().parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"

# A loaded machine is slow, which is no mistake. In CI the examples are the same each time; elsewhere new ones are looked for.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ)
settings.load_profile("patient")

LONGEST = (
    *("lab/test_ways_round", "e2e/test_family_day", "packaging/test_debian", "e2e/test_browser_asks", "e2e/test_troubles"),
    *("e2e/test_examples", "e2e/test_two_machines", "lab/test_gateway", "e2e/test_list_updates", "e2e/test_silent_processes"),
    *("e2e/test_budget_in_fast_time", "e2e/test_starting_without_control", "e2e/test_many_sites", "e2e/test_cafe_day"),
    *("e2e/test_encrypted_dns", "e2e/test_random_walk", "lab/test_bridge", "lab/test_away", "e2e/test_household", "e2e/test_bad_input"),
    *("e2e/test_real_lists", "e2e/test_ten_seats", "e2e/test_mistakes", "dashboards/pages/test_browser", "proxy/gate/test_server"),
    *("proxy/inspection/test_inspector", "proxy/test_browser", "dashboards/pages/test_narrow_phones", "packaging/test_release"),
    *("app/control/test_list_jobs", "dashboards/test_attacks", "dashboards/pages/test_live", "proxy/test_recorded_browsing"),
    *("app/control/test_lists", "proxy/inspection/engine/test_http_layer", "dns/server/test_doh", "blocklists/test_real_lists"),
    *("proxy/gate/test_transparent", "dashboards/pages/test_switches", "dashboards/words/test_languages", "dashboards/pages/test_people"),
    *("app/test_supervisor", "app/commands/test_explain", "blocklists/test_archives", "dns/test_against_unbound"),
)
"""Files that take the longest, which begin first: side by side with the others, one of them would be what all wait for at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest first, and skips by marker, each with its reason, so that the suite says on a bare machine what it left out."""
    places = {ROOT / "tests" / f"{name}.py": place for place, name in enumerate(LONGEST)}
    if missing := [str(path) for path in places if not path.exists()]:
        raise pytest.UsageError(f"LONGEST in tests/conftest.py names files that do not exist: {', '.join(missing)}")
    items.sort(key=lambda item: places.get(item.path, len(places)))
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
def _log_listener() -> None:
    server_logs.listen()


@pytest.fixture(autouse=True)
def _no_traceback(request: pytest.FixtureRequest, _log_listener: None) -> Iterator[None]:
    """Fails a test during which a server logged a traceback."""
    server_logs.take()
    yield
    found = server_logs.take()
    if found and request.node.get_closest_marker("provokes_traceback") is None:
        pytest.fail("a server logged a traceback:\n" + "\n".join(each[-6000:] for each in found))


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
