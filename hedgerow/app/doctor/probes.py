"""Network probes for the doctor: our own ports, our encrypted DNS and each upstream."""

from __future__ import annotations

import asyncio
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from struct import pack

from dnslib import DNSError, DNSRecord

from hedgerow.app.settings import Endpoint, Settings
from hedgerow.dns.upstreams.factory import open_channel
from hedgerow.dns.upstreams.pool import UpstreamPool
from hedgerow.dns.upstreams.stream import PersistentChannel
from hedgerow.dns.upstreams.trust import TrustStore
from hedgerow.dns.upstreams.upstream import UpstreamError, UpstreamQuestion, UpstreamSpec
from hedgerow.dns.wire import NOERROR, NXDOMAIN
from hedgerow.policies.network import NetworkSettings
from hedgerow.policies.transports import ENCRYPTED_TRANSPORTS, Transport
from hedgerow.proxy.certificate_authority import CertificateAuthorityError, load_ca

PROBE_TIMEOUT_S = 3.0
CANARY = "use-application-dns.net"
"""A name that Hedgerow always answers with NXDOMAIN itself, so the probe needs no upstream."""
_CONNECT_TIMEOUT_S = 5.0


def answers_http(endpoint: Endpoint) -> bool:
    """Return True if a process serves at an address: it answers a request, or at least ends the connection.

    That a connection opens says nothing, since the supervisor holds the listening sockets.
    """
    local = endpoint.from_here
    try:
        with socket.create_connection((local.host, local.port), PROBE_TIMEOUT_S) as client:
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            client.recv(1)
    except ConnectionResetError:
        return True
    except OSError:
        return False
    return True


def query_resolver(server: Endpoint, kind: socket.SocketKind) -> bool:
    """Return True if our resolver answers a query, over UDP or TCP by `kind`."""
    local = server.from_here
    query = DNSRecord.question(CANARY)
    message = query.pack()
    is_udp = kind is socket.SOCK_DGRAM
    try:
        with socket.socket(socket.AF_INET6 if ":" in local.host else socket.AF_INET, kind) as client:
            client.settimeout(PROBE_TIMEOUT_S)
            client.connect((local.host, local.port))
            client.sendall(message if is_udp else pack("!H", len(message)) + message)
            response = DNSRecord.parse(client.recv(4096)[0 if is_udp else 2 :])
    except (OSError, DNSError):
        return False
    return bool(response.header.id == query.header.id)


async def try_upstream(open_upstreams: Callable[[], UpstreamPool]) -> tuple[str, float]:
    """Ask one upstream for example.com. Return the error, empty if it answered, and the seconds it took."""
    upstreams, started = open_upstreams(), time.monotonic()
    try:
        response = await upstreams.ask(UpstreamQuestion(bytes(DNSRecord.question("example.com").pack()[12:])))
        error = "" if response.rcode in (NOERROR, NXDOMAIN) else f"answers with code {response.rcode}"
    except (UpstreamError, OSError) as problem:
        error = str(problem) or "no answer"
    finally:
        await upstreams.close()
    return error, time.monotonic() - started


def try_encrypted_dns(settings: Settings, network: NetworkSettings) -> list[tuple[str, Endpoint, str]]:
    """Connect to each of our encrypted transports. Return its name, its address and the error, empty if there was none.

    The certificate must chain to our own CA or to one of the system's.
    """
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        try:
            file.write(load_ca(settings.authority).pem)
            file.flush()
            trust = TrustStore(Path(file.name))
        except (OSError, CertificateAuthorityError):
            trust = TrustStore()
        served = [(ENCRYPTED_TRANSPORTS[name], endpoint) for name, endpoint in settings.encrypted.items()]
        return [
            (transport.title, endpoint, asyncio.run(_try_transport(transport, endpoint, network.server_name, trust)))
            for transport, endpoint in served
        ]


async def _try_transport(transport: Transport, endpoint: Endpoint, name: str | None, trust: TrustStore) -> str:
    host = endpoint.from_here.host

    async def resolve(_name: str) -> tuple[str, ...]:
        return (host,)

    spec = UpstreamSpec(transport.scheme, name or host, endpoint.port, "/dns-query")
    if transport.scheme:
        channel = open_channel(spec, resolve, trust)
    else:
        from hedgerow.dns.upstreams.quic import QuicChannel  # aioquic takes megabytes

        channel = QuicChannel(spec, resolve, trust, transport.alpn)
    assert isinstance(channel, PersistentChannel)
    try:
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            await channel.connect()
    except TimeoutError:
        return "no answer"
    except UpstreamError as error:
        return str(error)
    finally:
        await channel.close()
    return ""
