"""Handing a client's socket from a gate to an inspector, over a Unix socket.

The socket comes with a message: a header line with a signed, short-lived token that vouches for the client, and then
the client's own bytes as far as the gate has read them. Both processes read the key at their start.
"""

from __future__ import annotations

import array
import base64
import hashlib
import hmac
import os
import socket
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from hedgerow.proxy.http_head import Authority, HeadError, parse_authority
from hedgerow.values import value_dataclass

MAX_HANDOVER_HEADER = 1024
"""Bytes of the header line without its line end."""

TOKEN_SECONDS = 30.0
"""Seconds for which a token is valid after the gate signed it."""

_TOKEN_REUSE_SECONDS = 5.0
"""Seconds for which one token is used for all connections of a client, which opens many at a time."""

KEY_BYTES = 32

CHECKED, UNSIGNED = b"+", b"-"
"""Answers of an inspector to a trial of our own: it works, and it gets no certificates."""

TRIAL_ADDRESS = "trial"
"""The address of such a connection, which no client has. A certificate is wanted for its target."""


def load_handover_key(path: Path) -> bytes:
    """Read the key that the supervisor wrote at its start.

    Raises OSError, or ValueError if the file does not hold one.
    """
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise ValueError(f"{path} does not hold a key of {KEY_BYTES} bytes")
    return key


@value_dataclass(frozen=True, slots=True)
class HandoverHeader:
    """Header of a connection from the client at `address`.

    The client speaks TLS or HTTP to `target`, or, if that is None, HTTP to a proxy (by absolute URLs). `awaits_reply`:
    it has sent a CONNECT that the inspector has to answer.
    """

    address: str
    target: Authority | None
    awaits_reply: bool = False


def encode_handover_header(key: bytes, header: HandoverHeader, now: float) -> bytes:
    """The header line, with its line end; `now` in seconds since the epoch."""
    token = _issue_token(key, header.address, now // _TOKEN_REUSE_SECONDS * _TOKEN_REUSE_SECONDS)
    return f"{token} {header.target or '-'} {'waits' if header.awaits_reply else '-'}\r\n".encode()


def parse_handover_header(key: bytes, line: bytes, now: float) -> HandoverHeader | None:
    """Parse a header line without its line end; None if no gate wrote it.

    >>> who = HandoverHeader("192.0.2.7", Authority("a.example", 443))
    >>> line = encode_handover_header(b"k" * 32, who, 1000.0)[:-2]
    >>> parse_handover_header(b"k" * 32, line, 1010.0) == who, parse_handover_header(b"k" * 32, line, 1031.0)
    (True, None)
    """
    expires, header = _read_header(key, line)
    return header if now < expires else None


@lru_cache(256)
def _read_header(key: bytes, line: bytes) -> tuple[float, HandoverHeader | None]:
    """Return a header, and the end of its token's validity.

    A client that opens many connections to a host sends the same line.
    """
    token, _, rest = line.decode("latin-1").partition(" ")
    target, _, reply = rest.partition(" ")
    expires, address = _read_token(key, token)
    try:
        return expires, HandoverHeader(address, None if target == "-" else parse_authority(target), reply == "waits")
    except HeadError:
        return 0.0, None


@lru_cache(1024)
def _issue_token(key: bytes, address: str, now: float) -> str:
    """A token for the client at `address`, without spaces; `now` in seconds since the epoch."""
    text = f"{now + TOKEN_SECONDS:.0f} {address}".encode()
    return f"{_encode(text)}.{_encode(_sign(key, text))}"


def _read_token(key: bytes, token: str) -> tuple[float, str]:
    """Return the end of a token's validity, 0 if it is forged or malformed, and its address."""
    try:
        text, signature = (base64.urlsafe_b64decode(part) for part in token.split("."))
    except ValueError:
        return 0.0, ""
    if not hmac.compare_digest(signature, _sign(key, text)):
        return 0.0, ""
    expires, _, address = text.decode().partition(" ")
    return float(expires), address


def _sign(key: bytes, text: bytes) -> bytes:
    return hmac.digest(key, text, hashlib.sha256)


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode("ascii")


_MAX_INLINE = 16 * 1024
"""Bytes of a message that go in the datagram.

The rest of a longer one, such as an upload that has begun, goes in a memory file.
"""

_MAX_DATAGRAM = MAX_HANDOVER_HEADER + _MAX_INLINE
_DESCRIPTOR_BYTES = array.array("i").itemsize


class HandoverSender:
    """A gate's end of the Unix sockets of its inspectors."""

    def __init__(self, inspectors: Sequence[Path]) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._inspectors = tuple(str(path) for path in inspectors)
        self._turn = 0

    def hand_over(self, client: int, message: bytes) -> bool:
        """Send a client's socket, by its descriptor, to the next inspector in turn that takes it.

        The caller still closes its own.

        Returns False if no inspector has room at the moment. Raises OSError if none is running.
        """
        if len(message) <= _MAX_INLINE:
            return self._send(message, [client])
        file = os.memfd_create("message", os.MFD_CLOEXEC)
        try:
            with os.fdopen(os.dup(file), "wb") as rest:
                rest.write(message[_MAX_INLINE:])
            return self._send(message[:_MAX_INLINE], [client, file])
        finally:
            os.close(file)

    def _send(self, message: bytes, descriptors: Sequence[int]) -> bool:
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
        self._turn = turn = (self._turn + 1) % len(self._inspectors)
        is_full, failure = False, OSError("there is no inspector")
        for path in (*self._inspectors[turn:], *self._inspectors[:turn]):
            try:
                self._socket.sendmsg([message], ancillary, 0, path)
            except BlockingIOError:
                is_full = True
            except OSError as error:
                failure = error
            else:
                return True
        if is_full:
            return False
        raise failure

    def close(self) -> None:
        self._socket.close()


def receive_client(listener: socket.socket) -> tuple[socket.socket, bytes] | None:
    """The next client's socket and its message; None if none waits. A message without a socket is skipped."""
    while True:
        try:
            message, ancillary, _, _ = listener.recvmsg(
                _MAX_DATAGRAM, socket.CMSG_SPACE(2 * _DESCRIPTOR_BYTES), socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return None
        descriptors = array.array("i")
        for _, _, data in ancillary:
            descriptors.frombytes(data[: len(data) - len(data) % _DESCRIPTOR_BYTES])
        if not descriptors:
            continue
        if len(descriptors) > 1:
            with os.fdopen(descriptors[1], "rb") as rest:
                rest.seek(0)
                message += rest.read()
        return socket.socket(fileno=descriptors[0]), message
