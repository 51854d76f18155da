"""What tells a tunnel by its traffic: a VPN and a proxy behind TLS are found, and nothing that families use is."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator, Iterator

import pytest
from proxy_stand import Stand, proxy_stand
from small_internet.records import parse_zone
from small_internet.running import wait_until
from small_internet.whole import SmallInternet

from hedgerow.policies.content import TUNNEL_TRAFFIC
from hedgerow.policies.model import DeviceId
from hedgerow.proxy.tunnel_traffic import MIN_OCTETS, MOST_LIKE_A_TUNNEL, WINDOW_MINUTES, TunnelTraffic, TunnelUse

from .conftest import CHILD, CHILD_WITH_CA, LISTS

PHONE, VPN = DeviceId("phone"), "node-7.fast-net.example"
KB, MB = 1024, 1024**2
LISTED = "listed"
"""Hosts of which something is known begin so."""


def use(host: str, up: int, down: int) -> TunnelUse:
    return TunnelUse("192.168.1.9", PHONE, host, not host.startswith(LISTED), up, down)


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
        pytest.param((use("comics.example", 50 * 800, 50 * 60 * KB),), id="pictures of a small site by HTTP/1"),
        pytest.param((use("maps.example", 200 * 150, 200 * 12 * KB),), id="a map's tiles by HTTP/2"),
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
    traffic, hosts = TunnelTraffic(), [f"vpn-{number}.example" for number in range(2000)]
    for host in hosts:
        traffic.note(PHONE, host, 0.0)
    kept = [host for host in hosts if traffic.is_tunnel(PHONE, host, 1.0)]
    assert kept == hosts[-1024:]


@pytest.fixture(scope="module")
def hurried(net: SmallInternet, policy: str) -> Iterator[Stand]:
    """A stand that judges each second as if it were a minute."""
    with proxy_stand(net, policy, LISTS, examines=True, judging_seconds=1.0) as running:
        yield running


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.closing(writer), contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()


async def join(
    near: tuple[asyncio.StreamReader, asyncio.StreamWriter], far: tuple[asyncio.StreamReader, asyncio.StreamWriter]
) -> None:
    await asyncio.gather(pump(near[0], far[1]), pump(far[0], near[1]))


@contextlib.asynccontextmanager
async def hidden_socks_proxy(net: SmallInternet, address: str, port: int) -> AsyncIterator[None]:
    """Run microsocks behind TLS. To whoever speaks anything but SOCKS, the server is a web site."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        inside = probe.getsockname()[1]
    socks = await asyncio.create_subprocess_exec("microsocks", "-q", "-i", "127.0.0.1", "-p", str(inside))

    def is_listening() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", inside)):
            return True
        return False

    await asyncio.to_thread(wait_until, is_listening, 10.0)
    leaf = net.authority.leaf(VPN)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(leaf.certificate, leaf.key)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError):
            first = await reader.read(4096)  # microsocks reads a greeting at once
            if not first.startswith(b"\x05"):
                writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                return
            far = await asyncio.open_connection("127.0.0.1", inside)
            far[1].write(first)
            await join((reader, writer), far)

    try:
        async with await asyncio.start_server(serve, address, port, ssl=context):
            yield
    finally:
        socks.terminate()
        await socks.wait()


