"""Chromium behind the gate of a stand."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from proxy_stand.stand import Stand

CHROMIUM = Path("/usr/bin/chromium")


def launched(playwright: Any, stand: Stand, home: Path, authorities: list[Path]) -> Any:
    """A browser whose user has installed these authorities."""
    keys = home / ".pki" / "nssdb"
    keys.mkdir(parents=True)
    subprocess.run(["certutil", "-d", f"sql:{keys}", "-N", "--empty-password"], check=True)
    for number, authority in enumerate(authorities):
        subprocess.run(["certutil", "-d", f"sql:{keys}", "-A", "-t", "C,,", "-n", f"ca {number}", "-i", str(authority)], check=True)
    proxy = {"server": f"http://127.0.0.1:{stand.gate.port}"}
    environment = {**os.environ, "HOME": str(home)}
    options = {"executable_path": str(CHROMIUM), "args": ["--no-sandbox", "--disable-gpu"], "env": environment}
    return playwright.chromium.launch(proxy=proxy, **options)
