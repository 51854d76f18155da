"""Places for connections to the pages: strangers, whatever number of addresses they have, keep out nobody
who is known.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import struct
from collections.abc import Iterator

import pytest
from small_internet.running import wait_until
from web_server import OWNER, Web

from hedgerow.client_classes import ClassedClient, named_client, unnamed_client
from hedgerow.dashboards.control import DeviceView
from hedgerow.dashboards.guard import SESSION_COOKIE
from hedgerow.dashboards.web_places import MAX_CONNECTIONS, MAX_CONNECTIONS_PER_CLIENT, WebPlace, WebPlaces
from hedgerow.policies.model import DeviceId

ADULT, MIA, NEWCOMER = "127.0.9.1", "127.0.9.2", "127.0.9.3"


class Browser:
    """A browser that keeps its connection."""

    def __init__(self, web: Web, address: str, cookie: str = "") -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", web.port, 30, (address, 0))
        self._cookie = cookie

    def get(self, path: str) -> int:
        self._connection.request("GET", path, headers={"Cookie": self._cookie} if self._cookie else {})
        answer = self._connection.getresponse()
        answer.read()
        return answer.status

    def close(self) -> None:
        self._connection.close()


@contextlib.contextmanager
def strangers(web: Web, count: int, first: int = 0) -> Iterator[list[socket.socket]]:
    """Open connections from as many addresses, each with half a request."""
    with contextlib.ExitStack() as stack:
        clients = []
        for number in range(first, first + count):
            client = stack.enter_context(socket.socket())
            client.bind((socket.inet_ntoa(struct.pack("!I", 0x7F010001 + number)), 0))
            client.connect(("127.0.0.1", web.port))
            with contextlib.suppress(OSError):
                client.sendall(b"GET / HT")
            clients.append(client)
        yield clients


def open_count(clients: list[socket.socket]) -> int:
    """Return how many of these connections the server has not closed."""
    return sum(client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == 1 for client in clients)


def test_strangers_with_many_addresses_keep_out_nobody_who_is_known(web: Web) -> None:
    web.control.devices[MIA] = DeviceView(DeviceId("mia-tablet"), "mia", "child-8-12")
    # the adult's phone has no name in the policy
    cookie = f"{SESSION_COOKIE}={asyncio.run(web.accounts.begin_session(OWNER, ADULT, ''))}"
    adult, mia = Browser(web, ADULT, cookie), Browser(web, MIA)
    assert (adult.get("/"), mia.get("/device")) == (200, 200)
    with strangers(web, MAX_CONNECTIONS + 50) as first:
        wait_until(lambda: open_count(first) <= MAX_CONNECTIONS - 2, 20, "the places are full")
        assert (adult.get("/"), mia.get("/device")) == (200, 200), "connections that they have stay"
        with contextlib.closing(Browser(web, NEWCOMER)) as newcomer:
            assert newcomer.get("/sign-in") in {200, 403}
        with strangers(web, MAX_CONNECTIONS, first=1000):
            assert (adult.get("/"), mia.get("/device")) == (200, 200)
            with (
                contextlib.closing(Browser(web, ADULT, cookie)) as again,
                contextlib.closing(Browser(web, MIA)) as more,
            ):
                assert (again.get("/"), more.get("/device")) == (200, 200), "and they get new ones"
    adult.close()
    mia.close()


def places_of(named: dict[str, str]) -> WebPlaces:
    def client_of(address: str) -> ClassedClient:
        return named_client(named[address]) if address in named else unnamed_client(address)

    return WebPlaces(client_of)


def admitted(places: WebPlaces, addresses: Iterator[str]) -> list[WebPlace]:
    return [place for address in addresses if (place := places.admit(address, lambda: None)) is not None]


@pytest.mark.parametrize(
    ("addresses", "most"),
    [
        (["192.0.2.7" for _ in range(300)], MAX_CONNECTIONS_PER_CLIENT),
        ([f"2001:db8::{number:x}" for number in range(300)], MAX_CONNECTIONS_PER_CLIENT),
        ([f"2001:db8:0:{number:x}::1" for number in range(300)], MAX_CONNECTIONS // 2),
        (["127.0.0.1" for _ in range(300)], MAX_CONNECTIONS),
    ],
    ids=["one-address", "one-link", "one-site", "this-machine"],
)
def test_a_client_has_a_part_of_the_places(addresses: list[str], most: int) -> None:
    places = places_of({})
    assert sum(not place.is_ending for place in admitted(places, iter(addresses))) == most
    assert places.admit("203.0.113.9", lambda: None) is not None


def test_of_the_client_with_the_most_an_idle_connection_leaves() -> None:
    places = places_of({})
    most = admitted(places, ("192.0.2.1" for _ in range(3)))
    admitted(places, (f"198.51.100.{number}" for number in range(MAX_CONNECTIONS - 3)))
    most[0].is_working = True
    assert places.admit("203.0.113.9", lambda: None) is not None
    assert [place.is_ending for place in most] == [False, True, False]
