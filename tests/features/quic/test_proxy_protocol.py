"""DNS over QUIC behind a load balancer."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import cast

from aioquic.asyncio.client import connect as connect_quic
from aioquic.quic.configuration import QuicConfiguration
from small_internet import SmallInternet

from hedgerow.features.quic.listeners import open_doq

from ...dns.server.test_proxy_protocol import NAME, header, served
from . import test_doq


def test_quic_is_for_the_client_in_the_header(internet: SmallInternet) -> None:
    class Relay(asyncio.DatagramProtocol):
        """Passes on the datagrams of one client, each with a header."""

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = cast(asyncio.DatagramTransport, transport)
            self.client: tuple[str, int] | None = None

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            if addr[1] == self.port:
                assert self.client is not None
                self.transport.sendto(data, self.client)
            else:
                self.client = addr
                self.transport.sendto(header("192.168.7.7", kind=socket.SOCK_DGRAM) + data, ("127.0.0.1", self.port))

        port = 0

    async def main() -> None:
        async with served(internet, ("doq", open_doq)) as stand:
            Relay.port = stand.ports["doq"]
            transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Relay, local_addr=("127.0.0.2", 0))
            configuration = QuicConfiguration(alpn_protocols=["doq"], verify_mode=ssl.CERT_NONE, server_name=NAME)
            place = transport.get_extra_info("sockname")
            async with connect_quic(*place, configuration=configuration, create_protocol=test_doq.Client) as client:
                cast(test_doq.Client, client).write(test_doq.framed())
                assert (await cast(test_doq.Client, client).answer()).rr
            assert stand.devices() == {"console"}
            transport.close()

    asyncio.run(main())
