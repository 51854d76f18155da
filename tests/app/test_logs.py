"""Log lines as a terminal shows them, and as systemd's journal reads them."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import pytest
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

from hedgerow.app.logs import (
    MOST_ALIKE,
    MOST_TRACEBACKS,
    JournalFormatter,
    JsonFormatter,
    PlainFormatter,
    RepetitionFilter,
    RoleFormatter,
)

LOGGING = """
import logging
from hedgerow.app.logs import start_logs
start_logs("dns", "debug", False)
logging.getLogger("httpx").info("an address with a secret in it")
log = logging.getLogger("hedgerow.example")
log.debug("seen"); log.info("started"); log.warning("late"); log.error("broken")
try:
    1 / 0
except ZeroDivisionError:
    log.critical("divided", exc_info=True)
"""


def _logged(journal_stream: str | None) -> list[str]:
    """Return the lines that a process writes to a pipe.

    `{}` in `journal_stream` stands for the pipe as systemd names it.
    """
    reading, writing = os.pipe()
    found = os.fstat(writing)
    stream = (
        {} if journal_stream is None else {"JOURNAL_STREAM": journal_stream.format(f"{found.st_dev}:{found.st_ino}")}
    )
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
    assert not any("secret" in line for line in lines), "libraries log nothing below warnings"


def test_lines_have_a_time_and_a_level_where_something_else_reads_them() -> None:
    for stream in (None, "1:1"):
        lines = _logged(stream)
        assert lines[2].split(" ", 2)[2].endswith("] warning: late")
        assert not any(line.startswith("<") for line in lines)


FORGED = "x\n<2>2026-01-01 00:00:00 control[1] error: all is lost\r\x1b[2J\x9b\u202e\x00"


@pytest.mark.parametrize("made", [PlainFormatter, JournalFormatter, JsonFormatter])
def test_what_strangers_send_makes_no_line_of_its_own(made: type[RoleFormatter]) -> None:
    record = logging.LogRecord("hedgerow.example", logging.ERROR, __file__, 1, "odd name %s é", (FORGED,), None)
    line = made("dns").format(record)
    assert line.isprintable()
    assert "é" in line
    long = logging.LogRecord("hedgerow.example", logging.ERROR, __file__, 1, "long %s", ("x" * 1_000_000,), None)
    assert len(made("dns").format(long)) < 4200


def _record(text: str, value: int, when: float, error: BaseException | None = None) -> logging.LogRecord:
    exc_info = None if error is None else (type(error), error, error.__traceback__)
    record = logging.LogRecord("hedgerow.example", logging.ERROR, __file__, 1, text, (value,), exc_info)
    record.created = when
    return record


def _failure(value: int) -> Exception:
    try:
        [][value]
    except IndexError as error:
        return error
    raise AssertionError


def test_a_fault_that_is_repeated_is_logged_a_few_times_per_minute() -> None:
    limit = RepetitionFilter()
    written = [limit.filter(_record("broken %d", number, 1000.0, _failure(number))) for number in range(500)]
    assert written.count(True) == MOST_TRACEBACKS
    assert limit.filter(_record("other %d", 0, 1000.0, _failure(0))), "another kind has a limit of its own"
    assert limit.filter(_record("broken %d", 0, 1000.0, ValueError())), "and so has another error"
    again = _record("broken %d", 7, 1061.0, _failure(7))
    assert limit.filter(again)
    assert again.getMessage() == f"broken 7 (and {500 - MOST_TRACEBACKS} times more since the last time)"


def test_lines_without_an_error_are_limited_too() -> None:
    limit = RepetitionFilter()
    written = [limit.filter(_record("late %d", number, 1000.0 + number)) for number in range(59)]
    assert written.count(True) == MOST_ALIKE
    assert written[0]
    assert all(limit.filter(_record(f"another {number} %d", 0, 1000.0)) for number in range(1000))


class _Written(logging.Handler):
    """The records that pass the filter."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.addFilter(RepetitionFilter())

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def test_a_library_that_puts_values_into_its_lines_is_limited_too() -> None:
    """Anybody can send malformed forms: each is logged with the place of its mistake."""
    written, logger = _Written(), logging.getLogger("python_multipart")
    logger.addHandler(written)
    try:
        for length in range(1, 500):
            with pytest.raises(FormParserError):
                MultipartParser(b"XX").write(b"--XX\r\n" + b"a" * length + b" b: c\r\n\r\n")
    finally:
        logger.removeHandler(written)
    assert written.texts[0] != written.texts[1]
    assert len(written.texts) == MOST_ALIKE
