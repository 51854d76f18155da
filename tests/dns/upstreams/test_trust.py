"""`dnssec: validate`: only upstreams that prove that they validate, over secure channels, are used."""

from __future__ import annotations

import asyncio

import dnslib
import pytest

from hedgerow.dns.upstreams.factory import open_upstream_pool
from hedgerow.dns.upstreams.responses import address_texts
from hedgerow.dns.upstreams.trust import ValidatingUpstreams
from hedgerow.dns.upstreams.upstream import UpstreamError, UpstreamQuestion

from .test_upstream import ask as question


class Resolver(asyncio.DatagramProtocol):
    """Answers 192.0.2.1; says SERVFAIL with EDE 6 of bogus.test unless CD is set; `validates` sets the AD bit."""

    def __init__(self, *, validates: bool) -> None:
        self.validates = validates
        self.asked: list[str] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        asked = dnslib.DNSRecord.parse(data)
        name = str(asked.q.qname).lower()
        self.asked.append(name)
        reply = asked.reply()
        reply.header.ad = int(self.validates)
        if name == "." and asked.q.qtype == 6:
            reply.add_answer(dnslib.RR(".", dnslib.QTYPE.SOA, ttl=60, rdata=dnslib.SOA("a.", "b.", (1, 2, 3, 4, 5))))
        elif self.validates and name == "bogus.test." and not asked.header.cd:
            reply.header.rcode = 2
            reply.header.ad = 0
            reply.add_ar(dnslib.EDNS0(opts=[dnslib.EDNSOption(15, b"\0\6")]))
        else:
            reply.add_answer(dnslib.RR(asked.q.qname, ttl=60, rdata=dnslib.A("192.0.2.1")))
        self.transport.sendto(bytes(reply.pack()), addr)  # type: ignore[attr-defined]


async def start(*, validates: bool, port: int = 0) -> tuple[asyncio.DatagramTransport, Resolver, str]:
    loop = asyncio.get_running_loop()
    transport, resolver = await loop.create_datagram_endpoint(
        lambda: Resolver(validates=validates), local_addr=("127.0.0.1", port)
    )
    return transport, resolver, f"127.0.0.1:{transport.get_extra_info('sockname')[1]}"


def test_upstream_that_does_not_validate_is_never_asked() -> None:
    async def main() -> None:
        careless_end, careless, first = await start(validates=False)
        careful_end, careful, second = await start(validates=True)
        upstreams = open_upstream_pool([first, second], secure_only=True)
        found = await asyncio.gather(*(upstreams.ask(question(f"n{number}.test")) for number in range(20)))
        assert all(list(address_texts(response)) == ["192.0.2.1"] and response.authentic for response in found)
        assert set(careless.asked) == {"."}
        assert careful.asked.count(".") == 1
        with pytest.raises(UpstreamError) as fault:
            await upstreams.ask(UpstreamQuestion(question("bogus.test").question, checking_disabled=True))
        assert fault.value.ede == 6
        assert set(careless.asked) == {"."}
        await upstreams.close()
        careless_end.close()
        careful_end.close()

    asyncio.run(main())


async def proven(validators: ValidatingUpstreams) -> None:
    """The proof under way is over."""
    if validators._task is not None:
        await asyncio.wait([validators._task])
    assert not validators.is_due


def test_unanswered_proof_is_repeated_and_keeps_the_last_result(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        away_end, _, away = await start(validates=True)
        away_end.close()
        here_end, _, here = await start(validates=True)
        upstreams = open_upstream_pool([away, here], secure_only=True)
        assert (await upstreams.ask(question("a.test"))).authentic
        end, back, _ = await start(validates=True, port=int(away.rpartition(":")[2]))
        validators = upstreams._validators
        assert validators is not None
        now = validators._clock()
        # long before the hour after which all are asked again
        monkeypatch.setattr(validators, "_clock", lambda: now + 61.0)
        assert (await upstreams.ask(question("b.test"))).authentic
        await proven(validators)
        assert "." in back.asked
        here_end.close()
        monkeypatch.setattr(validators, "_clock", lambda: now + 4000.0)
        assert (await upstreams.ask(question("c.test"))).authentic
        await proven(validators)
        assert len(validators.names) == 2
        await upstreams.close()
        end.close()

    async def bounded() -> None:
        async with asyncio.timeout(20):
            await main()

    asyncio.run(bounded())


def test_without_validating_upstream_nothing_resolves(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        end, _, name = await start(validates=False)
        upstreams = open_upstream_pool([name], secure_only=True)
        for _ in range(2):
            with pytest.raises(UpstreamError, match="no upstream proves that it validates"):
                await upstreams.ask(question("a.test"))
        await upstreams.close()
        end.close()

    asyncio.run(main())
    assert caplog.messages == [
        "No upstream proves that it validates DNSSEC: with `dnssec: validate` no name can be looked up"
    ]


def test_validating_upstreams_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        careless_end, _, first = await start(validates=False)
        careful_end, _, second = await start(validates=True)
        upstreams = open_upstream_pool([first, second], secure_only=True)
        await upstreams.ask(question("a.test"))
        await upstreams.close()
        careless_end.close()
        careful_end.close()
        assert caplog.messages == [f"Upstreams that prove that they validate DNSSEC: udp://{second}"]

    with caplog.at_level("INFO"):
        asyncio.run(main())


def test_plain_upstream_is_not_trusted() -> None:
    async def main() -> None:
        upstreams = open_upstream_pool(["192.0.2.1"], secure_only=True)
        with pytest.raises(UpstreamError, match="no upstream proves that it validates"):
            await upstreams.ask(question("a.test"))
        await upstreams.close()

    asyncio.run(main())
