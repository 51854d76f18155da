"""What `hedgerow lists` shows while it works: bars with sizes and times on a terminal, nothing elsewhere."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from list_server import ListServer, slowly

COMMAND = (str(Path(sys.executable).with_name("hedgerow")), "lists")


def seen_on_terminal(*arguments: str, cwd: Path) -> tuple[int, str]:
    """The exit status, and all that was written to a terminal."""
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "160"}
    with subprocess.Popen([*COMMAND, *arguments], cwd=cwd, env=environment, stdin=slave, stdout=slave, stderr=slave) as process:
        os.close(slave)
        written = b""
        try:
            while block := os.read(master, 65536):
                written += block
        except OSError:  # Linux says so when nobody holds the other end any more
            pass
        finally:
            os.close(master)
    return process.returncode, re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.decode())


def names(count: int) -> bytes:
    return "".join(f"name-{number}.example\n" for number in range(count)).encode()


def test_downloads_have_bars_with_sizes_and_times(tmp_path: Path) -> None:
    body = names(20_000)
    with ListServer().serving() as server:
        server.paths["/list"] = slowly(body, 1.5, says_length=True)
        (tmp_path / "hedgerow.yaml").write_text(f"lists: [{{category: adult, name: remote, url: '{server.root}/list'}}]\n")
        status, shown = seen_on_terminal("update", "--state", "state", cwd=tmp_path)
        assert status == 0, shown
        assert "remote: new" in shown
        assert len(set(re.findall(r"([\d.]+)/368.9 kB \d:\d\d:\d\d", shown))) > 2, shown
        assert "reading starter/" in shown
        assert "writing the index" in shown

        quiet = subprocess.run([*COMMAND, "update", "--state", "other"], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert "━" not in quiet.stdout + quiet.stderr
        assert "\x1b" not in quiet.stdout + quiet.stderr
