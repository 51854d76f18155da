"""A running web server with an empty journal and the status of a healthy Hedgerow for each test."""

import pytest
from playwright.sync_api import expect
from small_internet.browser import FOR_PAGES, browser_for_pages
from web_server import running_web

FAMILY = """\
# The family's policy.
network:
  timezone: Europe/Lisbon
  country: PT          # whose helplines are shown

people:
  mia:
    age: 9             # she will be ten in May
    devices: [mia-tablet]
    # no games before supper
    block: [roblox]
  tom:
    age: 15

devices:
  mia-tablet: {mac: "aa:bb:cc:dd:ee:ff"}   # with a crack
"""


expect.set_options(timeout=60_000)  # a busy machine takes its time


@pytest.fixture(scope="module")
def chromium():
    """One browser for a file's tests, each of which opens contexts of its own.

    An event loop runs meanwhile: asyncio.run needs a thread.
    """
    if not FOR_PAGES.exists():
        pytest.skip("needs Debian's chromium")
    with browser_for_pages() as browser:
        yield browser


@pytest.fixture
def family_state(tmp_path):
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    (state / "hedgerow.yaml").write_text(FAMILY)
    return state


@pytest.fixture
def web(family_state):
    with running_web(family_state) as running:
        yield running


@pytest.fixture
def new_web(family_state):
    """The server of a first start: nobody has set a password."""
    with running_web(family_state, has_password=False) as running:
        yield running
