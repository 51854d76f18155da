"""Where a connection of the inspector goes: the event loop dials what was decided for it, never what the system would resolve.

mitmproxy opens its connections by name. The name must stay (it is the key under which a connection is used again, and the name its
certificate is checked for), so the addresses are handed past it: a context variable of the task that dials.
"""

from __future__ import annotations

import asyncio
import socket
from contextvars import ContextVar
from ipaddress import ip_address
from typing import Any

DIAL_LIMIT = 15.0

_addresses: ContextVar[tuple[str, ...] | None] = ContextVar("addresses", default=None)


def dial_only(addresses: tuple[str, ...]) -> None:
    """The task that calls this connects to these addresses from now on, whatever name it dials; to none if there are none."""
    _addresses.set(addresses)


class DialingLoop(asyncio.SelectorEventLoop):
    """An event loop that obeys `dial_only`. Tasks that never called it resolve names as usual."""

    async def getaddrinfo(self, host: Any, port: Any, *, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> Any:
        addresses = _addresses.get()
        if addresses is None:
            return await super().getaddrinfo(host, port, family=family, type=type, proto=proto, flags=flags)
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "no address may be dialled")
        return [_info(address, port) for address in addresses]

    async def create_connection(self, *arguments: Any, **named: Any) -> Any:
        """As usual, but within `DIAL_LIMIT` seconds, and with both families racing (RFC 8305). Raises TimeoutError."""
        if _addresses.get() is None:
            return await super().create_connection(*arguments, **named)
        async with asyncio.timeout(DIAL_LIMIT):
            return await super().create_connection(*arguments, happy_eyeballs_delay=0.25, interleave=1, **named)


def _info(address: str, port: int) -> tuple[int, int, int, str, tuple[Any, ...]]:
    if ip_address(address).version == 6:
        return (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port, 0, 0))
    return (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))
