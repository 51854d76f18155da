"""Imports of each process: heavy libraries that it does not need are absent."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hedgerow.journal.database import migrate_journal

HEAVY = (
    *("pyroute2", "pydantic", "sqlalchemy", "fastapi", "httpx", "babel", "typer", "apprise", "psycopg"),
    *("importlib.metadata", "plistlib"),
)
NOT_IN_CONTROL = (
    "fastapi",
    "segno",
    "hedgerow.dashboards.pages.router",
    "pyroute2",
    "sqlalchemy.orm",
    "alembic",
    "apprise",
    "psycopg",
    "mitmproxy",
    "typer",
    "httpx",
    "ruamel.yaml",
)
PREPARED = """
import sys
from pathlib import Path
from hedgerow.app.processes import prepare_in_child
from hedgerow.app.settings import Endpoint, Settings
prepare_in_child(Settings(Path(sys.argv[1]), None, *[Endpoint("127.0.0.1", 1)] * 3))
print(*(name for name in ("alembic", "mako") if name in sys.modules))
"""
NOT_IN_COMPILER = (*HEAVY, "asyncio", "logging", "ssl")
LOADED = "import sys; import hedgerow.app.{0}; print(*(name for name in {1} if name in sys.modules))"


@pytest.mark.parametrize(
    ("process", "heavy"),
    [
        ("workers.dns_worker", HEAVY),
        ("workers.gate_worker", HEAVY),
        ("workers.inspector_worker", HEAVY),
        ("control.process", NOT_IN_CONTROL),
        ("control.lists.list_jobs", NOT_IN_COMPILER),
        ("signer", (*HEAVY, "asyncio", "ssl", "idna", "uvloop", "mitmproxy")),
    ],
)
def test_processes_stay_light(process: str, heavy: tuple[str, ...]) -> None:
    words = [sys.executable, "-P", "-c", LOADED.format(process, heavy)]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout.split() == []


def test_control_never_loads_the_tools_that_prepare_its_journal(tmp_path: Path) -> None:
    words = [sys.executable, "-P", "-c", PREPARED, str(tmp_path)]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout.split() == []
    assert not migrate_journal(tmp_path / "journal.sqlite"), "it is prepared all the same"
