"""Composition of a dns worker: listeners over a resolver, with the newest snapshot."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Mapping

from hedgerow.app.snapshot import LoadedSnapshot
from hedgerow.app.workers.admissions import METRIC as ADMISSIONS_METRIC
from hedgerow.app.workers.admissions import DestinationAdmitter
from hedgerow.app.workers.upstreams import WorkerUpstreams, answer_policy
from hedgerow.app.workers.worker import Worker
from hedgerow.dns.resolver import Resolver
from hedgerow.dns.server.clients import CLIENT_ID_PREFIX, MAC_PREFIX
from hedgerow.dns.server.listeners import DnsServer
from hedgerow.dns.server.reports import Client
from hedgerow.policies.model import Decision, Request
from hedgerow.policies.text.addresses import parse_client_address
from hedgerow.task_state import Area


class DnsWorker:
    """A `Worker` with the resolver and its server."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.upstreams = WorkerUpstreams(worker.settings, worker.view.policy)
        rules = answer_policy(worker.view, worker.decide, worker.settings)
        cache_octets = worker.settings.dns_cache_octets
        resolver = Resolver(self.upstreams.pool, worker.decide, answer_policy=rules, cache_octets=cache_octets)
        self.server = DnsServer(resolver, self.find_client, self.observe, self._admit)
        settings = worker.settings
        self.admitter = DestinationAdmitter(
            settings.gateway_socket, settings.gateway_file, self.server.forget_clients, self._count_admission
        )
        self._limit = worker.view.policy.network.resolver.limit
        self.server.limit(self._limit)
        worker.on_swap = self.swap
        worker.on_forget = self.server.forget_clients
        worker.counters = self.counters

    def find_client(self, address: str) -> Client | None:
        """Find a client by its address, by its id in encrypted DNS, or by the MAC address that a forwarder adds."""
        place, mac = address, None
        if address.startswith(CLIENT_ID_PREFIX):
            client_id, _, place = address.removeprefix(CLIENT_ID_PREFIX).partition("@")
            found = self._worker.client_of_id(client_id)
        elif address.startswith(MAC_PREFIX):
            place, mac = "", address.removeprefix(MAC_PREFIX)
            found = self._worker.client_of_mac(mac)
        else:
            found = self._worker.client(address)
        if found is None:
            return None
        device, ruleset = found
        source = self._source(place, mac) if self.admitter.is_active and ruleset.rules.bypass else None
        return Client(device.id, ruleset, device.known, source)

    def _source(self, address: str, mac: str | None) -> bytes | None:
        """Return the packed address by which the gateway knows a client: its MAC or, beyond another router, its IP
        address.
        """
        mac = mac or (self._worker.neighbours.mac_of(address) if address else None)
        if mac is not None:
            return bytes.fromhex(mac.replace(":", ""))
        parsed = parse_client_address(address)
        return None if parsed is None or parsed.is_loopback else parsed.packed

    def _admit(self, source: bytes, addresses: tuple[bytes, ...], ttl: int, done: Callable[[bool], None]) -> bool:
        return self.admitter.admit(source, addresses, ttl, done)

    def _count_admission(self, result: str) -> None:
        self.server.responder.count(ADMISSIONS_METRIC, result)

    def observe(self, client: Client, request: Request, decision: Decision, count: int) -> None:
        self._worker.observe(client.ruleset, request, decision, count)

    def swap(self, view: LoadedSnapshot) -> None:
        upstreams = self.upstreams.replace(view.policy)
        rules = answer_policy(view, self._worker.decide, self._worker.settings)
        self.server.swap(self.find_client, self._worker.decide, upstreams, rules)
        if view.policy.network.resolver.limit != self._limit:
            self._limit = view.policy.network.resolver.limit
            self.server.limit(self._limit)

    def counters(self) -> Mapping[tuple[str, ...], float]:
        counters = self.server.responder.all_counters() | self.upstreams.metrics.counters
        resolver = self.server.resolver
        counters["hedgerow_dns_cache_octets",] = float(resolver.answers.octets + resolver.resolutions.octets)
        counters["hedgerow_dns_cache_entries",] = float(len(resolver.answers.entries))
        return counters


@contextlib.asynccontextmanager
async def serve_dns(worker: Worker) -> AsyncIterator[None]:
    """Listen on the settings' DNS address, for both families if it is `0.0.0.0`. Raises OSError."""
    dns = DnsWorker(worker)
    try:
        for endpoint in worker.settings.dns.every_family():
            datagrams, streams = (
                worker.sockets.take(endpoint, kind) for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM)
            )
            if datagrams is not None and streams is not None:
                await dns.server.serve(datagrams, streams)
            else:
                await dns.server.listen(endpoint.host, endpoint.port)
        async with worker.tasks.running("admissions", dns.admitter.run, Area.GATEWAY), _encrypted(worker, dns.server):
            yield
    finally:
        await dns.server.close()
        await dns.upstreams.pool.close()


def _encrypted(worker: Worker, server: DnsServer) -> contextlib.AbstractAsyncContextManager[None]:
    """Serve encrypted DNS if configured. Its imports, HTTP/2 and certificates, take six megabytes, so they are late."""
    if not worker.settings.encrypted:
        return contextlib.nullcontext()
    from hedgerow.app.workers.encrypted_dns import serve_encrypted

    return serve_encrypted(worker, server)
