"""Rate limits: a client over its limit costs neither memory nor other clients' answers."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections import Counter
from ipaddress import ip_network

import dnslib
import pytest
from small_internet import Fault, SmallInternet

from hedgerow.dns.answer_cache import Clocks
from hedgerow.dns.server import rate_limits, responder, stream
from hedgerow.dns.server.clients import Clients
from hedgerow.dns.server.rate_limits import RateLimiter
from hedgerow.dns.server.reports import Client
from hedgerow.policies.model import DeviceId
from hedgerow.policies.network import QueryLimit

from ..conftest import Running, ask, rules, running

LIMIT = QueryLimit(per_client=10, total=60, exempt=(ip_network("127.0.0.2"),))


def query(name: str, qtype: str = "A") -> bytes:
    return bytes(dnslib.DNSRecord.question(name, qtype).pack())


def test_bucket_holds_a_burst_and_is_refilled_each_second() -> None:
    held = RateLimiter(LIMIT)
    bucket = held.bucket("192.0.2.1", "tablet")
    assert bucket.left == 40
    bucket.left = -5
    held.refill()
    assert bucket.left == 10
    for _ in range(9):
        held.refill()
    assert bucket.left == 40
    assert held.bucket("192.0.2.1", "tablet") is bucket
    assert held.bucket("127.0.0.2", "tablet") is held.free


def test_ipv6_addresses_of_a_device_share_a_bucket() -> None:
    held = RateLimiter(LIMIT)
    assert held.bucket("2001:db8::1", "tablet") is held.bucket("2001:db8::2", "tablet")
    assert held.bucket("2001:db8::1", "tablet") is not held.bucket("2001:db8::3", "laptop")
    assert held.bucket("192.0.2.1", "guests") is not held.bucket("192.0.2.2", "guests")


def test_table_of_buckets_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    held, searched = RateLimiter(LIMIT), 0
    drop_full = held._drop_full

    def count() -> None:
        nonlocal searched
        searched += 1
        drop_full()

    monkeypatch.setattr(RateLimiter, "_drop_full", lambda _: count())
    tracemalloc.start()
    for number in range(50_000):
        held.bucket(f"10.0.{number >> 8}.{number & 255}", "tablet").left -= 1
    assert tracemalloc.get_traced_memory()[0] < 8_000_000
    tracemalloc.stop()
    assert searched == 1, "the table is searched for each packet of whoever makes addresses up"


def test_ten_thousand_devices_are_known_at_once_with_a_limit_each() -> None:
    """A table that is too small for a school's devices is emptied for each query."""
    ruleset = rules()
    clients = Clients(lambda address: Client(DeviceId(address), ruleset), lambda _: b"", lambda *_: None, {}, Clocks())
    clients.limits.change(LIMIT)
    found = [clients.find(number, f"10.0.{number >> 8}.{number & 255}") for number in range(10_000)]
    assert all(client is not None and clients.known.get(client.key) is client for client in found)
    assert len({id(client.bucket) for client in found if client is not None}) == 10_000


def test_quiet_clients_make_room() -> None:
    held = RateLimiter(LIMIT)
    for number in range(rate_limits._MAX_BUCKETS):
        held.bucket(str(number), "tablet").left -= 1
    crowd = held.bucket("one more", "tablet")
    assert held.bucket("another", "tablet") is crowd
    held.refill()
    assert held.bucket("another", "tablet") is not crowd


async def burst(server: Running, count: int, source: str) -> int:
    """Return the number of answers to `count` equal queries at once."""
    found = await asyncio.gather(
        *(ask(server.port, query("adult.example"), source=source, wait=0.7) for _ in range(count))
    )
    return sum(answer is not None for answer in found)


@pytest.mark.usefixtures("each_listener")
def test_client_over_its_limit_does_not_affect_another(internet: SmallInternet) -> None:
    async def main() -> None:
        async with running(internet.nameserver.upstream) as server:
            server.server.limit(LIMIT)
            loud = asyncio.create_task(burst(server, 90, "127.0.0.1"))
            exempt = asyncio.create_task(burst(server, 90, "127.0.0.2"))
            assert await exempt == 90
            assert 40 <= await loud <= 60  # its burst, and what came back while it waited
            assert server.server.responder.counters["hedgerow_dns_dropped_total", "limit"] >= 30

    asyncio.run(main())


