"""Does our own encrypted DNS take connections, with a certificate that devices can believe? For the doctor."""

from __future__ import annotations

import asyncio
import tempfile
from ipaddress import ip_address
from pathlib import Path

from hedgerow.app.settings import Endpoint, Settings
from hedgerow.dns.upstreams.factory import open_channel
from hedgerow.dns.upstreams.stream import PersistentChannel
from hedgerow.dns.upstreams.trust import TrustStore
from hedgerow.dns.upstreams.upstream import UpstreamError, UpstreamSpec
from hedgerow.policies.network import NetworkSettings
from hedgerow.proxy.certificate_authority import CertificateAuthorityError, load_ca

ENCRYPTED_TRANSPORTS = (("dot", "tls", "DNS over TLS"), ("doh", "https", "DNS over HTTPS"), ("doq", "quic", "DNS over QUIC"))
_CONNECT_TIMEOUT_S = 5.0


def try_encrypted_dns(settings: Settings, network: NetworkSettings) -> list[tuple[str, Endpoint, str]]:
    """What is served, where, and what went wrong with it (nothing: empty). The certificate is checked by our own CA and the usual ones."""
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        try:
            file.write(load_ca(settings.authority).pem)
            file.flush()
            trust = TrustStore(Path(file.name))
        except (OSError, CertificateAuthorityError):
            trust = TrustStore()
        found = []
        for key, scheme, what in ENCRYPTED_TRANSPORTS:
            endpoint: Endpoint | None = getattr(settings, key)
            if endpoint is not None:
                found.append((what, endpoint, asyncio.run(_try_transport(scheme, endpoint, network.server_name, trust))))
        return found


async def _try_transport(scheme: str, endpoint: Endpoint, name: str | None, trust: TrustStore) -> str:
    address = ip_address(endpoint.host)
    host = ("127.0.0.1" if address.version == 4 else "::1") if address.is_unspecified else endpoint.host

    async def resolve(_name: str) -> tuple[str, ...]:
        return (host,)

    channel = open_channel(UpstreamSpec(scheme, name or host, endpoint.port, "/dns-query"), resolve, trust)
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
