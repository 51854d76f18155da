"""Answers that a device does not read: what waits for it is bounded, and what others get is whole."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

from proxy_stand import proxy_stand
from small_internet.clients import curl
from small_internet.whole import SmallInternet

from hedgerow.proxy.inspection.shares import MOST_UNREAD, DeviceShare

HOST = "news.example"
ADULT = "127.0.0.13"
OCTETS = 8_000_000
MORE = 8


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
    with proxy_stand(net, policy) as stand, unread(stand.proxy, url, MOST_UNREAD + MORE) as clients:
        other = curl(net.url(HOST, "/page", "http"), proxy=stand.proxy, source="127.0.0.12")
        assert other.status == 200
        assert is_whole(clients[-1])
        assert not is_whole(clients[0])
        assert is_whole(clients[MORE * 2])


def test_a_device_that_reads_in_time_loses_nothing() -> None:
    share, ended = DeviceShare(), list[int]()
    for number in range(3 * MOST_UNREAD):
        share.note_unread(number, lambda number=number: ended.append(number))  # type: ignore[misc]
        if number >= MOST_UNREAD - 1:
            share.unread.pop(number - MOST_UNREAD + 1)
    assert ended == []
    for number in range(1000, 1005):
        share.note_unread(number, lambda number=number: ended.append(number))  # type: ignore[misc]
    assert ended == [2 * MOST_UNREAD + 1 + each for each in range(4)]
