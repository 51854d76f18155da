"""Budgets of clients' HTTP/2 frames, charged by their headers before h2 parses them (RFC 9113, sections 4.1 and 10.5).

Frames without data cost the server far more than their sender: PING, SETTINGS, PRIORITY and WINDOW_UPDATE frames,
requests that are cancelled at once (CVE-2023-44487), and empty DATA frames. Each costs tokens, and so do the octets of
header blocks, which take longer to decode than DATA. Time and answered requests restore tokens, and octets sent to the
client pay for its WINDOW_UPDATE frames. The caller closes the connection of a client without tokens with
ENHANCE_YOUR_CALM. All connections of a client may share its tokens, so that connecting again gains nothing.

Two faults that h2 ignores, or ends with another code than RFC 9113 demands, are found here too: the first frame is not
SETTINGS (section 3.4), and an acknowledgement of settings has a payload (section 6.5).

Protocol code: no sockets, no clock, no files.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from h2.errors import ErrorCodes

MAX_TOKENS: Final = 2000
"""Tokens of a new client, and the maximum: enough to cancel two pages of a hundred requests each at once."""

TOKENS_PER_SECOND: Final = 20

ANSWER_TOKENS: Final = 8
"""Tokens for an answered request: more than the request cost."""

OCTETS_PER_UPDATE: Final = 2048
"""Octets sent to the client that pay for one WINDOW_UPDATE: some clients send two for every 4 KiB, for the stream and
the connection.
"""

MAX_UPDATES: Final = 8192
"""WINDOW_UPDATE frames that can be paid in advance: for 16 MiB in flight to the client."""

TURN_TOKENS: Final = 200
"""Tokens of frames after which other connections have their turn."""

TURN_OCTETS: Final = 32 * 1024
"""Octets after which other connections have their turn."""

SHORT_DATA: Final = 64
"""Octets below which a DATA frame costs as much as a control frame."""

BLOCK_OCTETS: Final = 2048
"""Octets of a header block that cost a token. An answer pays for the cookies of its request."""

MAX_BLOCK: Final = 64 * 1024
"""Octets of one header block, with its CONTINUATION frames.

