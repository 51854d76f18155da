"""Budget of one client's HTTP/2 frames, charged by their headers before h2 parses them (RFC 9113, sections 4.1 and 10.5).

Frames without data cost the server far more than their sender: PING, SETTINGS, PRIORITY and WINDOW_UPDATE frames, requests that are
cancelled at once (CVE-2023-44487), and empty DATA frames. Each costs tokens. Time and answered requests restore tokens, and octets sent to
the client pay for its WINDOW_UPDATE frames. The caller closes the connection of a client without tokens with ENHANCE_YOUR_CALM.

Protocol code: no sockets, no clock, no files.
"""

from __future__ import annotations

from typing import Final

MAX_TOKENS: Final = 2000
"""Tokens of a new connection, and its maximum: enough to cancel two pages of a hundred requests each at once."""

TOKENS_PER_SECOND: Final = 20

ANSWER_TOKENS: Final = 8
"""Tokens for an answered request: more than the request cost."""

OCTETS_PER_UPDATE: Final = 2048
"""Octets sent to the client that pay for one WINDOW_UPDATE: some clients send two for every 4 KiB, for the stream and the connection."""

MAX_UPDATES: Final = 8192
"""WINDOW_UPDATE frames that can be paid in advance: for 16 MiB in flight to the client."""

TURN_TOKENS: Final = 200
"""Tokens of frames after which other connections have their turn."""

TURN_OCTETS: Final = 32 * 1024
"""Octets after which other connections have their turn."""

SHORT_DATA: Final = 64
"""Octets below which a DATA frame costs as much as a control frame."""

_PREFACE: Final = 24  # octets of "PRI * HTTP/2.0 ...", which come before the first frame
_HEADER: Final = 9
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _WINDOW_UPDATE = 0, 1, 3, 4, 8
_PADDED: Final = 0x8
_COSTS: Final = {_HEADERS: 4, _RST_STREAM: 4, _SETTINGS: 10}


class FrameBudget:
    """Tokens of one connection to a client.

    >>> budget = FrameBudget()
    >>> pings = bytes(24) + b"\\0\\0\\x08\\x06\\0\\0\\0\\0\\0pingpong" * 500
    >>> budget.take(pings, now=0.0) < len(pings), budget.is_spent
    (True, False)
    """

    __slots__ = ("_header", "_left", "_now", "_tokens", "_updates")

    def __init__(self) -> None:
        self._tokens = float(MAX_TOKENS)
        self._updates = 0.0
        self._now: float | None = None
        self._left = _PREFACE  # octets still missing of the preface or a frame's payload
        self._header = b""

    @property
    def is_spent(self) -> bool:
        """The client has sent more than its budget allows."""
        return self._tokens < 0

    def take(self, data: bytes | bytearray, now: float) -> int:
        """Charge for the frames in `data`. Return the number of octets to process in this turn of the event loop.

        The caller passes the rest again in a later turn, with octets received since. `now` is in seconds of any steady clock.
        """
        if self._now is not None:
            self._add((now - self._now) * TOKENS_PER_SECOND)
        self._now = now
        at, end, cost = 0, min(len(data), TURN_OCTETS), 0.0
        while at < end and cost < TURN_TOKENS and not self.is_spent:
            if self._left:
                passed = min(self._left, end - at)
                self._left -= passed
                at += passed
                continue
            piece = data[at : min(at + _HEADER - len(self._header), end)]
            self._header += piece
            at += len(piece)
            if len(self._header) == _HEADER:
                header, self._header = self._header, b""
                self._left = int.from_bytes(header[:3])
                cost += self._charge(header[3], header[4])
        return at

    def answered(self) -> None:
        """Record an answered request."""
        self._add(ANSWER_TOKENS)

    def sent(self, octets: int) -> None:
        """Record octets sent to the client."""
        self._updates = min(self._updates + octets / OCTETS_PER_UPDATE, MAX_UPDATES)

    def _charge(self, kind: int, flags: int) -> int:
        """Charge for a frame whose payload is still missing. Return the tokens."""
        if kind == _DATA and self._left >= SHORT_DATA and not flags & _PADDED:
            return 0
        cost = _COSTS.get(kind, 1)
        if kind == _WINDOW_UPDATE and self._updates >= 1:
            self._updates -= 1
        else:
            self._tokens -= cost
        return cost

    def _add(self, tokens: float) -> None:
        if not self.is_spent:
            self._tokens = min(self._tokens + tokens, MAX_TOKENS)
