"""DNS over HTTPS and clients that ask for much and take nothing."""

from __future__ import annotations

import asyncio
import socket

import dnslib
import h2.config
import h2.connection
import h2.settings
import uvloop
from small_internet import SmallInternet

from hedgerow.dns.http_codec import MAX_STREAMS
from hedgerow.dns.listening.certificates import ServerTls
from hedgerow.dns.listening.doh import PROTOCOLS, DohServer
from hedgerow.dns.listening.encrypted import EncryptedSide
from hedgerow.dns.listening.limits import MAX_UNSENT
from hedgerow.dns.listening.listeners import open_socket

from .conftest import running

NAME = "dns.home.example"
LARGE = bytes(dnslib.DNSRecord.question("huge-text.oddities.example", "TXT").pack())
LARGE_OCTETS = 20_000


def requests(body: bytes, count: int) -> bytes:
    """So many at once, of a client that has no room for answers."""
    client = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    client.initiate_connection()
    client.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
    for _ in range(count):
        stream = client.get_next_available_stream_id()
        fields = [(":method", "POST"), (":scheme", "https"), (":authority", NAME), (":path", "/dns-query")]
        client.send_headers(stream, [*fields, ("content-type", "application/dns-message")])
        client.send_data(stream, body, end_stream=True)
    return client.data_to_send()


async def remember(port: int) -> None:
    """Have the large answer in the cache, as it is for whatever is no datagram."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(len(LARGE).to_bytes(2) + LARGE)
    answer = await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
    assert len(answer) > LARGE_OCTETS
    writer.close()


def test_who_takes_no_answers_gets_no_more_of_them(internet: SmallInternet) -> None:
    """Those of one piece of bytes are not all kept either before the connection ends."""

    async def main() -> None:
        async with running(internet.nameserver.upstream) as server:
            await remember(server.port)
            web = DohServer(EncryptedSide(server.server.streams, NAME))
            leaf = internet.authority.leaf(NAME)
            sock = open_socket("127.0.0.1", 0, socket.SOCK_STREAM)
            await web.listen(sock, ServerTls(leaf.certificate, leaf.key, PROTOCOLS))
            try:
                context = internet.authority.client_context()
                context.set_alpn_protocols(["h2"])
                port = sock.getsockname()[1]
                reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=NAME)
                writer.write(requests(LARGE, MAX_STREAMS))
                async with asyncio.timeout(20):
                    while await reader.read(65536):
                        pass
                writer.close()
                answered = server.server.responder.counters["hedgerow_dns_cache_hits_total",]
                assert MAX_UNSENT // LARGE_OCTETS <= answered <= MAX_UNSENT // LARGE_OCTETS + 2
            finally:
                web.close()

    uvloop.run(main())
