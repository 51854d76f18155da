"""Answers wait until the gateway admits their addresses, once for each client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address

import dnslib
import pytest
from small_internet import SmallInternet

from hedgerow.dns.server.reports import Client
from hedgerow.dns.server.stream import EncryptedFrontend
from hedgerow.policies.model import DeviceId

from ..conftest import Running, ask, rules, running

SOURCE, OTHER_SOURCE = bytes.fromhex("02000000000a"), bytes.fromhex("02000000000b")


@dataclass
class Admitter:
    """Admits nothing until it is told to."""

    asked: list[tuple[bytes, set[str], int]] = field(default_factory=list)
    waiting: list[Callable[[bool], None]] = field(default_factory=list)

    def __call__(self, source: bytes, addresses: tuple[bytes, ...], ttl: int, done: Callable[[bool], None]) -> bool:
        self.asked.append((source, {str(ip_address(address)) for address in addresses}, ttl))
        self.waiting.append(done)
        return False


def query(name: str, qtype: str = "A") -> bytes:
    return bytes(dnslib.DNSRecord.question(name, qtype).pack())


async def held(
    server: Running, admitter: Admitter, message: bytes, *, is_admitted: bool = True, source: str = "127.0.0.1"
) -> bytes | None:
    """Return the answer to a query, which must not come before the admitter has replied."""
    asking = asyncio.create_task(ask(server.port, message, source=source))
    while not admitter.waiting:
        assert not asking.done()
        await asyncio.sleep(0.01)
    await asyncio.sleep(0)
    assert not asking.done()
    admitter.waiting.pop()(is_admitted)
    return await asking


@pytest.mark.usefixtures("each_listener")
def test_an_answer_waits_once_for_each_client(internet: SmallInternet) -> None:
    async def main() -> None:
        admitter = Admitter()
        async with running(internet.nameserver.upstream, admit=admitter) as server:
            server.clients["127.0.0.1"] = Client(DeviceId("tablet"), rules(), source=SOURCE)
            server.clients["127.0.0.2"] = Client(DeviceId("laptop"), rules(), source=OTHER_SOURCE)
            answer = await held(server, admitter, query("www.school.example"))
            assert answer is not None
            addresses = {
                str(record.rdata) for record in dnslib.DNSRecord.parse(answer).rr if record.rtype == dnslib.QTYPE.A
            }
            assert [(source, found) for source, found, _ in admitter.asked] == [(SOURCE, addresses)]
            assert 0 < admitter.asked[0][2] <= 86_400
            for _ in range(3):
                assert await ask(server.port, query("www.school.example"), source="127.0.0.1") is not None
            assert len(admitter.asked) == 1, "admitted before"
            await held(server, admitter, query("www.school.example"), source="127.0.0.2")
            assert [source for source, _, _ in admitter.asked] == [SOURCE, OTHER_SOURCE]
            for _ in range(3):
                for source in ("127.0.0.1", "127.0.0.2"):
                    assert await ask(server.port, query("www.school.example"), source=source) is not None
            assert len(admitter.asked) == 2, "one client's answer displaced another's"
            server.server.forget_clients()
            await held(server, admitter, query("www.school.example"))
            assert len(admitter.asked) == 3

    asyncio.run(main())


@pytest.mark.usefixtures("each_listener")
def test_an_answer_that_is_not_admitted_is_sent_but_asked_for_again(internet: SmallInternet) -> None:
    async def main() -> None:
        admitter = Admitter()
        async with running(internet.nameserver.upstream, admit=admitter) as server:
            server.clients["127.0.0.1"] = Client(DeviceId("tablet"), rules(), source=SOURCE)
            for _ in range(2):
                assert await held(server, admitter, query("www.school.example"), is_admitted=False) is not None
            assert len(admitter.asked) == 2

    asyncio.run(main())


@pytest.mark.usefixtures("each_listener")
def test_only_guarded_clients_and_answers_with_addresses_wait(internet: SmallInternet) -> None:
    async def main() -> None:
        admitter = Admitter()
        async with running(internet.nameserver.upstream, admit=admitter) as server:
            assert await ask(server.port, query("www.school.example"), source="127.0.0.1") is not None
            server.clients["127.0.0.1"] = Client(DeviceId("tablet"), rules(), source=SOURCE)
            server.server.forget_clients()
            for message in (query("adult.example"), query("www.school.example", "TXT"), query("nothing.example")):
                for _ in range(2):
                    assert await ask(server.port, message, source="127.0.0.1") is not None
            assert admitter.asked == [], "blocked, without addresses, or without a device that is guarded"

    asyncio.run(main())


def test_a_client_id_is_admitted_by_the_address_that_it_is_used_at(internet: SmallInternet) -> None:
    async def main() -> None:
        for admit, expected in ((None, "id:mia"), (Admitter(), "id:mia@127.0.0.1")):
            async with running(internet.nameserver.upstream, admit=admit) as server:
                server.clients["id:mia"] = server.clients["id:mia@127.0.0.1"] = Client(DeviceId("phone"), rules())
                frontend = EncryptedFrontend(server.server.streams, "dns.home.example")
                assert frontend.client_key("127.0.0.1", "mia") == expected

    asyncio.run(main())
