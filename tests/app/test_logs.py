"""Log lines as a terminal shows them, and as systemd's journal reads them."""

from __future__ import annotations

import os
import subprocess
import sys

LOGGING = """
import logging
from hedgerow.app.logs import start_logs
start_logs("dns", "debug", False)
log = logging.getLogger("hedgerow.example")
log.debug("seen"); log.info("started"); log.warning("late"); log.error("broken")
try:
    1 / 0
except ZeroDivisionError:
    log.critical("divided", exc_info=True)
"""


def _logged(journal_stream: str | None) -> list[str]:
    """Return the lines that a process writes to a pipe. `{}` in `journal_stream` stands for the pipe as systemd names it."""
    reading, writing = os.pipe()
    found = os.fstat(writing)
    stream = {} if journal_stream is None else {"JOURNAL_STREAM": journal_stream.format(f"{found.st_dev}:{found.st_ino}")}
    with os.fdopen(reading) as lines:
        subprocess.run((sys.executable, "-P", "-c", LOGGING), stderr=writing, check=True, env=os.environ | stream)
        os.close(writing)
        return lines.read().splitlines()


def test_lines_have_a_priority_and_no_time_where_the_journal_reads_them() -> None:
    lines = _logged("{}")
    assert [line[:3] for line in lines[:4]] == ["<7>", "<6>", "<4>", "<3>"]
    assert lines[2].startswith("<4>dns[")
    assert lines[2].endswith("]: late")
    assert len(lines) > 5, "the traceback follows the last message"
    assert {line[:3] for line in lines[4:]} == {"<2>"}


def test_lines_have_a_time_and_a_level_where_something_else_reads_them() -> None:
    for stream in (None, "1:1"):
        lines = _logged(stream)
        assert lines[2].split(" ", 2)[2].endswith("] warning: late")
        assert not any(line.startswith("<") for line in lines)
