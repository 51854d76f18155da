"""Inquiries whose channels can't even be asked, as before the network is up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from struct import pack

import pytest

from hedgerow.dns import wire
from hedgerow.dns.upstreams.inquiries import Upstreams
from hedgerow.dns.upstreams.upstream import Ask, Told, UpstreamError


class Unreachable:
    """A channel over a network that is not there."""

    secure = hears_late = False

    def __init__(self, name: str) -> None:
        self.name = name

    def send(self, ask: Ask, written: bytes, told: Told) -> Callable[[], None]:
        raise OSError(101, "Network is unreachable")

    async def close(self) -> None: ...


@pytest.mark.parametrize("number", [1, 2, 4])
def test_a_network_that_is_not_there_is_an_error_and_no_crash(number: int) -> None:
    async def main() -> None:
        upstreams = Upstreams([Unreachable(f"udp://{last}") for last in range(number)])
        for _ in range(2):
            with pytest.raises(UpstreamError, match="no upstream answered"):
                await upstreams.ask(Ask(wire.name_of("example.com") + pack("!HH", wire.A, wire.IN)))
        await upstreams.close()

    asyncio.run(main())
