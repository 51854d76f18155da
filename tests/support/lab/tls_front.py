"""A TLS server that passes on what it receives:

`tls_front.py ADDRESS PORT CHAIN KEY TO_ADDRESS TO_PORT`. Before a web proxy, it is an HTTPS proxy.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import sys


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def main(address: str, port: str, chain: str, key: str, to_address: str, to_port: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection(to_address, int(to_port))
            await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(chain, key)
    async with await asyncio.start_server(serve, address, int(port), ssl=context) as server:
        print("ready", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
