"""What control alone needs is not loaded into the workers, where each of these would take ten megabytes and more."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("pyroute2", "pydantic", "sqlalchemy", "fastapi", "httpx", "babel", "typer", "apprise")
LOADED = "import sys; import hedgerow.app.workers.{0}; print(*(name for name in {1} if name in sys.modules))"


@pytest.mark.parametrize("worker", ["dns_worker", "gate_worker", "inspector_worker"])
def test_workers_stay_light(worker: str) -> None:
    words = [sys.executable, "-P", "-c", LOADED.format(worker, HEAVY)]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout.split() == []
