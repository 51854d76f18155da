"""What a process does not need is not loaded into it, where each of these would take ten megabytes and more."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("pyroute2", "pydantic", "sqlalchemy", "fastapi", "httpx", "babel", "typer", "apprise")
NOT_IN_CONTROL = ("pyroute2", "sqlalchemy.orm", "alembic", "apprise", "mitmproxy", "typer")
LOADED = "import sys; import hedgerow.app.{0}; print(*(name for name in {1} if name in sys.modules))"


@pytest.mark.parametrize(
    ("process", "heavy"),
    [
        ("workers.dns_worker", HEAVY),
        ("workers.gate_worker", HEAVY),
        ("workers.inspector_worker", HEAVY),
        ("control.process", NOT_IN_CONTROL),
    ],
)
def test_processes_stay_light(process: str, heavy: tuple[str, ...]) -> None:
    words = [sys.executable, "-P", "-c", LOADED.format(process, heavy)]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout.split() == []
