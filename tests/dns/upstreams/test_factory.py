"""Addresses of upstreams that are given by name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from struct import pack

import pytest

from hedgerow.dns import wire
from hedgerow.dns.upstreams.factory import BootstrapResolver
from hedgerow.dns.upstreams.pool import UpstreamPool
from hedgerow.dns.upstreams.upstream import MessageCallback, UpstreamError, UpstreamQuestion

HOST = "dns.elsewhere.example"


class Plain:
    """A plain resolver that knows one address, or is away: then nothing comes."""

    name = "plain"
    secure = accepts_late_answers = False
    address: str | None = "192.0.2.1"

    def send(self, ask: UpstreamQuestion, written: bytes, reported: MessageCallback) -> Callable[[], None]:
        if self.address is not None:
            rdata = bytes(map(int, self.address.split(".")))
            records = (
                wire.record_bytes(wire.QUESTION_POINTER, wire.A, 60, rdata)
                if ask.question[-4:-2] == pack("!H", wire.A)
                else b""
            )
            message = bytes(2) + b"\x81\x80" + pack("!HHHH", 1, bool(records), 0, 0) + ask.question + records
            asyncio.get_running_loop().call_soon(reported, message)
        return lambda: None

    async def close(self) -> None: ...


def test_stale_address_is_used_while_it_is_refreshed() -> None:
    async def main() -> None:
        plain, now = Plain(), 0.0
        bootstrap = BootstrapResolver(UpstreamPool([plain]), clock=lambda: now)
        assert await bootstrap(HOST) == ("192.0.2.1",)
        now, plain.address = 301.0, None
        async with asyncio.timeout(1):  # the plain resolver would be waited for for longer
            assert await bootstrap(HOST) == ("192.0.2.1",)
        now, plain.address = 602.0, "192.0.2.2"
        assert await bootstrap(HOST) == ("192.0.2.1",)
        await asyncio.wait(bootstrap._tasks, return_when=asyncio.FIRST_COMPLETED)
        assert await bootstrap(HOST) == ("192.0.2.2",)
        await bootstrap.close()

    asyncio.run(main())


def test_name_without_address_is_an_error() -> None:
    async def main() -> None:
        bootstrap = BootstrapResolver(UpstreamPool([]))
        with pytest.raises(UpstreamError, match="does not resolve"):
            await bootstrap(HOST)
        await bootstrap.close()

    asyncio.run(main())
