"""A resolver with listeners on loopback, over the small internet, under a table of decisions in place of a policy."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from hedgerow.blocklists.rules import Origin
from hedgerow.dns.answer_cache import Clocks
from hedgerow.dns.resolver import Resolver
from hedgerow.dns.server import udp
from hedgerow.dns.server.admission import Admit
from hedgerow.dns.server.listeners import DnsServer
from hedgerow.dns.server.reports import Client
from hedgerow.dns.upstreams.factory import open_upstream_pool
from hedgerow.policies.model import Decision, DeviceId, Reason, Request, Verdict
from hedgerow.policies.ruleset import Ruleset

BLOCK = Decision(Verdict.BLOCK, Reason.CATEGORY, "adult", Origin("starter", 1, "adult.example"))
ALLOW = Decision(Verdict.ALLOW, Reason.DEFAULT)
EXCEPTION = Decision(Verdict.ALLOW, Reason.EXCEPTION)


def rewrite(target: str) -> Decision:
    return Decision(Verdict.REWRITE, Reason.SAFE_SEARCH, "engine", target=target)


TABLE: Mapping[str, Decision] = {
    "adult.example": BLOCK,
    "mask.icloud.com": Decision(Verdict.BLOCK, Reason.BYPASS, "bypass"),
    "www.google.com": rewrite("forcesafesearch.google.com"),
    "www.bing.com": rewrite("213.180.193.56"),
    "www.youtube.com": rewrite("nowhere.example"),
}


@dataclass(frozen=True)
class HeldMasks:
    bypass: int = 0


@dataclass(frozen=True)
class HeldRules:
    """The parts of a ruleset that the resolver reads."""

    id: int = 1
    until: float | None = None
    profile: str = "child-8-12"
    trusts_ca: bool = False
    rules: HeldMasks = HeldMasks()
    upstream: tuple[str, ...] = ()

    def limited_as(self, device: DeviceId) -> DeviceId:
        return device


def rules(id: int = 1, until: float | None = None, *, trusts_ca: bool = False, bypass: int = 0) -> Ruleset:
    return cast(Ruleset, HeldRules(id, until, trusts_ca=trusts_ca, rules=HeldMasks(bypass)))


@dataclass
class DecisionTable:
    """`decide` by a table of hosts with their subdomains."""

    table: dict[str, Decision] = field(default_factory=lambda: dict(TABLE))

    def __call__(self, ruleset: Ruleset, request: Request) -> Decision:
        host = request.host
        while host:
            if host in self.table:
                return self.table[host]
            host = host.partition(".")[2]
        return ALLOW


@dataclass
class Running:
    """A server that listens; `seen` is what was reported by `observe`."""

    server: DnsServer
    decisions: DecisionTable
    port: int
    port6: int
    clients: dict[str, Client]
    seen: list[tuple[str, str, Decision, int]]

    @property
    def resolver(self) -> Resolver:
        return self.server.resolver


@contextlib.asynccontextmanager
async def running(
    upstream: str | list[str], *, clocks: Clocks | None = None, admit: Admit | None = None, **options: Any
) -> AsyncIterator[Running]:
    """Serves 127.0.0.1 and ::1 as one device under ruleset 1; 127.0.0.9 is outside the network."""
    decisions = DecisionTable()
    seen: list[tuple[str, str, Decision, int]] = []
    clients = {address: Client(DeviceId("tablet"), rules()) for address in ("127.0.0.1", "127.0.0.2", "::1")}

    def observe(client: Client, request: Request, decision: Decision, count: int) -> None:
        seen.append((client.device, request.host, decision, count))

    upstreams = open_upstream_pool([upstream] if isinstance(upstream, str) else upstream, **options)
    resolver = Resolver(upstreams, decisions, clocks=clocks)
    server = DnsServer(resolver, clients.get, observe, admit)
    try:
        port = await server.listen("127.0.0.1", 0)
        port6 = await server.listen("::1", 0)
        yield Running(server, decisions, port, port6, clients, seen)
    finally:
        await server.close()
        await resolver.upstreams.close()


async def ask(port: int, query: bytes, *, host: str = "127.0.0.1", source: str = "", wait: float = 6.0) -> bytes | None:
    """One datagram and its answer; None when there is none in time."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[bytes] = loop.create_future()

    class Querier(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: object) -> None:
            if not answer.done():
                answer.set_result(data)

    local = (source, 0) if source else None
    transport, _ = await loop.create_datagram_endpoint(Querier, local_addr=local, remote_addr=(host, port))
    try:
        transport.sendto(query)
        async with asyncio.timeout(wait):
            return await answer
    except TimeoutError:
        return None
    finally:
        transport.close()
        await asyncio.sleep(0)


@pytest.fixture(params=["in batches", "one by one"])
def each_listener(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once with the fast listener and once as on a system that has no recvmmsg."""
    if request.param == "one by one":

        def refuse(*_: object) -> None:
            raise NotImplementedError("not here")

        monkeypatch.setattr(udp, "BatchUdpListener", refuse)
