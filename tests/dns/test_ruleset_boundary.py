"""A schedule's boundary under load: answers change at its instant, and no TTL outlives it."""

from __future__ import annotations

import asyncio
import socket
import time

import dnslib
import pytest
import uvloop
from small_internet import Fault, SmallInternet

from hedgerow.dns.server.reports import Client
from hedgerow.policies.model import Decision, DeviceId, Reason, Request, Verdict
from hedgerow.policies.ruleset import Ruleset

from .conftest import ALLOW, Running, ask, rules, running

BEDTIME = Decision(Verdict.BLOCK, Reason.BEDTIME, "every-day")
ASKED_A_SECOND = 1000
SECONDS = 3.0


@pytest.mark.usefixtures("each_listener")
def test_bedtime_begins_at_its_instant_under_load(internet: SmallInternet) -> None:
    uvloop.run(bedtime(internet))


async def bedtime(internet: SmallInternet) -> None:
    async with running(internet.nameserver.upstream) as server:
        until = time.time() + SECONDS / 2
        day, night = Client(DeviceId("tablet"), rules(1, until)), Client(DeviceId("tablet"), rules(2))

        def decide(ruleset: Ruleset, _request: Request) -> Decision:
            return ALLOW if ruleset.id == 1 else BEDTIME

        server.server.swap(lambda _address: day if time.time() < until else night, decide)
        answered = await under_load(server)
    assert len(answered) > 0.5 * ASKED_A_SECOND * SECONDS
    for when, message in answered:
        record = dnslib.DNSRecord.parse(message)
        (found,) = record.rr
        if str(found.rdata) != "0.0.0.0":
            assert when < until + 1.0
            assert when + found.ttl <= until + 1.0
    late = [str(dnslib.DNSRecord.parse(message).rr[0].rdata) for when, message in answered if when > until + 1.0]
    assert late
    assert set(late) == {"0.0.0.0"}


async def under_load(server: Running) -> list[tuple[float, bytes]]:
    """Every answer and the instant at which it came; few names often, and many names once."""
    loop = asyncio.get_running_loop()
    answered: list[tuple[float, bytes]] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        sock.connect(("127.0.0.1", server.port))

        def take() -> None:
            try:
                while True:
                    answered.append((time.time(), sock.recv(4096)))
            except BlockingIOError:
                return

        loop.add_reader(sock, take)
        began, number = loop.time(), 0
        while (passed := loop.time() - began) < SECONDS:
            while number < passed * ASKED_A_SECOND:
                name = f"n{number}.wild.example" if number % 20 == 0 else f"often{number % 20}.wild.example"
                sock.send(bytes(dnslib.DNSRecord.question(name).pack()))
                number += 1
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.2)
        loop.remove_reader(sock)
    return answered


@pytest.mark.parametrize("how", ["a boundary", "a new policy", "a pause", "nobody any more"])
def test_query_in_flight_at_the_boundary_gets_the_new_answer(internet: SmallInternet, how: str) -> None:
    async def main() -> bytes | None:
        async with running(internet.nameserver.upstream) as server:
            until = time.time() + 0.3
            day, night = (
                Client(DeviceId("tablet"), rules(1, until if how == "a boundary" else None)),
                Client(DeviceId("tablet"), rules(2)),
            )

            def decide(ruleset: Ruleset, _request: Request) -> Decision:
                return ALLOW if ruleset.id == 1 else BEDTIME

            server.server.swap(lambda _address: day if how != "a boundary" or time.time() < until else night, decide)
            with internet.nameserver.misbehaving(Fault.SLOW, delay=0.6):
                question = asyncio.create_task(
                    ask(server.port, bytes(dnslib.DNSRecord.question("late.wild.example").pack()))
                )
                await asyncio.sleep(0.2)
                if how == "a new policy":
                    server.server.swap(lambda _address: night, decide)
                elif how == "a pause":  # no new policy, but other rules for this device
                    server.server._clients.find_client = lambda _address: night
                    server.server.forget_clients()
                elif how == "nobody any more":
                    server.server.swap(lambda _address: None, decide)
                return await question

    message = asyncio.run(main())
    assert message is not None
    record = dnslib.DNSRecord.parse(message)
    if how == "nobody any more":
        assert (record.header.rcode, record.rr) == (5, [])
    else:
        assert [str(rr.rdata) for rr in record.rr] == ["0.0.0.0"]
