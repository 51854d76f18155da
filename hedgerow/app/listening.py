"""Opening of all listening sockets of a run, before anything starts.

The supervisor holds them, and each process inherits those of its slot. What arrives between the end of a process and
the start of its successor therefore waits in the kernel: datagrams in a receive buffer, connections in a backlog.
systemd keeps the sockets while the service is restarted (FDSTORE in sd_notify(3)), and passes them to the next run.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import select
import socket
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from hedgerow import port_binder
from hedgerow.app.announcements import notify_systemd
from hedgerow.app.settings import Endpoint, Settings
from hedgerow.policies.transports import ENCRYPTED_TRANSPORTS
from hedgerow.proxy.gate.destination import enable_ip_transparent
from hedgerow.sockets import bind_datagrams, new_socket, open_socket, tune_udp_socket

log = logging.getLogger("hedgerow.supervisor")

_BACKLOG = 1024
_FIRST_PASSED = 3  # descriptor of sd_listen_fds(3)
_BARRIER_S = 5.0

type _Take = Callable[[Endpoint, socket.SocketKind], socket.socket | None]


class KeptSockets:
    """Listening sockets of the run before, which systemd has kept, by names such as `dns-0.5f2c91ab` that begin with
    their slot.
    """

    def __init__(self, sockets: Iterable[tuple[str, socket.socket]] = ()) -> None:
        self._sockets = list(sockets)

    @classmethod
    def from_systemd(cls) -> KeptSockets:
        """Take the sockets with which systemd started this process (sd_listen_fds(3)), if any."""
        variables = {name: os.environ.pop(f"LISTEN_{name}", "") for name in ("PID", "FDS", "FDNAMES")}
        if variables["PID"] != str(os.getpid()) or not variables["FDS"].isdigit():
            return cls()
        found = []
        for number, name in enumerate(variables["FDNAMES"].split(":")[: int(variables["FDS"])], _FIRST_PASSED):
            os.set_inheritable(number, False)
            with contextlib.suppress(OSError):  # not a socket
                found.append((name, socket.socket(fileno=number)))
        return cls(found)

    def drop_others(self, settings: Settings) -> None:
        """Close the sockets that this run does not need, also at systemd: another program may want their ports."""
        places = [*settings.listeners.values(), *settings.page]
        wanted = {(_address(one.host), one.port) for place in places for one in place.every_family()}
        slots = {"control-0", *(f"{role}-{index}" for role in ("dns", "gate") for index in range(settings.workers))}
        others = [each for each in self._sockets if _bound_at(each[1]) not in wanted or _slot(each[0]) not in slots]
        for name, sock in others:
            self._sockets.remove((name, sock))
            sock.close()
            notify_systemd(f"FDSTOREREMOVE=1\nFDNAME={name}")
        if others:
            _wait_for_systemd()

    def close(self) -> None:
        """Close the sockets that were not taken."""
        while self._sockets:
            self._sockets.pop()[1].close()

    def has(self, endpoint: Endpoint, kind: socket.SocketKind) -> bool:
        """Return whether any slot has a socket that is bound to an endpoint."""
        return any(_is_bound(sock, endpoint, kind) for _, sock in self._sockets)

    def take(self, slot: str, endpoint: Endpoint, kind: socket.SocketKind) -> socket.socket | None:
        """Return the socket of a slot that is bound to an endpoint, once, or None."""
        for each in self._sockets:
            if _slot(each[0]) == slot and _is_bound(each[1], endpoint, kind):
                self._sockets.remove(each)
                each[1].setblocking(False)
                return each[1]
        return None


NOTHING_KEPT = KeptSockets()


def open_listeners(settings: Settings, kept: KeptSockets = NOTHING_KEPT) -> dict[str, list[socket.socket]]:
    """Open the sockets of each slot, such as `dns-0`, unless they are `kept`.

    Raises OSError, and then leaves none open.

    Each worker has sockets of its own, among which the kernel spreads the clients of a port (SO_REUSEPORT). They stay
    in this group for the whole run, so that no process ends with queries in its socket.
    """
    taken: list[socket.socket] = []

    def take(slot: str, endpoint: Endpoint, kind: socket.SocketKind) -> socket.socket | None:
        found = kept.take(slot, endpoint, kind)
        taken.extend([found] if found is not None else [])
        return found

    with contextlib.ExitStack() as opened:

        def keep(sockets: Iterator[socket.socket]) -> list[socket.socket]:
            return [opened.enter_context(each) for each in sockets]

        web = "control-0"
        slots = {web: keep(_listen(each, partial(take, web), reuse_port=False) for each in settings.web.every_family())}
        for index in range(settings.workers):
            for slot, sockets_of in ((f"dns-{index}", _dns_sockets), (f"gate-{index}", _gate_sockets)):
                slots[slot] = keep(sockets_of(settings, partial(take, slot)))
        _store({slot: [each for each in sockets if each not in taken] for slot, sockets in slots.items()})
        for index in range(settings.inspectors):
            slots[f"inspector-{index}"] = keep(iter([bind_datagrams(settings.inspector_socket(index))]))
        opened.pop_all()
    return slots


def _dns_sockets(settings: Settings, take: _Take) -> Iterator[socket.socket]:
    for endpoint in settings.dns.every_family():
        datagrams = _datagrams(endpoint, take)
        tune_udp_socket(datagrams)
        yield datagrams
        yield _listen(endpoint, take)
    for name, place in settings.encrypted.items():
        for endpoint in place.every_family():
            yield (_listen if ENCRYPTED_TRANSPORTS[name].socket_kind is socket.SOCK_STREAM else _datagrams)(
                endpoint, take
            )


def _gate_sockets(settings: Settings, take: _Take) -> Iterator[socket.socket]:
    for endpoint in (*settings.proxy.every_family(), *settings.page):
        yield _listen(endpoint, take)
    for endpoint in settings.transparent.every_family() if settings.transparent else ():
        yield _listen(endpoint, take, transparent=True)


def _datagrams(endpoint: Endpoint, take: _Take) -> socket.socket:
    return take(endpoint, socket.SOCK_DGRAM) or open_socket(endpoint.host, endpoint.port, socket.SOCK_DGRAM)


def _listen(endpoint: Endpoint, take: _Take, *, reuse_port: bool = True, transparent: bool = False) -> socket.socket:
    if (found := take(endpoint, socket.SOCK_STREAM)) is not None:
        return found
    sock = new_socket(endpoint.host, socket.SOCK_STREAM, reuse_port=reuse_port)
    try:
        if transparent and not enable_ip_transparent(sock):
            log.warning("the transparent port accepts REDIRECT only: TPROXY needs the capability CAP_NET_ADMIN")
        port_binder.bind(sock, endpoint.host, endpoint.port)
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _store(slots: dict[str, list[socket.socket]]) -> None:
    """Give new sockets to systemd, which passes them to the run after a restart.

    It is not to watch them for errors of clients.
    """
    for slot, sockets in slots.items():
        for each in sockets:
            notify_systemd(f"FDSTORE=1\nFDPOLL=0\nFDNAME={slot}.{secrets.token_hex(4)}", [each.fileno()])


def _wait_for_systemd() -> None:
    """Wait until systemd has read all messages: it then closes the descriptor that comes with a barrier
    (sd_notify_barrier(3)).
    """
    reading, writing = os.pipe()
    try:
        is_sent = notify_systemd("BARRIER=1", [writing])
        os.close(writing)
        if is_sent:
            poll = select.poll()
            poll.register(reading, 0)  # a hang-up is reported all the same
            poll.poll(_BARRIER_S * 1000)
    finally:
        os.close(reading)


def _is_bound(sock: socket.socket, endpoint: Endpoint, kind: socket.SocketKind) -> bool:
    return sock.type == kind and _bound_at(sock) == (_address(endpoint.host), endpoint.port)


def _bound_at(sock: socket.socket) -> tuple[str, int]:
    host, port = sock.getsockname()[:2]
    return _address(host), port


def _address(host: str) -> str:
    """Return an address without its scope."""
    return host.partition("%")[0]


def _slot(name: str) -> str:
    return name.partition(".")[0]
