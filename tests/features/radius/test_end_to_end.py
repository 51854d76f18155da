"""Users of devices behind routers, by RADIUS accounting."""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path

import pytest
from small_internet import SmallInternet
from small_internet.clients import kdig_addresses
from small_internet.running import Hedgerow, hedgerow_again, network_section, running_hedgerow, wait_until

SECRET = b"between access point and filter"
BEHIND, OTHER = "127.0.9.5", "127.0.9.6"
BLOCKED = ["0.0.0.0"]
PEOPLE = """
people:
  mia: {age: 40, devices: [tablet], block: [mias.example]}
  ana: {profile: adult, block: [anas.example]}
devices:
  tablet: {ip: 127.0.9.6}
"""


class AccessPoint:
    """A RADIUS client that reports users and waits for the answer."""

    def __init__(self, port: int, source: str = "127.0.0.1") -> None:
        self._server, self._source, self._number = ("127.0.0.1", port), source, 0

    def report(self, status: int, user: str, address: str, mac: str = "") -> bool:
        """Return True if the report is answered within a second or three attempts."""
        self._number += 1
        fields = [(40, status.to_bytes(4)), (1, user.encode()), (8, socket.inet_aton(address)), (31, mac.encode())]
        body = b"".join(bytes((kind, len(value) + 2)) + value for kind, value in fields if value)
        head = bytes((4, self._number)) + (20 + len(body)).to_bytes(2)
        data = head + hashlib.md5(head + bytes(16) + body + SECRET).digest() + body
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            client.bind((self._source, 0))
            client.settimeout(1.0)
            for _ in range(3):
                client.sendto(data, self._server)
                try:
                    answer = client.recv(4096)
                except TimeoutError:
                    continue
                return answer[4:] == hashlib.md5(answer[:4] + data[4:20] + SECRET).digest()
        return False


def free_port() -> int:
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def is_blocked(running: Hedgerow, host: str, source: str) -> bool:
    return kdig_addresses(running.dns, host, source=source) == BLOCKED


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "state" / "radius-secret").write_bytes(SECRET + b"\n")
    return tmp_path


def test_users_of_devices_behind_a_router(internet: SmallInternet, prepared: Path) -> None:
    port = free_port()
    radius = f'  radius: {{clients: [127.0.0.1], listen: "127.0.0.1:{port}"}}\n'
    with running_hedgerow(network_section(internet) + radius + PEOPLE, directory=prepared) as running:
        point = AccessPoint(port)
        wait_until(lambda: point.report(1, "ANA@school.example", BEHIND), 20, "the report is answered")
        wait_until(lambda: is_blocked(running, "anas.example", BEHIND), 20, "it is Ana's device")
        assert not is_blocked(running, "anas.example", OTHER)
        assert point.report(3, "ana", BEHIND), "an interim report changes nothing"
        assert point.report(1, "nobody", BEHIND), "nor does a user whom the policy does not know"
        assert not AccessPoint(port, "127.0.0.7").report(1, "mia", BEHIND), "another machine is not heard"
        assert is_blocked(running, "anas.example", BEHIND)
        assert point.report(1, "mia", BEHIND)
        wait_until(lambda: is_blocked(running, "mias.example", BEHIND), 20, "Mia signs in at the same address")

        assert point.report(1, "ana", OTHER), "the policy gives the tablet to Mia"
        assert is_blocked(running, "mias.example", OTHER)
    with hedgerow_again(prepared, prepared / "again.txt") as running:
        assert is_blocked(running, "mias.example", OTHER), "the policy's device"
        assert is_blocked(running, "mias.example", BEHIND), "its user outlasts a restart"
        wait_until(lambda: AccessPoint(port).report(2, "mia", BEHIND), 20, "the end is answered")
        wait_until(lambda: not is_blocked(running, "mias.example", BEHIND), 20, "the session has ended")
