"""Answers that a device does not read: what is kept for it is bounded, and what others get is whole."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator

import pytest
from proxy_stand import proxy_stand
from small_internet.clients import curl
from small_internet.whole import SmallInternet

from hedgerow.proxy.inspection.kept_octets import MOST_KEPT, MOST_KEPT_IN_ALL, MOST_UNREAD, KeptInAll, KeptOctets

HOST = "news.example"
ADULT = "127.0.0.13"
OCTETS = 8_000_000
CONNECTIONS = 160
"""More than may be unread, since each has at least 64 KiB that wait in the inspector."""


@contextlib.contextmanager
def unread(proxy: tuple[str, int], url: str, count: int) -> Iterator[list[socket.socket]]:
    """Connections that have asked for a long body, and read nothing after its first octets."""
    with contextlib.ExitStack() as stack:
        clients = list[socket.socket]()
        for _ in range(count):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(60)
            client.bind((ADULT, 0))
            client.connect(proxy)
            client.sendall(f"GET {url} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
            assert client.recv(1)
            clients.append(client)
        yield clients


def is_whole(client: socket.socket) -> bool:
    """Read the rest of an answer. Return whether nothing is missing."""
    received = 0
    try:
        while received < OCTETS:
            data = client.recv(1 << 20)
            if not data:
                return False
            received += len(data)
    except ConnectionError:
        return False
    return True


def test_the_connections_that_were_unread_for_longest_end(net: SmallInternet, policy: str) -> None:
    url = net.url(HOST, f"/bytes/{OCTETS}", "http")
    with proxy_stand(net, policy) as stand, unread(stand.proxy, url, CONNECTIONS) as clients:
        other = curl(net.url(HOST, "/page", "http"), proxy=stand.proxy, source="127.0.0.12")
        assert other.status == 200
        assert is_whole(clients[-1])
        assert not is_whole(clients[0])


class Connection:
    """A connection that notes whether it may read its origins."""

    def __init__(self, device: KeptOctets) -> None:
        self.device, self.may_read, self.has_ended = device, True, False
        device.add(self)

    def update(self) -> None:
        self.may_read = self.device.may_read(self)

    def abort(self) -> None:
        self.has_ended = True

    def keep(self, scanned: int, unread: int = 0) -> None:
        self.device.note(self, scanned, unread=unread)


type Connect = Callable[[], Connection]


@pytest.fixture
def device() -> KeptOctets:
    return KeptOctets()


def test_a_device_that_reads_in_time_loses_nothing(device: KeptOctets) -> None:
    for _ in range(1000):
        connection = Connection(device)
        connection.keep(0, unread=MOST_UNREAD)
        connection.keep(0)
        assert not connection.has_ended
    assert device.octets == 0


def test_of_too_much_unread_the_oldest_ends(device: KeptOctets) -> None:
    connections = [Connection(device) for _ in range(9)]
    for connection in connections:
        connection.keep(0, unread=MOST_UNREAD // 8)
    assert [each.has_ended for each in connections] == [True] + 8 * [False]
    assert device.octets == MOST_UNREAD


def test_pages_that_are_scanned_come_to_their_end_in_turn(device: KeptOctets) -> None:
    connections = [Connection(device) for _ in range(20)]
    for connection in connections[:17]:
        connection.keep(MOST_KEPT // 16)
    assert [each.may_read for each in connections] == [True] + 19 * [False]
    connections[0].keep(0)
    assert [each.may_read for each in connections[:3]] == [False, True, False]
    for connection in connections[1:8]:
        connection.keep(0)
    assert all(each.may_read for each in connections), "there is room again"
    for connection in connections:
        device.remove(connection)
    assert device.octets == 0


def test_many_devices_have_less_room_each_but_those_that_keep_little_notice_nothing() -> None:
    in_all = KeptInAll()
    greedy, modest = [Connection(KeptOctets(in_all)) for _ in range(6)], Connection(KeptOctets(in_all))
    modest.keep(MOST_KEPT // 64, unread=MOST_KEPT // 64)
    for connection in greedy:
        Connection(connection.device).keep(MOST_KEPT // 16)
        connection.keep(MOST_KEPT // 2)
    assert [each.may_read for each in greedy] == 6 * [False]
    assert modest.may_read
    assert not modest.has_ended
    for connection in greedy:
        connection.keep(0)
    assert all(each.may_read for each in greedy), "there is room again"


def test_what_many_devices_leave_unread_ends_first() -> None:
    in_all = KeptInAll()
    connections = [Connection(KeptOctets(in_all)) for _ in range(6)]
    for connection in connections:
        connection.keep(0, unread=MOST_UNREAD)
    assert sum(each.device.octets for each in connections) <= MOST_KEPT_IN_ALL
    assert any(each.has_ended for each in connections)


def test_a_device_that_keeps_little_loses_nothing_by_what_others_keep() -> None:
    in_all = KeptInAll()
    hogs, modest = [Connection(KeptOctets(in_all)) for _ in range(2)], KeptOctets(in_all)
    for hog in hogs:
        hog.keep(MOST_KEPT + 1)
    connections = [Connection(modest) for _ in range(3)]
    for connection in connections:
        connection.keep(0, unread=MOST_KEPT // 64)
    assert in_all.is_scarce
    assert not any(each.has_ended for each in (*hogs, *connections))
    others = [Connection(hogs[0].device), Connection(KeptOctets(in_all))]
    others[0].keep(0, unread=1)
    others[1].keep(0, unread=MOST_UNREAD)
    assert [each.has_ended for each in others] == [True, False], "the largest first, and an equal part for each"
    assert not any(each.has_ended for each in connections)
