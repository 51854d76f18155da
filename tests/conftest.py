"""Fixtures of all tests: the small internet, and the skips of what a machine may lack."""

from __future__ import annotations

import gc
import json
import os
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path

import failed_tests
import pytest
import server_logs
from hypothesis import HealthCheck, settings
from no_publishers import refuse_publishers
from shared_servers import file_of, shared_servers
from small_internet import SmallInternet, small_internet

refuse_publishers()
gc.disable()  # until all is collected: each collection would look at thousands of modules and tests that stay

ROOT = Path(__file__).resolve().parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"

# A loaded machine is slow, which is no mistake. In CI the examples are the same each time; elsewhere new ones are
# looked for.
settings.register_profile(
    "patient", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ
)
settings.register_profile("quick", settings.get_profile("patient"), max_examples=20)
settings.load_profile("patient")

SECONDS: dict[str, float] = json.loads((ROOT / "tests" / "seconds.json").read_text(encoding="utf-8"))
"""Seconds that each file took when they were last recorded (`make test-times`)."""
UNKNOWN_S = 10.0
"""Assumed for a file that is new."""

SERVICES = frozenset({"whole_internet", "postgres", "chromium", "browser", "stand", "_stand", "family"})
"""Fixtures that start servers, browsers or processes.

Tests with one of them have the marker `service`: `make quick` leaves them out.

`tools/run_tests.py` leaves out slow files too, whatever they start.
"""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that share a server one after the other, and the longest files first, so that none is left at the
    end for all to wait for.

    Mark what needs services, and skip what can't run.

    Each skip has a reason, so that a bare machine says what it left out.
    """
    shared_servers.note_users(items)
    items.sort(key=lambda item: (shared_servers.turn_of(item), -SECONDS.get(file_of(item), UNKNOWN_S)))
    for item in items:
        if not SERVICES.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.service)
    lacking = {
        "shared": None
        if SHARED_DATA.is_dir()
        else "there is no folder ../shared/data of real lists, packets and requests",
        "root": None if os.geteuid() == 0 else "this needs root rights",
        "browser": None if shutil.which("chromium") else "Chromium is not installed",
    }
    for item in items:
        for marker, reason in lacking.items():
            if reason and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    shared_servers.end_unused(nextitem)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Free what a test that failed has left open before the next one begins."""
    before = item.session.testsfailed
    answer = yield
    if item.session.testsfailed > before:
        failed_tests.let_go()
    return answer


def pytest_collection_finish() -> None:
    """Leave thousands of tests and modules out of each garbage collection from now on."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)  # each test makes the objects of a whole application, which are soon free
    gc.enable()


@pytest.fixture(scope="session")
def is_quick(pytestconfig: pytest.Config) -> bool:
    """This is a run of `make quick`, in which tests that search take less time."""
    return pytestconfig.getoption("hypothesis_profile") == "quick"


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
