"""One message that is made to cost a lot, sent over and over by one device: no process falls silent, and another device goes on."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from small_internet import SmallInternet
from small_internet.clients import curl
from small_internet.family import COMPUTER, LAPTOP, TABLET
from small_internet.running import Hedgerow, network_section, running_hedgerow

PEOPLE = f"""
people:
  mia: {{age: 9, devices: [mia-tablet, mia-computer], block: ["www.school.example/*video*watch*", "www.school.example/*a*b"]}}
  tom: {{age: 17, devices: [tom-laptop]}}
devices:
  mia-tablet: {{ip: {TABLET}}}
  mia-computer: {{ip: {COMPUTER}, trusts_ca: true}}
  tom-laptop: {{ip: {LAPTOP}}}
"""
ROLES = ("dns", "gate", "inspector")
SENDERS, TIMES = 3, 3


class HostileOrigin:
    """A server of plain HTTP on `port` that answers each connection with the octets `answers` has for the path."""

    def __init__(self, server: socket.socket) -> None:
        self.port: int = server.getsockname()[1]
        self.answers: dict[bytes, bytes] = {}

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def answer(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            client.settimeout(20)
            head = b""
            while b"\r\n\r\n" not in head and (piece := client.recv(65536)):
                head += piece
            client.sendall(self.answers[head.split(b" ")[1]])


@contextlib.contextmanager
def hostile_origin() -> Iterator[HostileOrigin]:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        origin = HostileOrigin(server)

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=origin.answer, args=(server.accept()[0],), daemon=True).start()

        thread = threading.Thread(target=serve)
        thread.start()
        yield origin
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.fixture(scope="module")
def origin() -> Iterator[HostileOrigin]:
    with hostile_origin() as serving:
        yield serving


@pytest.fixture(scope="module")
def family(whole_internet: SmallInternet, origin: HostileOrigin) -> Iterator[Hedgerow]:
    network = network_section(whole_internet, lan=("127.0.0.0/24",)).replace("ports: [", f"ports: [{origin.port}, ")
    with running_hedgerow(network + "  country: GB\n" + PEOPLE, upstream_authority=whole_internet.authority.root) as running:
        yield running


def assert_harmless(family: Hedgerow, internet: SmallInternet, attack: Callable[[], object]) -> None:
    """Assert that `attack`, in several threads and several times in each, leaves every process alive, and another device served."""
    before, served = {role: family.pids(role) for role in ROLES}, list[int]()
    url = internet.url("games.example", scheme="http")

    def repeat() -> None:
        for _ in range(TIMES):
            attack()

    senders = [threading.Thread(target=repeat) for _ in range(SENDERS)]
    for sender in senders:
        sender.start()
    while any(sender.is_alive() for sender in senders):
        served.append(curl(url, proxy=family.proxy, source=LAPTOP).status)
    for sender in senders:
        sender.join()
    assert {role: family.pids(role) for role in ROLES} == before, family.stderr[-3000:]
    assert set(served) <= {200}, served
    assert "Traceback" not in family.stderr


@pytest.mark.parametrize("repeated", ["video", "a"])
def test_long_urls_under_rules_of_many_stars(family: Hedgerow, whole_internet: SmallInternet, repeated: str) -> None:
    url = whole_internet.url("www.school.example", "/" + repeated * (31_000 // len(repeated)), scheme="http")
    assert_harmless(family, whole_internet, lambda: curl(url, proxy=family.proxy, source=TABLET))
