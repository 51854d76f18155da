"""Sockets: listening, connecting to the first of several addresses that answers (RFC 8305), and Unix sockets of our
processes.

Confined processes may not open Unix stream sockets, by which they could reach other services. To connect to another of
our processes, they make a connected pair and send one end of it in a datagram (SCM_RIGHTS, unix(7)).
"""

from __future__ import annotations

import array
import contextlib
import errno
import os
import resource
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, Final, NoReturn

from hedgerow import port_binder

ATTEMPT_DELAY = 0.25
"""Seconds until the next address is tried along with those that have not answered yet (RFC 8305, section 5)."""


MAX_DESCRIPTORS = 65_536

_OFFER_RETRY_SECONDS, _MAX_OFFERS = 0.003, 300

IP_PKTINFO: Final = getattr(socket, "IP_PKTINFO", 8)
"""From linux/in.h. Python names it since 3.14."""

_UDP_BUFFER: Final = 4 << 20
# Answers are never fragmented, whatever ICMP messages say (RFC 9715): IP_MTU_DISCOVER and IPV6_MTU_DISCOVER are PROBE.
# The kernel then needs no random identification per datagram either. Python has no names for these constants of
# linux/in.h and linux/in6.h.
_NEVER_FRAGMENT: Final = {socket.AF_INET: (socket.IPPROTO_IP, 10, 3), socket.AF_INET6: (socket.IPPROTO_IPV6, 23, 3)}


def raise_descriptor_limit() -> None:
    """Allow this process and its children as many file descriptors as its hard limit permits, up to `MAX_DESCRIPTORS`.

    Sessions start with a soft limit of 1,024 for the sake of programs that use select(2).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def descriptor_limit() -> int:
    """Return how many file descriptors this process may have."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_DESCRIPTORS if soft == resource.RLIM_INFINITY else soft


def new_socket(host: str, kind: socket.SocketKind, *, reuse_port: bool = True) -> socket.socket:
    """Return an unbound socket of a host's family, for IPv6 without IPv4.

    `reuse_port`: other workers may share its port.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, kind)
    sock.setblocking(False)
    if reuse_port:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if kind is socket.SOCK_STREAM:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return sock


def open_socket(host: str, port: int, kind: socket.SocketKind, *, reuse_port: bool = True) -> socket.socket:
    """Return a bound socket. Raises OSError."""
    sock = new_socket(host, kind, reuse_port=reuse_port)
    try:
        port_binder.bind(sock, host, port)
    except OSError:
        sock.close()
        raise
    return sock


def open_udp_socket(host: str, port: int) -> socket.socket:
    """Return a bound socket with large buffers that never fragments and shares its port with other workers.

    Raises OSError.

    It tells our address of each datagram if it has several.
    """
    sock = open_socket(host, port, socket.SOCK_DGRAM)
    tune_udp_socket(sock)
    return sock


def tune_udp_socket(sock: socket.socket) -> None:
    """Give a bound socket the options of `open_udp_socket`."""
    _enlarge_buffers(sock)
    if sys.platform == "linux":
        sock.setsockopt(*_NEVER_FRAGMENT[sock.family])
    enable_packet_info(sock)


def enable_packet_info(sock: socket.socket) -> bool:
    """Have the kernel tell our address of each datagram, from which the answer must come, if the socket has several."""
    if sock.getsockname()[0] not in ("0.0.0.0", "::"):  # noqa: S104
        return False
    ipv4, ipv6 = (socket.IPPROTO_IP, IP_PKTINFO), (socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO)
    sock.setsockopt(*(ipv6 if sock.family == socket.AF_INET6 else ipv4), 1)
    return True


def _enlarge_buffers(sock: socket.socket) -> None:
    """Let bursts of queries wait in the kernel, within its limits, or beyond them with CAP_NET_ADMIN
    (SO_RCVBUFFORCE).
    """
    for option, forced in ((socket.SO_RCVBUF, 33), (socket.SO_SNDBUF, 32)):
        sock.setsockopt(socket.SOL_SOCKET, option, _UDP_BUFFER)
        if sys.platform == "linux":
            with contextlib.suppress(OSError):
                port_binder.set_option(sock, socket.SOL_SOCKET, forced, _UDP_BUFFER)


def is_own_address(address: str) -> bool:
    """Return whether this machine has an IP address: only then a datagram to it comes from it, too."""
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as probe,
    ):
        if probe.family == socket.AF_INET:  # it would come from the first of several addresses in a network
            probe.bind((address, 0))
        probe.connect((address, 9))
        return bool(probe.getsockname()[0] == probe.getpeername()[0])
    return False


def interleave_families(addresses: Sequence[str]) -> tuple[str, ...]:
    """Return the addresses with IPv4 and IPv6 alternating, the family of the first one leading.

    >>> interleave_families(["192.0.2.1", "192.0.2.2", "2001:db8::1"])
    ('192.0.2.1', '2001:db8::1', '192.0.2.2')
    """
    first = [each for each in addresses if (":" in each) is (":" in addresses[0])]
    second = [each for each in addresses if each not in first]
    return tuple(each for each in chain.from_iterable(zip_longest(first, second)) if each is not None)


async def connect_first[C](
    addresses: Sequence[str], connect: Callable[[str], Coroutine[Any, Any, C]], discard: Callable[[C], Awaitable[None]]
) -> C:
    """Return the first connection that comes about.

    The next address is tried when the last one failed or after `ATTEMPT_DELAY`.

    `discard` closes connections that came about too late. Raises the last failure, or OSError without any address.
    """
    import asyncio  # the signer, which uses Unix sockets only, does without

    loop = asyncio.get_running_loop()
    left = list(addresses)
    attempts: set[asyncio.Task[C]] = set()
    failure: BaseException = OSError("there is no address to connect to")
    try:
        while left or attempts:
            if left:
                attempts.add(loop.create_task(connect(left.pop(0))))
            done, _ = await asyncio.wait(
                attempts, timeout=ATTEMPT_DELAY if left else None, return_when=asyncio.FIRST_COMPLETED
            )
            for attempt in done:
                attempts.discard(attempt)
                if (error := attempt.exception()) is None:
                    return attempt.result()
                failure = error
        raise failure
    finally:
        for attempt in attempts:
            attempt.cancel()
        for outcome in await asyncio.gather(*attempts, return_exceptions=True):
            if not isinstance(outcome, BaseException):
                await discard(outcome)


def bind_unix_socket(path: Path, kind: socket.SocketKind, backlog: int = 0) -> socket.socket:
    """Return a non-blocking Unix socket at `path`, of mode 0600. An older socket keeps its connections. Raises OSError.

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


