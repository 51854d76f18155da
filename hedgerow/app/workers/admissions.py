"""Admission of the addresses in DNS answers at the gateway, before the answers are sent.

See `hedgerow.network.admissions`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from hedgerow.network.admissions import MAX_ADDRESSES, REPLY_OCTETS, AdmissionRequest, Destination, parse_reply
from hedgerow.ticks import next_tick

HOLD_S: Final = 0.05
"""Seconds for which an answer waits for the gateway's process; it is sent then anyway."""
LEAST_S: Final = 3600
"""Seconds for which an address stays admitted at least after any answer that holds it, or for its TTL where that is
longer.
"""
METRIC: Final = "hedgerow_gateway_admissions_total"
_CONNECT_INTERVAL_S: Final = 0.2
_LOOK_INTERVAL_S: Final = 1.0  # while there is no gateway
_MAX_KNOWN: Final = 32_768
_MAX_HELD: Final = 1024
_MAX_MISSED: Final = 1024


class _Held(NamedTuple):
    """An answer that waits for a reply."""

    destinations: tuple[Destination, ...]
    until: float
    done: Callable[[bool], None]
    timer: asyncio.TimerHandle


class DestinationAdmitter:
    """A worker's connection to the gateway's process.

    `is_active` is True while the gateway is configured, which the file `config` shows; `on_change` is called when that
    or the connection changes. The admitter remembers what is admitted, so that most answers wait for nothing. What
    could not be admitted is requested after the next connection, since devices go on using the answer.
    """

    def __init__(self, path: Path, config: Path, on_change: Callable[[], None], count: Callable[[str], None]) -> None:
        self._path, self._config, self._on_change, self._count = path, config, on_change, count
        self.is_active = config.exists()
        self._socket: socket.socket | None = None
        self._number = 0
        self._known: dict[Destination, float] = {}  # the instants at which admissions end
        self._held: dict[int, _Held] = {}
        self._unanswered: dict[int, AdmissionRequest] = {}
        self._missed: dict[Destination, int] = {}

    @property
    def is_connected(self) -> bool:
        return self._socket is not None

    async def run(self) -> None:
        """Connect, and again whenever the connection ends, until cancelled."""
        try:
            while True:
                is_active = self._config.exists()
                if is_active != self.is_active:
                    self.is_active = is_active
                    self._on_change()
                if self._socket is None and self._path.exists():
                    self._connect()
                await next_tick(_CONNECT_INTERVAL_S if is_active else _LOOK_INTERVAL_S)
        finally:
            self._disconnect()

    def admit(self, source: bytes, addresses: Sequence[bytes], ttl: int, done: Callable[[bool], None]) -> bool:
        """Have addresses admitted for a device. Returns True if they are, or cannot be before the next connection.

        Otherwise `done` is called later: with True once they are, with False after `HOLD_S` or where the gateway's
        process fails.
        """
        loop = asyncio.get_running_loop()
        now, least = loop.time(), max(LEAST_S, ttl)
        destinations = tuple(Destination(source, address) for address in addresses[:MAX_ADDRESSES])
        if all(self._known.get(destination, 0.0) >= now + least for destination in destinations):
            return True
        request = self._request(source, 2 * least, tuple(destination.address for destination in destinations))
        if self._socket is None:
            self._remember_missed(request)
            self._count("missed")
            return True
        timer = loop.call_later(HOLD_S if len(self._held) < _MAX_HELD else 0.0, self._time_out, request.number)
        self._held[request.number] = _Held(destinations, now + request.seconds, done, timer)
        self._send(request)
        return False

    def _request(self, source: bytes, seconds: int, addresses: tuple[bytes, ...]) -> AdmissionRequest:
        self._number = (self._number + 1) & 0xFFFFFFFF
        return AdmissionRequest(self._number, source, seconds, addresses)

    def _connect(self) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        try:
            sock.connect(str(self._path))
        except OSError:
            sock.close()
            return
        self._socket = sock
        asyncio.get_running_loop().add_reader(sock, self._receive)
        missed, self._missed = self._missed, {}
        for destination, seconds in missed.items():
            self._send(self._request(destination.source, seconds, (destination.address,)))
        self._on_change()

    def _disconnect(self) -> None:
        if self._socket is None:
            return
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        self._socket = None
        self._known.clear()
        for request in self._unanswered.values():
            self._remember_missed(request)
        self._unanswered.clear()
        for number in list(self._held):
            self._time_out(number)
        self._on_change()

    def _send(self, request: AdmissionRequest) -> None:
        assert self._socket is not None
        try:
            self._socket.send(request.pack())
            self._unanswered[request.number] = request
        except OSError:
            self._remember_missed(request)
        if len(self._unanswered) > _MAX_MISSED:
            self._remember_missed(self._unanswered.pop(next(iter(self._unanswered))))

    def _receive(self) -> None:
        try:
            while self._socket is not None:
                reply = parse_reply(self._socket.recv(REPLY_OCTETS))
                if reply is None:  # an empty datagram: the gateway's process has ended
                    self._disconnect()
                else:
                    self._conclude(*reply)
        except BlockingIOError:
            pass
        except OSError:
            self._disconnect()

    def _conclude(self, number: int, is_admitted: bool) -> None:
        request, held = self._unanswered.pop(number, None), self._held.pop(number, None)
        if request is not None and not is_admitted:
            self._remember_missed(request)
        if held is None:
            return  # its answer was sent without waiting any longer
        held.timer.cancel()
        if is_admitted:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            self._known.update(dict.fromkeys(held.destinations, held.until))
        self._count("admitted" if is_admitted else "failed")
        held.done(is_admitted)

    def _time_out(self, number: int) -> None:
        held = self._held.pop(number, None)
        if held is not None:
            held.timer.cancel()
            self._count("late")
            held.done(False)

    def _remember_missed(self, request: AdmissionRequest) -> None:
        for address in request.addresses:
            if len(self._missed) >= _MAX_MISSED:
                del self._missed[next(iter(self._missed))]
            self._missed[Destination(request.source, address)] = request.seconds