Nobody needs more, and they are kept until the block is complete.
"""

PREFACE_OCTETS: Final = 24  # octets of "PRI * HTTP/2.0 ...", which come before the first frame
_HEADER: Final = 9
_START: Final = Struct(">BHBB")  # of a header: the length in two parts, kind, flags
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _WINDOW_UPDATE, _CONTINUATION = 0, 1, 3, 4, 8, 9
_PADDED: Final = 0x8
_END_HEADERS: Final = 0x4
_ACK: Final = 0x1
_COSTS: Final = {_HEADERS: 4, _RST_STREAM: 4, _SETTINGS: 10}


class FrameTokens:
    """Tokens for `connections` that use up theirs. `now` is in seconds of any steady clock, the same in all calls.

    The tokens of a connection may be part of its `device`'s: whatever changes them changes the device's too.
    """

    __slots__ = ("_at", "_connections", "_device", "left")

    def __init__(self, connections: int = 1, device: FrameTokens | None = None) -> None:
        self.left = float(connections * MAX_TOKENS)
        self._connections = connections
        self._device = device
        self._at: float | None = None

    @property
    def is_overspent(self) -> bool:
        return self.left < 0 or (self._device is not None and self._device.left < 0)

    @property
    def is_full(self) -> bool:
        """True if no token is missing."""
        return self.left >= self._connections * MAX_TOKENS

    def charge(self, tokens: float) -> None:
        self.left -= tokens
        if self._device is not None:
            self._device.charge(tokens)

    def refill(self, now: float) -> None:
        """Add the tokens of the time since the last call."""
        if self._at is not None:
            self._add(max(now - self._at, 0.0) * TOKENS_PER_SECOND * self._connections)
        self._at = now
        if self._device is not None:
            self._device.refill(now)

    def add(self, tokens: float) -> None:
        self._add(tokens)
        if self._device is not None:
            self._device.add(tokens)

    def _add(self, tokens: float) -> None:
        self.left = min(self.left + tokens, self._connections * MAX_TOKENS)


class FrameBudget:
    """The frames of one connection, charged to its client's `tokens`. A connection that has overspent stays so.

    The peer begins with `preface` octets, a server with none. `free_settings` SETTINGS frames cost nothing: every
    connection begins with two, which clients that connect for each request should not pay for where new connections are
    limited in another way.

    >>> budget = FrameBudget()
    >>> settings, ping = b"\\0\\0\\0\\4\\0\\0\\0\\0\\0", b"\\0\\0\\x08\\6\\0\\0\\0\\0\\0pingpong"
    >>> pings = bytes(24) + settings + ping * 500
    >>> budget.take(pings, now=0.0) < len(pings), budget.is_spent
    (True, False)
    """

    __slots__ = (
        "_block",
        "_free_settings",
        "_has_settings",
        "_header",
        "_is_block_open",
        "_kind",
        "_left",
        "_tokens",
        "_updates",
        "fault",
    )

    def __init__(
        self, tokens: FrameTokens | None = None, free_settings: int = 0, preface: int = PREFACE_OCTETS
    ) -> None:
        self._tokens = tokens or FrameTokens()
        self._updates = 0.0
        self._free_settings = free_settings
        self._left = preface  # octets still missing of the preface or a frame's payload
        self._header = b""
        self._kind = _DATA  # of the last frame
        self._block = 0  # octets of the last header block so far
        self._is_block_open = False  # it continues with the next frame
        self._has_settings = False  # the client has begun with them
        self.fault: ErrorCodes | None = None  # the code with which the connection must end

    @property
    def is_spent(self) -> bool:
        """True if the client has sent more than its budget allows."""
        return self.fault is ErrorCodes.ENHANCE_YOUR_CALM

    def take(self, data: bytes | bytearray, now: float, most: int = TURN_TOKENS) -> int:
        """Charge for the frames in `data`. Return the number of octets to process in this turn of the event loop.

        The turn ends with the frame that costs the last of `most` tokens. The caller passes the rest again in a later
        turn, with octets received since. `now` is in seconds of any steady clock.
        """
        if self.fault is None:
            self._tokens.refill(now)
        at, end, cost = 0, min(len(data), TURN_OCTETS), 0.0
        while at < end and cost < most and self.fault is None:
            if self._left:
                passed = min(self._left, end - at)
                self._left -= passed
                at += passed
                continue
            piece = data[at : min(at + _HEADER - len(self._header), end)]
            self._header += piece
            at += len(piece)
            if len(self._header) == _HEADER:
                high, low, kind, flags = _START.unpack_from(self._header)
                self._left, self._header = high << 16 | low, b""
                cost += self._charge(kind, flags)
        return at

    @property
    def is_in_head(self) -> bool:
        """True if a header block or another frame than DATA is incomplete. DATA comes at the pace of an upload."""
        return bool(self._header) or self._is_block_open or (self._left > 0 and self._kind != _DATA)

    def answered(self) -> None:
        """Record an answered request."""
        if self.fault is None:
            self._tokens.add(ANSWER_TOKENS)

    def sent(self, octets: int) -> None:
        """Record octets sent to the client."""
        self._updates = min(self._updates + octets / OCTETS_PER_UPDATE, MAX_UPDATES)

    def _charge(self, kind: int, flags: int) -> int:
        """Charge for a frame whose payload is still missing. Return the tokens."""
        self._kind = kind
        if kind != _SETTINGS and not self._has_settings:
            self.fault = ErrorCodes.PROTOCOL_ERROR
        self._has_settings = True
        if kind == _DATA and self._left >= SHORT_DATA and not flags & _PADDED:
            return 0
        if kind == _SETTINGS and flags & _ACK and self._left:
            self.fault = ErrorCodes.FRAME_SIZE_ERROR
        if kind == _SETTINGS and self._free_settings:
            self._free_settings -= 1
            return 1
        cost = _COSTS.get(kind, 1)
        if kind in (_HEADERS, _CONTINUATION):
            self._block = self._left + (self._block if kind == _CONTINUATION else 0)
            self._is_block_open = not flags & _END_HEADERS
            cost += self._left // BLOCK_OCTETS
        if kind == _WINDOW_UPDATE and self._updates >= 1:
            self._updates -= 1
        else:
            self._tokens.charge(cost)
            if self._tokens.is_overspent or self._block > MAX_BLOCK:
                self.fault = ErrorCodes.ENHANCE_YOUR_CALM
        return cost
