"""Two machines that share a store."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from small_internet.running import Hedgerow, executable, hedgerow_command, without_internet


def join(first: Hedgerow, folder: Path) -> None:
    """Set up another machine in `folder`, by the line that the first one prints."""
    words = [executable(), "invite", "--address", "127.0.0.1", "--json", "--state", str(first.state)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=without_internet()) as inviting:
        assert inviting.stdout is not None
        line = json.loads(inviting.stdout.readline())["command"].split()
        policy = ("--policy", str(folder / "hedgerow.yaml"), "--state", str(folder / "state"))
        joined = hedgerow_command(*line[1:], *policy)
        assert joined.returncode == 0, joined.stderr
        assert "joined" in json.loads(inviting.stdout.readline())
        assert inviting.wait() == 0
    again = hedgerow_command(*line[1:], *policy)
    assert again.returncode == 1
    assert "The line is used up" in again.stderr