bind_datagrams = partial(bind_unix_socket, kind=socket.SOCK_DGRAM)
"""Return a socket for connections that other processes offer (`take_connection`), as `bind_unix_socket` does."""


@dataclass(frozen=True, slots=True)
class SocketPath:
    """The path of a Unix socket, to notice that somebody has removed or replaced it: whoever connects then no longer
    reaches the socket.
    """

    path: Path
    device: int
    inode: int
    made: int
    """Time of the last change in nanoseconds: the next file may get the same inode."""

    @classmethod
    def of(cls, path: Path) -> SocketPath:
        """Take the socket that is at a path now. Raises OSError."""
        status = path.stat()
        return cls(path, status.st_dev, status.st_ino, status.st_mtime_ns)

    @property
    def is_in_place(self) -> bool:
        try:
            return self == SocketPath.of(self.path)
        except OSError:
            return False


async def wait_until_removed(paths: Sequence[SocketPath], every_s: float = 1.0) -> NoReturn:
    """Raise FileNotFoundError once one of the paths is no longer in place."""
    from hedgerow.ticks import next_tick

    while True:
        await next_tick(every_s)
        for each in paths:
            if not each.is_in_place:
                raise FileNotFoundError(errno.ENOENT, "the socket was removed or replaced", str(each.path))


def offer_connection(path: str) -> socket.socket:
    """Return a stream socket whose other end goes to the process that listens at `path` with `bind_datagrams`.

    Raises OSError, as BlockingIOError if that process has yet to take too many others.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with theirs, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendmsg(
                [b"."], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [theirs.fileno()]))], 0, path
            )
    except OSError:
        ours.close()
        raise
    ours.setblocking(False)
    return ours


async def offer_connection_patiently(path: str) -> socket.socket:
    """Return what `offer_connection` does, from a process that may be busy for a moment. Raises OSError."""
    import asyncio

    for _ in range(_MAX_OFFERS):
        try:
            return offer_connection(path)
        except BlockingIOError:
            await asyncio.sleep(_OFFER_RETRY_SECONDS)
    return offer_connection(path)


def take_connection(listener: socket.socket) -> socket.socket | None:
    """Return the next connection that another process offers, or None if none waits.

    Anything else that it sends is closed.
    """
    while True:
        try:
            _, descriptors = port_binder.receive_descriptors(listener, 1, 1)
        except BlockingIOError:
            return None
        for descriptor in descriptors:
            try:
                offered = socket.socket(fileno=descriptor)
            except OSError:  # no socket
                os.close(descriptor)
                continue
            if (offered.family, offered.type) == (socket.AF_UNIX, socket.SOCK_STREAM):
                offered.setblocking(False)
                return offered
            offered.close()
