"""The processes of a stand: each builds its policy from a `World` as the application's workers do, and executes orders
from its pipe.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

import uvloop

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.dns.host_resolver import HostResolver
from hedgerow.dns.resolver import Resolver
from hedgerow.dns.upstreams.factory import BootstrapResolver, open_channel
from hedgerow.dns.upstreams.pool import UpstreamPool
from hedgerow.dns.upstreams.upstream import parse_upstream
from hedgerow.features import FEATURES
from hedgerow.features.contract import scanners_of
from hedgerow.policies.host_facts import HostFactIndex
from hedgerow.policies.identity import Protection
from hedgerow.policies.model import AccessRequest, Decision, Device, Grant, Pause, Policy, Request
from hedgerow.policies.remembered import PageRecognised
from hedgerow.policies.ruleset import Ruleset, Rulesets
from hedgerow.policies.unlisted import is_examined, may_be_remembered
from hedgerow.policies.url_decisions import UrlDecisions
from hedgerow.proxy.certificate_authority import ensure_ca
from hedgerow.proxy.certificate_examiner import CertificateExaminer
from hedgerow.proxy.gate.server import Gate
from hedgerow.proxy.gate.table import GateLimits
from hedgerow.proxy.handover import load_handover_key
from hedgerow.proxy.pages.block_page import BlockPage
from hedgerow.proxy.pass_through import CertificateRefusals, PassThrough
from hedgerow.proxy.policy import DestinationGuard, ProxyPolicy
from hedgerow.proxy.poller import PollerLoop
from hedgerow.proxy.scanners.topics import ListedTopics
from hedgerow.proxy.signing import MAX_CLIENTS, Signer
from hedgerow.sockets import bind_datagrams, bind_unix_socket, open_socket


@dataclass(frozen=True, slots=True)
class World:
    """The configuration of a stand.

    `upstream` is the nameserver of our resolver. Without `tells` no observation is kept.
    """

    policy: Policy
    generation: Path
    state: Path
    upstream: str
    upstream_ca: Path
    grants: tuple[Grant, ...] = ()
    pauses: tuple[Pause, ...] = ()
    limits: GateLimits = field(default_factory=GateLimits)
    tells: bool = True
    examines: bool = False  # the servers of unlisted hosts, which makes connections of our own
    judging_seconds: float = 60.0  # for which what tunnels carry is judged at a time
    holds: tuple[float, float, float] | None = None  # seconds for which responses may be held back, if not the default

    @property
    def log(self) -> Path:
        """The standard error of both workers."""
        return self.state / "stderr.txt"

    @property
    def inspector_socket(self) -> Path:
        return self.state / "inspector.sock"


@dataclass(frozen=True, slots=True)
class Report:
    """A decision that a worker observed, or a request for access that it received."""

    device: str
    request: Request | None
    decision: Decision | None
    asked: AccessRequest | None = None


def _undecided(_ruleset: Ruleset, _request: Request) -> Decision:
    raise AssertionError("a query before the first policy")


class Builder:
    """Builds proxy policies. The resolver lives as long as its loop."""

    def __init__(self, world: World) -> None:
        self.reported: list[Report] = []
        self.protections: set[tuple[str, Protection]] = set()
        self.pages: list[PageRecognised] = []
        channel = open_channel(parse_upstream(world.upstream), BootstrapResolver(UpstreamPool(())))
        self.upstreams = UpstreamPool((channel,))
        self.resolver = Resolver(self.upstreams, _undecided)

    def proxy_policy(self, world: World) -> ProxyPolicy:
        catalogue = Catalogue.open(world.generation, world.policy.corrections)
        rulesets = Rulesets(world.policy, world.grants, world.pauses, catalogue)

        def find_client(address: str) -> tuple[Device, Ruleset] | None:
            device = rulesets.devices.find(address)
            return None if device is None else (device, rulesets.ruleset(device, time.time()))

        judged = UrlDecisions(catalogue).decide
        self.resolver.swap(judged)
        network = world.policy.network
        ages = {name: person.age for name, person in world.policy.people.items() if person.age is not None}
        return ProxyPolicy(
            find_client=find_client,
            decide=judged,
            resolve=HostResolver(self.resolver).find,
            observe=lambda device, _ruleset, request, decision: self._report(
                world, Report(device.id, request, decision)
            ),
            request_access=lambda asked: self._report(world, Report(asked.device, None, None, asked)),
            guard=DestinationGuard(network.reachable, frozenset(network.ports)),
            phrase_lists=world.policy.phrase_lists,
            proxy_protocol_from=network.resolver.proxy_protocol_from,
            page=BlockPage(network.country, network.timezone, ages, profiles=world.policy.profiles),
            is_examined=lambda ruleset, host: is_examined(ruleset, catalogue, host),
            may_be_remembered=lru_cache(4096)(lambda host: may_be_remembered(HostFactIndex.load(), catalogue, host)),
            corrected_topics=lambda host: catalogue.names_of(catalogue.hosts.corrected(host)),
            report_page=self.pages.append,
            listed=ListedTopics(catalogue.generation, catalogue.host_mask, catalogue.bits),
            report_protection=lambda device, protection: self.protections.add((device, protection)),
        )

    def gate_policy(self, world: World) -> ProxyPolicy:
        proxy_policy = Builder.proxy_policy(self, world)
        return replace(proxy_policy, apply_pass_through=PassThrough(world.state / "pass-through").apply)

    def inspector_policy(self, world: World) -> ProxyPolicy:
        return replace(Builder.proxy_policy(self, world), scoring=scanners_of(FEATURES, world.policy))

    def _report(self, world: World, reported: Report) -> None:
        if world.tells:
            self.reported.append(reported)


def _log_to(log: Path) -> None:
    with log.open("ab") as file:
        os.dup2(file.fileno(), 2)


def run_gate(pipe: Pipe, world: World) -> None:
    _log_to(world.log)
    asyncio.run(_run_gate(pipe, world), loop_factory=PollerLoop)


async def _run_gate(pipe: Pipe, world: World) -> None:
    builder = Builder(world)
    key = load_handover_key(world.state / "pass.key")
    examiner = CertificateExaminer(world.upstream_ca, also_private=True) if world.examines else None
    policy = builder.gate_policy(world)
    Gate.judging_seconds = world.judging_seconds
    port = 0
    while not port:
        gate = Gate(policy, [world.inspector_socket], key, world.limits, examiner=examiner)
        listener = open_socket("127.0.0.1", 0, socket.SOCK_STREAM)
        await gate.serve(listener)
        port = int(listener.getsockname()[1])
        try:
            await gate.serve(open_socket("::1", port, socket.SOCK_STREAM))
        except OSError:  # taken there by somebody else
            await gate.close()
            port = 0
    _settle()
    pipe.send(port)
    await _execute(pipe, builder, builder.gate_policy, gate)
    await gate.close()
    await builder.upstreams.close()


def run_inspector(pipe: Pipe, world: World) -> None:
    _log_to(world.log)
    uvloop.run(_run_inspector(pipe, world))


async def _run_inspector(pipe: Pipe, world: World) -> None:
    # mitmproxy is large and warns while it is imported: it is for this process alone.
    from hedgerow.proxy.inspection.inspected_traffic import InspectedTraffic
    from hedgerow.proxy.inspection.inspector import Inspector
    from hedgerow.proxy.scanners.response_scanner import BodyScanner

    BodyScanner.holds = world.holds or BodyScanner.holds
    InspectedTraffic.judging_seconds = world.judging_seconds
    builder = Builder(world)
    signer, key = _start_signer(world), load_handover_key(world.state / "pass.key")
    refusals = CertificateRefusals(world.state / "pass-through")
    inspector = Inspector(
        builder.inspector_policy(world),
        key,
        signer,
        upstream_ca=world.upstream_ca,
        refusals=refusals,
        device_limit=world.limits.device,
        hello_limit=world.limits.head,
        idle_limit=world.limits.idle,
        life_limit=world.limits.lifetime,
    )

    def ready() -> None:
        _settle()
        pipe.send(0)

    running = asyncio.create_task(inspector.run(bind_datagrams(world.inspector_socket), ready))
    await _execute(pipe, builder, builder.inspector_policy, inspector)
    inspector.stop()
    await running
    await builder.upstreams.close()


def _start_signer(world: World) -> Path:
    """Run the signer in a thread of this process. Returns its socket."""
    authority, path = ensure_ca(world.state / "ca"), world.state / "signer.sock"
    signer = Signer(bind_unix_socket(path, socket.SOCK_SEQPACKET, MAX_CLIENTS), lambda: authority)

    def serve() -> None:
        while True:
            signer.serve(1.0)

    threading.Thread(target=serve, daemon=True).start()
    return path


def _settle() -> None:
    """Freeze the heap, as every process of the application does when it is ready."""
    gc.collect()
    gc.freeze()


async def _execute(pipe: Pipe, builder: Builder, make_policy: Callable[[World], ProxyPolicy], worker: Any) -> None:
    """Swap a World in, send back "counters", "protections" or observations "reported" since the last time, until None
    ends the worker.
    """
    loop, orders = asyncio.get_running_loop(), asyncio.Queue[Any]()
    loop.add_reader(pipe.fileno(), lambda: orders.put_nowait(_receive(pipe)))
    # uvloop has changed that, and thousands of observations are more than the pipe holds
    os.set_blocking(pipe.fileno(), True)
    while (order := await orders.get()) is not None:
        if isinstance(order, World):
            worker.swap(make_policy(order))
            pipe.send("swapped")
        elif order == "counters":
            pipe.send(dict(worker.counters))
        elif order == "pages":
            pipe.send(list(builder.pages))
            builder.pages.clear()
        elif order == "protections":
            pipe.send(builder.protections)
            builder.protections = set()
        else:
            pipe.send(builder.reported)
            builder.reported = []
    loop.remove_reader(pipe.fileno())


def _receive(pipe: Pipe) -> Any:
    try:
        return pipe.recv()
    except EOFError:
        return None
