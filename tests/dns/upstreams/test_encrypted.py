"""Encrypted upstreams of other vendors: Unbound over TLS and HTTPS, Knot DNS over QUIC."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from struct import pack

import pytest
from hyperframe import frame
from small_internet import SmallInternet

from hedgerow.dns import wire
from hedgerow.dns.upstreams.factory import open_upstream_pool
from hedgerow.dns.upstreams.pool import UpstreamPool
from hedgerow.dns.upstreams.responses import address_texts
from hedgerow.dns.upstreams.trust import TrustStore
from hedgerow.dns.upstreams.upstream import UpstreamError, UpstreamQuestion
from hedgerow.policies.network import LocalRecord

NAME = "dns.elsewhere.example"
HOME = "127.0.0.1"
SERVERS = {"tls": "unbound", "https": "unbound", "quic": "knotd"}
SCHEMES = [
    pytest.param(scheme, marks=pytest.mark.skipif(shutil.which(server) is None, reason=f"{server} is not installed"))
    for scheme, server in SERVERS.items()
]


def free_port(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind((HOME, 0))
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def server(scheme: str, folder: Path, internet: SmallInternet, name: str = NAME) -> Iterator[int]:
    """A resolver that shows a certificate for `name`; gives its port."""
    leaf = internet.authority.leaf(name)
    kind = socket.SOCK_DGRAM if scheme == "quic" else socket.SOCK_STREAM
    port = free_port(kind)
    if scheme == "quic":
        (folder / "zone").write_text(
            "example. 60 SOA a.example. b.example. 1 60 60 60 60\nexample. 60 NS a.example.\n"
            f"news.example. 60 A {internet.address_of('news.example')}\n*.wild.example. 60 A 127.9.9.9\n"
            + "".join(f'large.example. 60 TXT "{number:0200}"\n' for number in range(100))
        )
        text = (
            f"server:\n  listen-quic: {HOME}@{port}\n  key-file: {leaf.key}\n  cert-file: {leaf.certificate}\n  "
            f"rundir: {folder}\n"
            "  automatic-acl: off\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n"
            f"control:\n  listen: {folder}/control\ndatabase:\n  storage: {folder}\nzone:\n  - domain: "
            f"example.\n    file: {folder}/zone\n"
        )
        command = ["knotd", "-c", str(folder / "server.conf")]
    else:
        text = (
            f'server:\n directory: "{folder}"\n username: ""\n chroot: ""\n pidfile: ""\n '
            f"interface: {HOME}@{port}\n num-threads: 1\n"
            f" {scheme}-port: {port}\n tls-service-key: {leaf.key}\n tls-service-pem: {leaf.certificate}\n"
            ' module-config: "iterator"\n do-not-query-localhost: no\n use-syslog: no\nremote-control:\n '
            "control-enable: no\n"
            f'forward-zone:\n name: "."\n forward-addr: 127.0.0.1@{internet.nameserver.port}\n'
        )
        command = ["unbound", "-d", "-c", str(folder / "server.conf")]
    (folder / "server.conf").write_text(text)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_listening(port, kind)
        yield port
    finally:
        process.terminate()
        process.wait()


def wait_listening(port: int, kind: socket.SocketKind) -> None:
    deadline = time.monotonic() + 30
    table = Path("/proc/net/udp" if kind is socket.SOCK_DGRAM else "/proc/net/tcp")
    while f":{port:04X} " not in table.read_text():
        assert time.monotonic() < deadline, "the server does not start"
        time.sleep(0.02)


def ask(host: str, rtype: int = wire.A) -> UpstreamQuestion:
    return UpstreamQuestion(wire.name_of(host) + pack("!HH", rtype, wire.IN))


def with_upstream[T](
    url: str,
    internet: SmallInternet,
    use: Callable[[UpstreamPool], Awaitable[T]],
    *addresses: str,
    authorities: Path | None = None,
) -> T:
    async def run() -> T:
        upstreams = open_upstream_pool(
            [url],
            trust=TrustStore(authorities or internet.authority.root),
            records=[LocalRecord(NAME, addresses or (HOME,))],
        )
        try:
            return await use(upstreams)
        finally:
            await upstreams.close()
            await asyncio.sleep(0)

    return asyncio.run(run())


@pytest.mark.parametrize("scheme", SCHEMES)
def test_many_questions_share_one_connection(internet: SmallInternet, tmp_path: Path, scheme: str) -> None:
    async def use(upstreams: UpstreamPool) -> None:
        first = await upstreams.ask(ask("news.example"))
        assert list(address_texts(first)) == [internet.address_of("news.example")]
        count = 15 if scheme == "quic" else 250  # Knot DNS leaves more than about twenty at once unanswered
        many = await asyncio.gather(*(upstreams.ask(ask(f"n{number}.wild.example")) for number in range(count)))
        assert all(len(list(address_texts(answer))) == 1 for answer in many)
        name = "large.example" if scheme == "quic" else "huge-text.oddities.example"
        assert len((await upstreams.ask(ask(name, 16))).data) > 20_000

    with server(scheme, tmp_path, internet) as port:
        with_upstream(f"{scheme}://{NAME}:{port}", internet, use)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_file_of_authorities_has_remarks(internet: SmallInternet, tmp_path: Path, scheme: str) -> None:
    root, file = internet.authority.root.read_text(), tmp_path / "authorities.pem"
    file.write_text(f"# ours\n{root}# and again\n{root}# the end\n")

    async def use(upstreams: UpstreamPool) -> None:
        answer = await upstreams.ask(ask("news.example"))
        assert list(address_texts(answer)) == [internet.address_of("news.example")]

    with server(scheme, tmp_path, internet) as port:
        with_upstream(f"{scheme}://{NAME}:{port}", internet, use, authorities=file)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_certificate_for_another_name_is_rejected(
    internet: SmallInternet, tmp_path: Path, scheme: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def use(upstreams: UpstreamPool) -> None:
        with pytest.raises(UpstreamError):
            await upstreams.ask(ask("news.example"))

    with server(scheme, tmp_path, internet, "bank.example") as port:
        with_upstream(f"{scheme}://{NAME}:{port}", internet, use)
    (logged,) = (record for record in caplog.records if "does not answer" in record.message)
    assert "does not match" in logged.message or "doesn't match" in logged.message or "not valid for" in logged.message


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_address_of_the_upstream_is_tried(internet: SmallInternet, tmp_path: Path, scheme: str) -> None:
    """At the first nobody listens, at the second somebody who says nothing."""

    async def use(upstreams: UpstreamPool) -> list[str]:
        return list(address_texts(await upstreams.ask(ask("news.example"))))

    kind = socket.SOCK_DGRAM if scheme == "quic" else socket.SOCK_STREAM
    with server(scheme, tmp_path, internet) as port, socket.socket(socket.AF_INET, kind) as silent:
        silent.bind(("127.0.0.3", port))
        if kind is socket.SOCK_STREAM:
            silent.listen()
        url = f"{scheme}://{NAME}:{port}"
        assert with_upstream(url, internet, use, "127.0.0.2", "127.0.0.3", "::1", HOME) == [
            internet.address_of("news.example")
        ]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_restarted_upstream_is_asked_again(internet: SmallInternet, tmp_path: Path, scheme: str) -> None:
    async def use(upstreams: UpstreamPool) -> None:
        await upstreams.ask(ask("news.example"))
        running.close()
        with pytest.raises(UpstreamError):
            await upstreams.ask(ask("a.wild.example"))
        running.enter_context(server(scheme, tmp_path, internet))
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(UpstreamError):
                    await upstreams.ask(ask("b.wild.example"))
                    return

    with contextlib.ExitStack() as running, pytest.MonkeyPatch.context() as patch:
        port = running.enter_context(server(scheme, tmp_path, internet))
        patch.setattr(f"{__name__}.free_port", lambda _kind: port)
        with_upstream(f"{scheme}://{NAME}:{port}", internet, use)


def test_silently_dead_connection_is_given_up(internet: SmallInternet, tmp_path: Path) -> None:
    """A router that forgets a connection answers nothing: the next question takes another connection."""
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        mute = connections == 1
        with contextlib.suppress(EOFError, OSError):
            for number in range(100):
                query = await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
                if not (mute and number):
                    reply = internet.nameserver.replies(query, "tcp")[0].wire
                    writer.write(len(reply).to_bytes(2) + reply)
        writer.close()

    async def run() -> None:
        front = await asyncio.start_server(serve, HOME, 0)
        upstreams = open_upstream_pool([f"tcp://{HOME}:{front.sockets[0].getsockname()[1]}"])
        try:
            for host in ("news.example", "games.example"):
                assert list(address_texts(await upstreams.ask(ask(host)))) == [internet.address_of(host)]
        finally:
            await upstreams.close()
            front.close()
            await front.wait_closed()

    asyncio.run(run())
    assert connections == 2


def test_padding_hides_the_length_of_a_name() -> None:
    sizes = {2 + len(ask(f"{'n' * size}.example").padded_body) for size in range(1, 63)}
    assert sizes == {128}


@pytest.mark.parametrize(
    "unit",
    [
        frame.HeadersFrame(1, b"\x08\x03103", flags=["END_HEADERS"]),
        frame.PingFrame(0, b"12345678"),
        frame.HeadersFrame(1, b"\x20" * 16_000),
    ],
)
def test_an_upstream_that_sends_frames_without_answers_is_left(internet: SmallInternet, unit: frame.Frame) -> None:
    """The connection ends, the question fails, and the event loop goes on meanwhile."""
    leaf, ended = internet.authority.leaf(NAME), asyncio.Event()

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(24)
        with contextlib.suppress(OSError):
            writer.write(frame.SettingsFrame(0).serialize() + unit.serialize() * 5000)
            await writer.drain()
            await reader.read(-1)
        ended.set()
        writer.close()

    async def use(upstreams: UpstreamPool) -> None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(leaf.certificate, leaf.key)
        tls.set_alpn_protocols(["h2"])
        async with await asyncio.start_server(flood, sock=listening, ssl=tls):
            with pytest.raises(UpstreamError):
                await upstreams.ask(ask("news.example"))
            async with asyncio.timeout(20):
                await ended.wait()

    with socket.create_server((HOME, 0)) as listening:
        with_upstream(f"https://{NAME}:{listening.getsockname()[1]}/dns-query", internet, use)
