"""Logging to standard error: one line per event, as text or JSON, with systemd's priorities where the
journal reads it.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time

_LONGEST = 4000
"""Characters of a message that are written."""


class RoleFormatter(logging.Formatter):
    """A format for the records of a process with a role, such as `dns`."""

    def __init__(self, role: str) -> None:
        super().__init__()
        self._role = role


class PlainFormatter(RoleFormatter):
    """`2026-01-31 08:00:00 dns[412] info: message`."""

    def format(self, record: logging.LogRecord) -> str:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        text = f"{when} {self._role}[{record.process}] {record.levelname.lower()}: {_shown(record)}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


class JsonFormatter(RoleFormatter):
    """One JSON object per line: time (seconds since the epoch), level, role, process, logger, message, and the error if
    any.
    """

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "role": self._role,
            "process": record.process,
            "logger": record.name,
            "message": _shown(record),
        }
        if record.exc_info:
            entry["error"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


class JournalFormatter(RoleFormatter):
    """`<4>dns[412]: message`: the priority as in sd-daemon(3), on every line; the journal adds the time."""

    def format(self, record: logging.LogRecord) -> str:
        text = f"{self._role}[{record.process}]: {_shown(record)}"
        if record.exc_info:
            text += f"\n{self.formatException(record.exc_info)}"
        level = next(priority for least, priority in _PRIORITIES if record.levelno >= least)
        return "\n".join(f"<{level}>{line}" for line in text.split("\n"))


def _shown(record: logging.LogRecord) -> str:
    """Return a message as one line that a terminal can show: what strangers send may be part of it."""
    text = record.getMessage()
    short = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in short)


MOST_ALIKE, MOST_TRACEBACKS = 30, 3
"""Records of one kind, and of those with a traceback, that are written per minute."""

_MINUTE = 60.0
_MOST_KINDS = 256


class RepetitionFilter(logging.Filter):
    """A limit per kind of record from info on, so that nobody fills the disk or hides other records by repeating a
    fault.

    Records are of one kind if they have the same logger and text, whatever values are put into it. Some libraries put
    in the values themselves: without values, the line that logs counts instead of the text. If there is an error, its
    type and the line that raised it count too. The next record after a minute says how many were left out.
    """

    def __init__(self) -> None:
        super().__init__()
        # the minute's begin, and the number of its records, by kind
        self._seen: dict[tuple[object, ...], list[float]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.INFO:
            return True
        text = (record.msg,) if record.args else (record.pathname, record.lineno)
        kind = (record.name, record.levelno, *text, *_place_of_error(record))
        if kind not in self._seen and len(self._seen) >= _MOST_KINDS:
            self._seen.clear()
        minute = self._seen.setdefault(kind, [record.created, 0])
        most = MOST_TRACEBACKS if record.exc_info else MOST_ALIKE
        if not 0 <= record.created - minute[0] < _MINUTE:
            if (omitted := minute[1] - most) > 0:
                record.msg, record.args = (
                    f"{record.getMessage()} (and {omitted:.0f} times more since the last time)",
                    None,
                )
            minute[:] = [record.created, 0]
        minute[1] += 1
        return minute[1] <= most


def _place_of_error(record: logging.LogRecord) -> tuple[object, ...]:
    if not record.exc_info or (place := record.exc_info[2]) is None:
        return ()
    while place.tb_next is not None:
        place = place.tb_next
    return (record.exc_info[0], place.tb_frame.f_code.co_filename, place.tb_lineno)


_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (logging.NOTSET, 7))
"""The lowest level of each of syslog's priorities (RFC 5424, section 6.2.1)."""


def _is_read_by_journal() -> bool:
    """Return whether standard error is the stream that systemd names in JOURNAL_STREAM (systemd.exec(5))."""
    try:
        found = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def start_logs(role: str, level: str, as_json: bool) -> None:
    """Log our records from `level` on, and those of libraries from warning on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(RepetitionFilter())
    if as_json:
        handler.setFormatter(JsonFormatter(role))
    else:
        handler.setFormatter(JournalFormatter(role) if _is_read_by_journal() else PlainFormatter(role))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("hedgerow").setLevel(level.upper())
