"""What tells a tunnel by its traffic: a VPN and a proxy behind TLS are found, and nothing that families use is."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Iterator

import pytest
from proxy_stand import Stand, proxy_stand
from small_internet.records import parse_zone
from small_internet.whole import SmallInternet

from hedgerow.policies.content import TUNNEL_TRAFFIC
from hedgerow.policies.model import DeviceId, Request, RequestKind
from hedgerow.proxy.certificate_examiner import Server
from hedgerow.proxy.gate.traffic import MIN_OCTETS, MOST_LIKE_A_TUNNEL, WINDOW_MINUTES, TunnelTraffic, TunnelUse

from ..conftest import CHILD, LISTS

PHONE, VPN = DeviceId("phone"), "node-7.fast-net.example"
KB, MB = 1024, 1024**2
LISTED = "listed"
"""Hosts of which something is known begin so."""


def use(host: str, up: int, down: int) -> TunnelUse:
    request = Request(PHONE, RequestKind.TUNNEL, host, 443)
    server = None if host.startswith(LISTED) else Server(host, "203.0.113.5", 443, PHONE, request)
    return TunnelUse("192.168.1.9", PHONE, host, server, up, down)


def found_after(*minute: TunnelUse, minutes: int = 30, every: int = 1) -> int | None:
    """Return the number of minutes of such use after which a tunnel is found; None if none is."""
    traffic = TunnelTraffic()
    for number in range(0, minutes, every):
        if traffic.judge(number, minute):
            return number + 1
    return None


@pytest.mark.parametrize(
    "minute",
    [
        pytest.param((use(VPN, 1056 * KB, 31451 * KB),), id="a download through OpenVPN by TCP, as measured"),
        pytest.param((use(VPN, 270 * KB, 3237 * KB),), id="100 small files through it"),
        pytest.param((use(VPN, 120 * KB, 4 * MB),), id="pages through a proxy"),
        pytest.param((use(VPN, 9 * MB, 10 * MB),), id="a call through a VPN"),
        pytest.param((use("a.fast-net.example", 99 * KB, 2 * MB), use(VPN, 99 * KB, 2 * MB)), id="over two servers"),
        pytest.param(
            (use(VPN, 300 * KB, 12 * MB), *(use(f"listed.push{n}.example", KB, KB) for n in range(9))),
            id="beside connections that programs keep alive",
        ),
    ],
)
def test_a_tunnel_is_found_within_minutes(minute: tuple[TunnelUse, ...]) -> None:
    assert found_after(*minute) == MOST_LIKE_A_TUNNEL


@pytest.mark.parametrize(
    "minute",
    [
        pytest.param((use("listed-call.example", 9 * MB, 10 * MB),), id="a call of a known service"),
        pytest.param((use("files.example", 20 * KB, 300 * MB),), id="a large download"),
        pytest.param((use("films.example", 30 * KB, 40 * MB),), id="a film"),
        pytest.param((use("backup.example", 300 * MB, 50 * KB),), id="an upload into a cloud"),
        pytest.param((use("game.example", 120 * KB, 900 * KB),), id="a game in a browser"),
        pytest.param((use("lessons.example", 60 * KB, 900 * KB),), id="exercises for school"),
        pytest.param((use("chat.example", 30 * KB, 60 * KB),), id="a chat"),
        pytest.param(
            (use("shop.example", 200 * KB, 4 * MB), *(use(f"listed.cdn{n}.example", 9 * KB, MB) for n in range(5))),
            id="pages with what they load elsewhere",
        ),
        pytest.param(
            (use("photos.example", 300 * KB, 9 * MB), use("listed-music.example", 30 * KB, 2 * MB)),
            id="pages beside music",
        ),
    ],
)
def test_ordinary_use_is_none(minute: tuple[TunnelUse, ...]) -> None:
    assert found_after(*minute, minutes=180) is None


def test_ten_minutes_of_fifteen_count_and_not_ten_of_a_day() -> None:
    tunnel = use(VPN, 300 * KB, 12 * MB)
    assert found_after(tunnel, minutes=300, every=2) is None
    traffic = TunnelTraffic()
    judged = [bool(traffic.judge(n, [tunnel])) for n in range(WINDOW_MINUTES) if n % 3]
    assert judged == [False] * (MOST_LIKE_A_TUNNEL - 1) + [True]


def test_what_is_kept_is_bounded() -> None:
    """The sites that were noted first are forgotten."""
    traffic = TunnelTraffic()
    servers = [use(f"vpn-{number}.example", 0, 0).unlisted for number in range(2000)]
    for server in servers:
        assert server is not None
        traffic.note(server, 0.0)
    kept = [server for server in servers if server is not None and traffic.is_tunnel(server, 1.0)]
    assert kept == servers[-len(kept) :]
    assert len(kept) == 1024


@pytest.fixture(scope="module")
def hurried(net: SmallInternet, policy: str) -> Iterator[Stand]:
    """A stand that judges each second as if it were a minute."""
    with proxy_stand(net, policy, LISTS, examines=True, judging_seconds=1.0) as running:
        yield running


def test_a_tunnel_that_looks_like_a_site_is_cut_and_somebody_in_charge_asked(
    hurried: Stand, net: SmallInternet, policy: str
) -> None:
    """Its server answers everybody else with pages."""
    host, address, port = VPN, f"{net.prefix}.252", net.origins.https_port
    net.nameserver.add_zone(parse_zone("fast-net.example", f"node-7 60 A {address}\n"))
    leaf = net.authority.leaf(host)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(leaf.certificate, leaf.key)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError, asyncio.IncompleteReadError):
            first = await reader.readexactly(4)
            if first == b"CONN":
                writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            while first == b"open" and (data := await reader.read(65536)):
                writer.write(data * 2)
                await writer.drain()

    async def octets_moved(most: int = 10**9) -> int:
        """Use the tunnel until it is cut or has moved this much."""
        reader, writer = await asyncio.open_connection(*hurried.proxy, local_addr=(CHILD, 0))
        moved = 0
        with contextlib.closing(writer), contextlib.suppress(OSError, asyncio.IncompleteReadError):
            writer.write(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
            await writer.start_tls(ssl.create_default_context(cafile=net.authority.root), server_hostname=host)
            writer.write(b"open")
            while moved < most:
                writer.write(bytes(128 * KB))
                moved += len(await reader.readexactly(256 * KB))
                await asyncio.sleep(0.01)
        return moved

    async def run() -> tuple[int, int, int]:
        async with await asyncio.start_server(serve, address, port, ssl=context):
            until_found, afterwards = await octets_moved(), await octets_moved()
            hurried.swap(policy=policy.replace("    age: 9\n", f"    age: 9\n    allow: [{host}]\n"))
            return until_found, afterwards, await octets_moved(most=MB)

    hurried.reported()
    until_found, afterwards, once_allowed = asyncio.run(run())
    hurried.swap(policy=policy)
    assert until_found >= (MOST_LIKE_A_TUNNEL - 1) * MIN_OCTETS
    assert (afterwards, once_allowed >= MB) == (0, True)
    told = hurried.wait_for(lambda found: any(each.asked for each in found))
    assert [
        (each.asked.device, each.asked.person, each.asked.host, each.asked.reason) for each in told if each.asked
    ] == [("mia-phone", "mia", host, f"recognised: {TUNNEL_TRAFFIC}")]
    assert {each.decision.what for each in told if each.decision and each.request and each.request.flaw} == {
        TUNNEL_TRAFFIC
    }