@contextlib.asynccontextmanager
async def proxy_client(stand: Stand, net: SmallInternet, port: int) -> AsyncIterator[str]:
    """Run the program on the child's device that speaks TLS to the hidden proxy. Yields where it takes connections."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*stand.proxy, local_addr=(CHILD, 0))
        closing = contextlib.closing
        with closing(writer), closing(far_writer), contextlib.suppress(OSError, asyncio.IncompleteReadError):
            far_writer.write(f"CONNECT {VPN}:{port} HTTP/1.1\r\nHost: {VPN}\r\n\r\n".encode())
            await far_reader.readuntil(b"\r\n\r\n")
            await far_writer.start_tls(ssl.create_default_context(cafile=net.authority.root), server_hostname=VPN)
            await join((reader, writer), (far_reader, far_writer))

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        host, local = server.sockets[0].getsockname()
        yield f"{host}:{local}"


async def browse(net: SmallInternet, socks: str, files: int) -> int:
    """Get files with a browser's request head until one fails. Return curl's exit status."""
    url = f"http://{net.address_of('news.example')}:{net.origins.http_port}/bytes/60000?[1-{files}]"
    words = ("-sS", "-Z", "--parallel-max", "4", "--fail-early", "-o", "/dev/null", "-H", f"Cookie: {'c' * 2000}")
    curl = await asyncio.create_subprocess_exec(
        "curl",
        *words,
        "--max-time",
        "90",
        "--limit-rate",
        "2M",
        "--socks5",
        socks,
        url,
        stderr=asyncio.subprocess.DEVNULL,
    )
    return await curl.wait()


@pytest.mark.skipif(shutil.which("microsocks") is None, reason="microsocks is not installed")
def test_a_socks_proxy_that_looks_like_a_site_is_cut_and_somebody_in_charge_asked(
    hurried: Stand, net: SmallInternet, policy: str
) -> None:
    address, port = f"{net.prefix}.252", net.origins.https_port
    net.nameserver.add_zone(parse_zone("fast-net.example", f"node-7 60 A {address}\n"))

    async def run() -> list[int]:
        async with hidden_socks_proxy(net, address, port), proxy_client(hurried, net, port) as socks:
            found = [await browse(net, socks, files) for files in (50, 1_000_000, 1)]
            hurried.swap(policy=policy.replace("    age: 9\n", f"    age: 9\n    allow: [{VPN}]\n"))
            return [*found, await browse(net, socks, 50)]

    hurried.reported()
    statuses = asyncio.run(run())
    hurried.swap(policy=policy)
    assert [status == 0 for status in statuses] == [True, False, False, True]
    told = hurried.wait_for(lambda found: any(each.asked for each in found))
    assert [
        (each.asked.device, each.asked.person, each.asked.host, each.asked.reason) for each in told if each.asked
    ] == [("mia-phone", "mia", VPN, f"recognised: {TUNNEL_TRAFFIC}")]
    assert {each.decision.what for each in told if each.decision and each.request and each.request.flaw} == {
        TUNNEL_TRAFFIC
    }


def test_a_websocket_that_is_used_as_a_tunnel_is_cut_and_its_site_blocked_with_a_page(
    hurried: Stand, net: SmallInternet
) -> None:
    """With the certificate the filter reads pages, and not what a program sends in messages."""
    host = "chat.example"
    frame = struct.pack("!BBQL", 0x82, 0xFF, 64 * KB, 0) + bytes(64 * KB)  # one message, with a mask of zeros

    def upgrade() -> ssl.SSLSocket:
        sock = socket.create_connection(hurried.proxy, 10, source_address=(CHILD_WITH_CA, 0))
        sock.sendall(f"CONNECT {host}:{net.origins.https_port} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert b" 200 " in sock.recv(999)
        secured = ssl.create_default_context(cafile=str(hurried.ca)).wrap_socket(sock, server_hostname=host)
        fields = (
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        )
        secured.sendall("\r\n".join(["GET /websocket HTTP/1.1", f"Host: {host}", *fields, "", ""]).encode())
        return secured

    hurried.reported()
    moved = 0
    with upgrade() as running, contextlib.suppress(OSError):
        assert running.recv(4096).startswith(b"HTTP/1.1 101 ")
        while True:
            running.sendall(frame)
            left = 64 * KB
            while left and (piece := running.recv(left)):
                left -= len(piece)
            if left:
                break
            moved += 64 * KB
            time.sleep(0.02)
    assert moved > (MOST_LIKE_A_TUNNEL - 1) * MIN_OCTETS // 2
    with upgrade() as refused:
        assert refused.recv(4096).startswith(b"HTTP/1.1 403 ")
    told = hurried.wait_for(lambda found: any(each.asked for each in found))
    assert [(each.asked.device, each.asked.host) for each in told if each.asked] == [("mia-tablet", host)]
