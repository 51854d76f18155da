"""The test from outside: a second machine anywhere on the internet tries a device's file, without WireGuard and without rights."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

from hedgerow.app.doctor.findings import Finding, Health, good_finding
from hedgerow.network.handshake import Handshake, TunnelFileKeys

_TRIES, _WAIT_S = 3, 2.0
_MEND = (
    "let UDP packets to this port in at the router; see docs/away.md for carrier-grade NAT; make a new file if the device got another since"
)


def try_from_outside(end: TunnelFileKeys) -> Iterator[Finding]:
    """Try each address of the endpoint: home must answer the device's key there."""
    try:
        found = socket.getaddrinfo(end.host, end.port, type=socket.SOCK_DGRAM)
    except OSError as error:
        yield Finding(end.host, Health.BAD, f"the name leads nowhere: {error.strerror}", "see your account at the provider of dynamic DNS")
        return
    for family, _, _, _, place in dict.fromkeys(found):
        address, began = str(place[0]), time.monotonic()
        if _is_answered(end, family, place):
            yield good_finding(address, f"home answers at UDP port {end.port} after {(time.monotonic() - began) * 1000:.0f} ms")
        else:
            yield Finding(address, Health.BAD, f"no answer at UDP port {end.port}", _MEND)


def _is_answered(end: TunnelFileKeys, family: int, place: tuple[object, ...]) -> bool:
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        for _ in range(_TRIES):
            handshake, deadline = Handshake(end), time.monotonic() + _WAIT_S
            try:
                client.connect(place)
                client.send(handshake.initiation(time.time()))
                while (left := deadline - time.monotonic()) > 0:
                    client.settimeout(left)
                    if handshake.is_answer(client.recv(2048)):
                        return True
            except OSError:  # no answer in time, or a router's refusal
                time.sleep(max(deadline - time.monotonic(), 0))
    return False