@pytest.mark.usefixtures("each_listener")
def test_total_limit_holds(internet: SmallInternet) -> None:
    async def main() -> None:
        async with running(internet.nameserver.upstream) as server:
            server.clients["127.0.0.2"] = Client(DeviceId("mias-tablet"), rules(), is_named=True)
            server.server.limit(QueryLimit(per_client=0, total=20, exempt=()))
            assert 40 <= await burst(server, 150, "127.0.0.1") <= 60, "devices without a name have half of it together"
            assert 35 <= await burst(server, 150, "127.0.0.2") <= 100
            server.server.limit(None)
            assert await burst(server, 150, "127.0.0.1") == 150

    asyncio.run(main())


def test_new_look_up_does_not_refill_a_bucket(internet: SmallInternet) -> None:
    async def main() -> None:
        async with running(internet.nameserver.upstream) as server:
            server.server.limit(LIMIT)
            answered = 0
            for _ in range(8):
                answered += await burst(server, 10, "127.0.0.1")
                server.server.forget_clients()
            assert answered < 70

    asyncio.run(main())


def test_flood_of_unknown_clients_is_not_answered(internet: SmallInternet) -> None:
    async def main() -> None:
        async with running(internet.nameserver.upstream) as server:
            server.server.responder.clients.limits.unknown_clients.left = 20
            sent = query("news.example")
            found = await asyncio.gather(*(ask(server.port, sent, source="127.0.0.9", wait=0.5) for _ in range(60)))
            refusals = [answer for answer in found if answer is not None]
            assert 20 <= len(refusals) < 60
            assert all(len(answer) <= len(sent) for answer in refusals)

    asyncio.run(main())


def test_pending_queries_of_one_client_leave_room_for_others(
    internet: SmallInternet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(responder, "MAX_PENDING_PER_CLIENT", 5)

    async def main() -> None:
        async with running(internet.nameserver.upstream) as server:
            server.server.limit(QueryLimit(1000, 1000, exempt=()))
            with internet.nameserver.misbehaving(Fault.SLOW, delay=0.4):
                outcome: Counter[bool] = Counter()
                greedy = [ask(server.port, query(f"n{number}.wild.example"), wait=1.5) for number in range(12)]
                modest = ask(server.port, query("modest.wild.example"), source="127.0.0.2", wait=1.5)
                *first, last = await asyncio.gather(*greedy, modest)
                outcome.update(answer is not None for answer in first)
            assert outcome == {True: 5, False: 7}
            assert last is not None
            assert await ask(server.port, query("later.wild.example")) is not None

    asyncio.run(main())


def test_longest_idle_connection_is_evicted(internet: SmallInternet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MAX_CONNECTIONS", 3)

    async def main() -> None:
        async with running(internet.nameserver.upstream) as server:
            pairs = []
            for _ in range(4):
                reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
                writer.write(len(query("adult.example")).to_bytes(2) + query("adult.example"))
                async with asyncio.timeout(3):
                    await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
                pairs.append((reader, writer))
            with pytest.raises((EOFError, OSError)):
                async with asyncio.timeout(3):
                    await pairs[0][0].readexactly(1)
            for _, writer in pairs:
                writer.close()

    asyncio.run(main())


def test_unknown_clients_have_few_connections(internet: SmallInternet) -> None:
    async def main() -> None:
        async with running(internet.nameserver.upstream) as server:
            unknown_clients = [
                await asyncio.open_connection("127.0.0.1", server.port, local_addr=("127.0.0.9", 0)) for _ in range(40)
            ]
            await asyncio.sleep(0.1)
            assert len(server.server.streams.table.connections) <= stream.MAX_UNKNOWN_CLIENTS
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(len(query("adult.example")).to_bytes(2) + query("adult.example"))
            async with asyncio.timeout(30):
                assert await reader.readexactly(2)
            for _, each in [*unknown_clients, (reader, writer)]:
                each.close()

    asyncio.run(main())


def test_wrong_client_ids_are_limited_for_all_clients_together(internet: SmallInternet) -> None:
    async def main() -> None:
        async with running(internet.nameserver.upstream) as server:
            frontend = stream.EncryptedFrontend(server.server.streams, "dns.home.example")
            for client_id in ("known", "other"):
                server.clients[f"id:{client_id}"] = Client(DeviceId(client_id), rules())
            assert frontend.client_key("127.0.0.9", "known") == "id:known"
            tries = [frontend.client_key(f"127.0.1.{number}", f"wrong{number}") for number in range(200)]
            assert tries == [f"127.0.1.{number}" for number in range(200)]
            assert frontend.client_key("127.0.0.9", "other") == "127.0.0.9", "no try is left"
            assert frontend.client_key("127.0.0.9", "known") == "id:known", "it was right before"
            server.server.responder.clients.limits.refill()
            assert frontend.client_key("127.0.0.9", "other") == "id:other"

    asyncio.run(main())
