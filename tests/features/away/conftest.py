"""A running web server with a family's policy for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from web_server import Web, running_web

FAMILY = """\
network: {timezone: Europe/Lisbon}
people: {mia: {age: 9, devices: [mia-tablet]}}
devices: {mia-tablet: {mac: "aa:bb:cc:dd:ee:ff"}}
"""


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "state" / "hedgerow.yaml").write_text(FAMILY)
    with running_web(tmp_path / "state") as running:
        yield running
