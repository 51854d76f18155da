"""Chromium behind a redirect: HTTP/2, WebSocket, events, ranges, download and upload, inspected and tunnelled."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from lab.spaces import spaces
from small_internet.bodies import body
from small_internet.browser import CAN_TRUST

pytestmark = [
    pytest.mark.root,
    pytest.mark.browser,
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("nft") is None, reason="network namespaces need root"),
    pytest.mark.skipif(not CAN_TRUST, reason="needs Debian's chromium and libnss3-tools"),
]
PROGRAM = Path(__file__).parents[1] / "support" / "lab" / "browsing.py"


def sha256(start: int, end: int) -> str:
    return hashlib.sha256(b"".join(body(end))[start:end]).hexdigest()


@pytest.mark.parametrize(
    ("host", "issuer", "blocked"),
    [
        ("www.school.example", "Hedgerow network CA", [403, "Hedgerow: blocked.\n"]),
        ("h2.example", "Small Internet", None),
    ],
)
def test_every_kind_of_exchange(tmp_path: Path, host: str, issuer: str, blocked: list[object] | None) -> None:
    path = f"PYTHONPATH={PROGRAM.parents[1]}"
    with spaces("browser") as (space,):
        done = space.run("env", path, sys.executable, "-P", str(PROGRAM), str(tmp_path), host, seconds=120)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert found["issuer"].startswith(issuer)
    assert found["protocol"] == "h2"
    assert len(found["events"]) == 3
    assert found["echoed"] == ["hello", "1,2,3"]
    assert found["part"] == [206, "bytes 500000-500099/1000000", sha256(500_000, 500_100)]
    assert found["whole"] == sha256(0, 20_000_000)
    assert found["upload"] == [5_000_000, True]
    assert found["blocked page"] == 403
    if blocked is not None:
        assert found["blocked"] == blocked
