"""One running web for all tests of a file; each test starts with an empty journal and the status of a healthy Hedgerow."""

import pytest
from web_server import running_web


@pytest.fixture
def web(tmp_path):
    with running_web(tmp_path / "state") as running:
        yield running
