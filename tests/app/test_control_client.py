"""Commands use the Unix socket of the running Hedgerow only."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from hedgerow.app.settings import Endpoint, Settings


def test_a_foreign_listener_on_the_web_port_gets_no_connection(tmp_path: Path) -> None:
    """Hedgerow is stopped, and another user of the machine listens at its address."""
    with socket.create_server(("127.0.0.1", 0)) as impostor:
        impostor.setblocking(False)
        place = Endpoint("127.0.0.1", impostor.getsockname()[1])
        settings = Settings(tmp_path, None, place, place, place)
        settings.run.mkdir()
        settings.save()
        (tmp_path / "admin-token").write_text("a secret of the run before")
        ask = (
            "from pathlib import Path; from hedgerow.app.commands.options import call_api; call_api(Path({}), 'POST',"
            " '/pause')"
        )
        command = [sys.executable, "-P", "-c", ask.format(repr(str(tmp_path)))]
        # An impostor that says nothing would be waited for, were it asked.
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        with pytest.raises(BlockingIOError):
            impostor.accept()
    assert "is it running?" in done.stderr
