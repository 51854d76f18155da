"""The logs of servers that tests run: whole Hedgerows, the proxy's stands, and DNS and proxy in the test's own process.

A traceback in one of them, or the line of an error that no code expected, fails the test, unless it is marked
`provokes_traceback`. Nothing that a client, an origin or an upstream sends may lead to one: each is an error that
nobody thought of.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

SIGN = "Traceback (most recent call last)"
_SIGNS = (SIGN, "error: Unexpected error: ", "error: This process ends by an error: ", "error: The task ")
_NETWORK = ("hedgerow.dns", "hedgerow.proxy", "hedgerow.tasks")

_watched: dict[Path, int] = {}
_found: list[str] = []


@contextlib.contextmanager
def watched(log: Path) -> Iterator[None]:
    """Read a server's log from its present end until the block ends."""
    _watched[log] = log.stat().st_size if log.exists() else 0
    try:
        yield
    finally:
        _read(log)
        del _watched[log]


def _read(log: Path) -> None:
    if not log.exists():
        return
    with log.open("rb") as file:
        file.seek(_watched[log])
        text = file.read()
    _watched[log] += len(text)
    if any(sign in (decoded := text.decode(errors="replace")) for sign in _SIGNS):
        _found.append(decoded)


class _Handler(logging.Handler):
    """Notes what servers in the test's own process log."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[0] is not None:
            _found.append(f"{SIGN}\n{logging.Formatter().format(record)}")


def listen() -> None:
    """Note the tracebacks of servers in this process from now on."""
    for name in _NETWORK:
        logging.getLogger(name).addHandler(_Handler(logging.ERROR))


def take() -> list[str]:
    """Return the pieces of logs with tracebacks since the last call."""
    for log in tuple(_watched):
        _read(log)
    found = _found.copy()
    _found.clear()
    return found
