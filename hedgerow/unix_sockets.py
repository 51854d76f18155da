"""Unix sockets between our processes.

Confined processes may not open Unix stream sockets, by which they could reach other services. To connect to another process of ours,
they make a connected pair and send one end of it in a datagram (SCM_RIGHTS, unix(7)).
"""

from __future__ import annotations

import array
import os
import socket
from pathlib import Path


def bind_datagrams(path: Path) -> socket.socket:
    """Return a socket for connections that other processes offer (`take_connection`), as `bind_unix_socket` does. Raises OSError."""
    return bind_unix_socket(path, socket.SOCK_DGRAM)


def bind_unix_socket(path: Path, kind: socket.SocketKind, backlog: int = 0) -> socket.socket:
    """Return a non-blocking Unix socket at `path`, of mode 0600. An older one goes on with what it has. Raises OSError.

    With a `backlog`, it listens.
    """
    listener = socket.socket(socket.AF_UNIX, kind)
    # Bound under another name and renamed: no other user can send meanwhile, and there is always a socket at `path`.
    fresh = path.with_name(f".{path.stem[-8:]}.{os.getpid()}")
    try:
        listener.setblocking(False)
        fresh.unlink(missing_ok=True)
        listener.bind(str(fresh))
        fresh.chmod(0o600)
        if backlog:
            listener.listen(backlog)
        fresh.replace(path)
    except OSError:
        listener.close()
        raise
    return listener


def offer_connection(path: str) -> socket.socket:
    """Return a stream socket whose other end goes to the process that listens at `path` with `bind_datagrams`.

    Raises OSError, as BlockingIOError if that process has yet to take too many others.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with theirs, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendmsg([b"."], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [theirs.fileno()]))], 0, path)
    except OSError:
        ours.close()
        raise
    ours.setblocking(False)
    return ours


def take_connection(listener: socket.socket) -> socket.socket | None:
    """Return the next connection that another process offers, or None if none waits. Anything else that it sends is closed."""
    while True:
        try:
            _, descriptors, _, _ = socket.recv_fds(listener, 1, 4, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return None
        for descriptor in descriptors[1:]:
            os.close(descriptor)
        if not descriptors:
            continue
        try:
            offered = socket.socket(fileno=descriptors[0])
        except OSError:  # no socket
            os.close(descriptors[0])
            continue
        if (offered.family, offered.type) == (socket.AF_UNIX, socket.SOCK_STREAM):
            offered.setblocking(False)
            return offered
        offered.close()
