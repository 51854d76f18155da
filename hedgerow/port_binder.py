"""Binding of sockets that takes capabilities, by a helper for a Hedgerow that has none
(`python -m hedgerow.port_binder`).

A service without capabilities opens its sockets itself and sends each one, with an address or an option, over the Unix
socket that the variable `HEDGEROW_PORT_BINDER` names. systemd listens there for the service's user alone
(`hedgerow-ports.socket`) and starts the helper, which needs neither files nor a network. Everywhere else the kernel
decides alone.

Confined workers can't reach the helper, since they may not open Unix stream sockets.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from typing import Final

VARIABLE: Final = "HEDGEROW_PORT_BINDER"
OPTIONS: Final = frozenset(
    {
        (socket.SOL_SOCKET, 33),  # SO_RCVBUFFORCE
        (socket.SOL_SOCKET, 32),  # SO_SNDBUFFORCE
        (socket.IPPROTO_IP, 19),  # IP_TRANSPARENT
        (socket.IPPROTO_IPV6, 75),  # IPV6_TRANSPARENT
    }
)
"""The options that take a capability, by level and number: all that the helper sets."""

_IDLE_S: Final = 10.0
_TIMEOUT_S: Final = 20.0  # the helper may have to start on a small machine
_PATIENCE_S: Final = 1.0
_REQUEST_OCTETS: Final = 256
_ACTIVATED: Final = 3  # the first descriptor that systemd passes (sd_listen_fds(3))


def is_available() -> bool:
    """Return True if a helper binds ports for this process."""
    return bool(os.environ.get(VARIABLE))


def bind(sock: socket.socket, host: str, port: int) -> None:
    """Bind a socket to an IP address and port. Raises OSError."""
    try:
        sock.bind((host, port))
    except PermissionError:
        address, scope = host, 0
        if "%" in host:
            address, _, _, scope = socket.getaddrinfo(host, port, flags=socket.AI_NUMERICHOST)[0][4]  # type: ignore[misc]
            address = address.partition("%")[0]
        if not _request(sock, f"bind {address} {port} {scope}"):
            raise


def set_option(sock: socket.socket, level: int, option: int, value: int) -> None:
    """Set one of `OPTIONS`. Raises OSError."""
    try:
        sock.setsockopt(level, option, value)
    except PermissionError:
        if not _request(sock, f"set {level} {option} {value}"):
            raise


def receive_descriptors(sock: socket.socket, octets: int, most: int) -> tuple[bytes, list[int]]:
    """Receive a message and up to `most` descriptors, which no program that this process runs inherits. Raises OSError.

    CPython 3.13's `socket.recv_fds` ignores its flags, so that these would stay open there.
    """
    message, ancillary, _, _ = sock.recvmsg(
        octets, socket.CMSG_LEN(struct.calcsize(f"{most}i")), socket.MSG_CMSG_CLOEXEC
    )
    return message, [number for *_, data in ancillary for (number,) in struct.iter_unpack("i", data)]


def _request(sock: socket.socket, words: str) -> bool:
    """Send a request to the helper.

    Returns False if there is none. Raises OSError if the kernel refuses the helper too.
    """
    place = os.environ.get(VARIABLE)
    if not place:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_TIMEOUT_S)
        try:
            connection.connect(place)
            socket.send_fds(connection, [words.encode("ascii")], [sock.fileno()])
            answer = connection.recv(16)
        except OSError:
            return False
    if not answer.isdigit():
        return False
    if number := int(answer):
        raise OSError(number, os.strerror(number))
    return True


def serve(listener: socket.socket, idle_s: float = _IDLE_S) -> None:
    """Serve until nobody has asked for some seconds."""
    listener.settimeout(idle_s)
    while True:
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            return
        with connection, contextlib.suppress(OSError):
            connection.settimeout(_PATIENCE_S)
            connection.sendall(str(_answer(connection)).encode("ascii"))


def _answer(connection: socket.socket) -> int:
    """Carry out the next request, and return an error number, or 0. Raises OSError if there is none."""
    message, descriptors = receive_descriptors(connection, _REQUEST_OCTETS, 1)
    if not descriptors:
        raise OSError("a request without a socket")
    with socket.socket(fileno=descriptors[0]) as sock:
        try:
            _carry_out(sock, message.decode("ascii").split())
        except OSError as error:
            return error.errno or 1
        except ValueError as error:
            raise OSError("no request") from error
    return 0


def _carry_out(sock: socket.socket, words: list[str]) -> None:
    """Carry out a request. Raises OSError or ValueError."""
    kind, *rest = words
    if kind == "bind":
        address, port, scope = rest
        sock.bind((address, int(port), 0, int(scope)) if sock.family == socket.AF_INET6 else (address, int(port)))
        return
    level, option, value = map(int, rest)
    if (level, option) not in OPTIONS:
        raise ValueError("not one of `OPTIONS`")
    sock.setsockopt(level, option, value)


if __name__ == "__main__":
    serve(socket.socket(fileno=_ACTIVATED))
