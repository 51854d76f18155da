"""Joined answers to one socket: each arrives whole and from the queried address, whatever the kernel supports."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import socket
import sys
from collections.abc import Callable
from typing import Any, cast

import dnslib
import pytest
from small_internet import SmallInternet

from hedgerow.dns.server import udp_batch
from hedgerow.dns.server.responder import DROPPED_METRIC
from hedgerow.dns.server.udp import BatchUdpListener
from hedgerow.dns.server.udp_batch import supports_udp_gso

from ..conftest import Running, ask, running

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel cuts datagrams on Linux only")

NAMES = ("adult.example", "www.adult.example", "a.much.longer.name.than.that.adult.example", "x.adult.example")


def listener_at(server: Running, port: int) -> Any:
    (found,) = [each for each in server.server._datagrams if each._socket.getsockname()[1] == port]
    assert isinstance(found, BatchUdpListener)
    return cast(Any, found)


def count_joined(listener: Any) -> list[int]:
    """Record the number of answers in each datagram sent from now on."""
    sizes, join = list[int](), listener._memory.join

    def counting(indexes: list[int]) -> list[list[int]]:
        groups: list[list[int]] = join(indexes)
        sizes.extend(map(len, groups))
        return groups

    listener._memory.join = counting
    return sizes


def client(host: str, target: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    sock.bind((host, 0))
    if target:
        sock.connect((target, port))
    return sock


async def answers(sock: socket.socket, count: int) -> dict[int, tuple[str, str]]:
    """By id: the name that was asked, and the sender's address."""
    found = dict[int, tuple[str, str]]()
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(10):
        for _ in range(count):
            data, peer = await loop.sock_recvfrom(sock, 4096)
            record = dnslib.DNSRecord.parse(data)
            assert [str(each.rdata) for each in record.rr] == ["0.0.0.0"], "the answer ends where it should"
            assert record.header.id not in found, "no answer comes twice"
            found[record.header.id] = (str(record.q.qname).removesuffix("."), peer[0])
    return found


def question(name: str, id: int) -> bytes:
    record = dnslib.DNSRecord.question(name)
    record.header.id = id
    return bytes(record.pack())


def in_a_server(internet: SmallInternet, test: Callable[[Running], Any]) -> None:
    async def main() -> None:
        async with running(internet.nameserver.upstream) as server:
            for port, host in ((server.port, "127.0.0.1"), (server.port6, "::1")):
                for name in NAMES:  # the cache has them from now on
                    assert await ask(port, question(name, 1), host=host, source=host) is not None
            await test(server)

    asyncio.run(main())


@pytest.mark.parametrize("wildcard", [False, True])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_answers_to_a_few_sockets_are_joined(internet: SmallInternet, host: str, wildcard: bool) -> None:
    async def test(server: Running) -> None:
        port = server.port6 if ":" in host else server.port
        if wildcard:
            port = await server.server.listen("::" if ":" in host else "0.0.0.0", 0)
        joined = count_joined(listener_at(server, port))
        sockets = [client(host, host, port) for _ in range(3)]
        asked: list[dict[int, str]] = [{} for _ in sockets]
        for id in range(240):
            asked[id % 3][id] = NAMES[id % 7 % 4]
            sockets[id % 3].send(question(asked[id % 3][id], id))
        for sock, names in zip(sockets, asked, strict=True):
            with sock:
                assert await answers(sock, len(names)) == {id: (name, host) for id, name in names.items()}
        assert max(joined) > 10, "so many of one length"
        assert sum(joined) > 200, "most of them"

    in_a_server(internet, test)


def test_joined_answers_leave_from_the_queried_address(internet: SmallInternet) -> None:
    async def test(server: Running) -> None:
        port = await server.server.listen("0.0.0.0", 0)
        joined = count_joined(listener_at(server, port))
        with client("127.0.0.1", "", 0) as sock:
            for id in range(60):
                sock.sendto(question(NAMES[0], id), (f"127.0.0.{2 + id % 3}", port))
            found = await answers(sock, 60)
        assert {id: address for id, (_, address) in found.items()} == {id: f"127.0.0.{2 + id % 3}" for id in range(60)}
        assert len(joined) >= 3
        assert sum(joined) == 60

    in_a_server(internet, test)


def refusing(listener: Any, refuses: Callable[[Any], bool], reason: int) -> list[int]:
    """From now on the kernel refuses what has headers for which `refuses` is true.

    Returns how many were left, each time it did.
    """
    refused, send = list[int](), listener._sendmmsg

    def sendmmsg(file: int, at: Any, count: int, flags: int) -> int:
        headers = (ctypes.c_uint64 * (8 * count)).from_address(at.value)
        for index in range(count):
            if refuses(headers[8 * index : 8 * index + 8]):
                if index:
                    return int(send(file, at, index, flags))
                refused.append(count)
                ctypes.set_errno(reason)
                return -1
        return int(send(file, at, count, flags))

    listener._sendmmsg = sendmmsg
    return refused


@pytest.mark.parametrize("reason", [errno.EINVAL, errno.EIO])
def test_answers_are_sent_one_by_one_without_segmentation(internet: SmallInternet, reason: int) -> None:
    async def test(server: Running) -> None:
        # more than one piece
        refused = refusing(listener_at(server, server.port), lambda header: header[3] > 1, reason)
        with (
            client("127.0.0.1", "127.0.0.1", server.port) as sock,
            client("127.0.0.1", "127.0.0.1", server.port) as other,
        ):
            for round in range(2):
                for id in range(60):
                    sock.send(question(NAMES[id % 4], 60 * round + id))
                other.send(question(NAMES[0], round))
                assert len(await answers(sock, 60)) == 60
                assert len(await answers(other, 1)) == 1
        assert len(refused) == 1, "it is not tried again"
        assert (DROPPED_METRIC, "send") not in server.server.responder.counters

    in_a_server(internet, test)


def test_unreachable_client_does_not_end_joining(internet: SmallInternet) -> None:
    async def test(server: Running) -> None:
        listener = listener_at(server, server.port)
        with (
            client("127.0.0.1", "127.0.0.1", server.port) as bad,
            client("127.0.0.1", "127.0.0.1", server.port) as good,
        ):
            port = bad.getsockname()[1]
            refusing(listener, lambda header: ctypes.string_at(header[0] + 2, 2) == port.to_bytes(2), errno.EINVAL)
            for id in range(40):
                bad.send(question(NAMES[0], id))
                good.send(question(NAMES[0], id))
            assert len(await answers(good, 40)) == 40
            assert server.server.responder.counters[DROPPED_METRIC, "send"] == 40
            joined = count_joined(listener)
            for id in range(40):
                good.send(question(NAMES[0], id))
            assert len(await answers(good, 40)) == 40
            assert max(joined) > 10

    in_a_server(internet, test)


def test_kernel_without_udp_segment_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        assert supports_udp_gso(sock)
        monkeypatch.setattr(udp_batch, "_UDP_SEGMENT", 9999)
        assert not supports_udp_gso(sock)
