"""One client that visits many hosts over one connection, as through an explicit proxy."""

from __future__ import annotations

import os
import socket
from http.client import HTTPResponse

from proxy_stand import Stand
from small_internet.records import parse_zone
from small_internet.whole import SmallInternet

from hedgerow.proxy.inspection.engine.http_layer import MAX_IDLE_ORIGINS

ADULT = "127.0.0.13"


def test_few_origins_are_kept_open_for_one_connection(stand: Stand, net: SmallInternet) -> None:
    """All of them are looked through at each request, and each takes a descriptor. The last ones are used again."""
    zone, hosts = "many.example", MAX_IDLE_ORIGINS + 60
    net.nameserver.add_zone(parse_zone(zone, f"* 60 A {net.address_of('news.example')}\n"))

    def descriptors() -> int:
        return len(os.listdir(f"/proc/{stand.inspector.pid}/fd"))

    with socket.create_connection(stand.proxy, 10, (ADULT, 0)) as client:

        def fetch(number: int) -> int:
            place = f"n{number}.{zone}:{net.origins.http_port}"
            client.sendall(f"GET http://{place}/open HTTP/1.1\r\nHost: {place}\r\n\r\n".encode())
            answer = HTTPResponse(client)
            answer.begin()
            answer.read()
            return answer.status

        assert fetch(0) == 200
        before = descriptors()
        assert {fetch(number) for number in range(1, hosts)} == {200}
        assert descriptors() - before <= MAX_IDLE_ORIGINS + 10, "and sockets for names"
        opened = len(net.origins.connections())
        assert {fetch(number) for number in range(hosts - 10, hosts)} == {200}
        assert len(net.origins.connections()) == opened
        assert fetch(0) == 200, "its connection was closed; there is another"
