"""Echo servers, run inside the internet's namespace.

Arguments: addresses, UDP ports and TCP ports, each separated by commas.
"""

from __future__ import annotations

import asyncio
import socket
import sys

MORE = b"more"
"""The beginning of a datagram that is answered with much more, as by the far end of a tunnel."""


class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.DatagramTransport)
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        for _ in range(20 if data.startswith(MORE) else 1):
            self._transport.sendto(data + bytes(1000) if data.startswith(MORE) else data, addr)


async def repeat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def answer_raw(address: str, number: int) -> None:
    """Echo the payload of another protocol than TCP and UDP, such as GRE."""
    loop = asyncio.get_running_loop()
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, number)
    raw.setblocking(False)
    raw.bind((address, 0))
    while True:
        packet, sender = await loop.sock_recvfrom(raw, 65536)
        await loop.sock_sendto(raw, packet[(packet[0] & 15) * 4 :], sender)


async def main() -> None:
    loop = asyncio.get_running_loop()
    addresses = sys.argv[1].split(",")
    datagrams, streams = ([int(port) for port in ports.split(",")] for ports in sys.argv[2:4])
    for address in addresses:
        for port in datagrams:
            await loop.create_datagram_endpoint(Echo, local_addr=(address, port))
        for port in streams:
            await asyncio.start_server(repeat, address, port)
    print("ready", flush=True)
    await asyncio.gather(*(answer_raw(addresses[0], number) for number in (4, 41, 47, 50)))


if __name__ == "__main__":
    asyncio.run(main())
