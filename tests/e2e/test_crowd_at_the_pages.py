"""A crowd at the web pages of a running Hedgerow: the parent, a child's device and control lose nothing."""

from __future__ import annotations

import contextlib
import functools
import http.client
import socket
import struct
from collections.abc import Callable, Iterator
from urllib.parse import urlencode

import pytest
from small_internet.running import Hedgerow, network_section, running_hedgerow, wait_until
from small_internet.whole import SmallInternet

from hedgerow.dashboards.web_places import MAX_CONNECTIONS, MAX_CONNECTIONS_PER_CLIENT

PEOPLE = """\
people:
  mia: {age: 9, devices: [mia-tablet]}
devices:
  mia-tablet: {ip: 127.0.0.2}
"""
MIA, PARENT = "127.0.0.2", "127.0.0.99"
"""The parent's phone has no name in the policy."""


@pytest.fixture(scope="module")
def hedgerow(whole_internet: SmallInternet) -> Iterator[Hedgerow]:
    with running_hedgerow(network_section(whole_internet) + PEOPLE, web="0.0.0.0:0") as running:
        yield running


@functools.cache
def parents_cookie(hedgerow: Hedgerow) -> str:
    """Set the first password on the parent's phone, and return the cookie of its session."""
    connection = http.client.HTTPConnection("127.0.0.1", port_of(hedgerow), 40, (PARENT, 0))
    form = urlencode({"name": "ana", "password": "four words and more", "code": hedgerow.setup_code})
    headers = {"Origin": hedgerow.web, "Host": hedgerow.web.partition("//")[2]}
    headers["Content-Type"] = "application/x-www-form-urlencoded"
    connection.request("POST", "/start/password", form, headers)
    answer = connection.getresponse()
    connection.close()
    return (answer.getheader("set-cookie") or "").partition(";")[0]


class Browser:
    """A browser with one connection, which it keeps."""

    def __init__(self, hedgerow: Hedgerow, address: str, *, is_signed_in: bool = False) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port_of(hedgerow), 40, (address, 0))
        self._headers = {"Cookie": parents_cookie(hedgerow)} if is_signed_in else {}

    def get(self, path: str) -> int:
        self._connection.request("GET", path, headers=self._headers)
        answer = self._connection.getresponse()
        answer.read()
        return answer.status

    def close(self) -> None:
        self._connection.close()


type Open = Callable[..., Browser]


@pytest.fixture
def browser(hedgerow: Hedgerow) -> Iterator[Open]:
    """Opens browsers, which are closed after the test."""
    with contextlib.ExitStack() as stack:
        yield lambda address, **more: stack.enter_context(contextlib.closing(Browser(hedgerow, address, **more)))


def port_of(hedgerow: Hedgerow) -> int:
    return int(hedgerow.web.rpartition(":")[2])


@contextlib.contextmanager
def connected(hedgerow: Hedgerow, addresses: list[str], data: bytes) -> Iterator[list[socket.socket]]:
    """Connect from each of the addresses, send `data`, and read nothing."""
    with contextlib.ExitStack() as stack:
        clients = []
        for address in addresses:
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            client.bind((address, 0))
            client.connect(("127.0.0.1", port_of(hedgerow)))
            with contextlib.suppress(OSError):
                client.sendall(data)
            clients.append(client)
        yield clients


def open_count(clients: list[socket.socket]) -> int:
    return sum(client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == 1 for client in clients)


def asked(hedgerow: Hedgerow, path: str, times: int = 1) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port_of(hedgerow)}\r\n\r\n".encode() * times


@pytest.mark.parametrize("data", ["half", "unread"])
def test_a_crowd_of_strangers_keeps_out_neither_parent_nor_child(hedgerow: Hedgerow, browser: Open, data: str) -> None:
    control = hedgerow.pids("control")
    parent, mia = browser(PARENT, is_signed_in=True), browser(MIA)
    assert (parent.get("/"), mia.get("/device")) == (200, 200)
    crowd = [socket.inet_ntoa(struct.pack("!I", 0x7F010001 + number)) for number in range(MAX_CONNECTIONS + 40)]
    sent = b"GET / HT" if data == "half" else asked(hedgerow, "/certificate", 60)
    with connected(hedgerow, crowd, sent) as clients:
        wait_until(lambda: open_count(clients) <= MAX_CONNECTIONS, 30)
        assert (parent.get("/"), mia.get("/device")) == (200, 200)
        assert browser(PARENT, is_signed_in=True).get("/") == 200, "also over a new connection"
    assert hedgerow.pids("control") == control


def test_one_device_that_reads_nothing_takes_its_own_places_only(hedgerow: Hedgerow, browser: Open) -> None:
    parent = browser(PARENT, is_signed_in=True)
    style_sheet = "/static/hedgerow.css"  # much to send, and little to compute
    assert browser(MIA).get(style_sheet) == 200
    unread = asked(hedgerow, style_sheet, 100)
    with connected(hedgerow, [MIA] * (MAX_CONNECTIONS_PER_CLIENT + 20), unread) as clients:
        wait_until(lambda: open_count(clients) <= MAX_CONNECTIONS_PER_CLIENT, 30)
        assert [parent.get("/") for _ in range(5)] == [200] * 5
        wait_until(lambda: open_count(clients) == 0, 90, "nobody keeps a connection without reading")
        assert browser(MIA).get("/device") == 200, "and the device gets places again"
