"""What gate and inspector workers have in common: a judge for each snapshot, and a resolver of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from hedgerow.app.own_addresses import KnownOwn, address_for_others, own_addresses
from hedgerow.app.settings import EVERYWHERE, Endpoint, Settings
from hedgerow.app.snapshot import View
from hedgerow.app.workers.resolvers import UpstreamChoice, UpstreamMeter, circumstances
from hedgerow.app.workers.worker import Worker
from hedgerow.dns.host_addresses import Addresses, HostAddresses
from hedgerow.dns.resolver import Resolver
from hedgerow.policies.model import Decision, Device, DeviceId, Request
from hedgerow.policies.network import Network
from hedgerow.policies.ruleset import Ruleset
from hedgerow.proxy.gate.sign_in import USER, SignInRules
from hedgerow.proxy.guard import Guard
from hedgerow.proxy.judge import Judge
from hedgerow.proxy.pages.block_page import BlockPage

CLOSE_GRACE_S = 5.0


def portal_url(network: Network, settings: Settings) -> str:
    """The own page of whoever asks, as devices of the network reach it; empty where none of our addresses is among theirs."""
    host: str | None = settings.web.host
    if host in EVERYWHERE:
        host = address_for_others(own_addresses(), network.lan)
    return f"http://{Endpoint(host, settings.web.port)}/device" if host is not None else ""


class ProxySide:
    """What gate and inspector both need of a `Worker`: a judge for each snapshot, and a resolver."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._meter = UpstreamMeter()
        self._own = KnownOwn()
        self._choice = UpstreamChoice(worker.settings, worker.view.policy, self._meter)
        self.upstreams = self._choice.open()
        around, cache_octets = circumstances(worker.view, worker.decide), worker.settings.footprint.cache_octets
        self._resolver = Resolver(self.upstreams, worker.decide, circumstances=around, cache_octets=cache_octets)
        self._addresses = HostAddresses(self._resolver)
        self._retired: set[asyncio.Task[None]] = set()

    def judge(self, view: View) -> Judge:
        """All that a snapshot tells the proxy."""
        network = view.policy.network
        guard = Guard(network.reachable, frozenset(network.ports), network.house, self._own)
        ages = {name: person.age for name, person in view.policy.people.items() if person.age is not None}
        conduct = view.policy.conduct.text if view.policy.conduct else ""
        page = BlockPage.load(network.country, network.timezone, ages, conduct, portal_url(network, self._worker.settings))
        worker, phrases = self._worker, view.policy.phrase_lists
        passwords = {user: each.proxy_password for each in view.policy.devices.values() if each.proxy_password for user in each.proxy_users}
        sign_in = SignInRules(network.proxy_sign_in, passwords)
        return Judge(
            *(
                self.client_of,
                worker.decide,
                self.resolve,
                self.observe,
                worker.ask,
                guard,
                page,
                worker.use,
                worker.type_code,
                worker.accept,
            ),
            sign_in=sign_in,
            phrase_lists=phrases,
        )

    def client_of(self, address: str) -> tuple[Device, Ruleset] | None:
        """By address, or by the name under which somebody signed in to the proxy."""
        return self._worker.client_of_user(address.removeprefix(USER)) if address.startswith(USER) else self._worker.client(address)

    async def resolve(self, ruleset: Ruleset, device: DeviceId, host: str, *, page_is_open: bool = False) -> Addresses:
        """The addresses that DNS would give this device, so that both points agree."""
        return await self._addresses.find(ruleset, device, host, page_is_open=page_is_open)

    def observe(self, _device: Device, ruleset: Ruleset, request: Request, decision: Decision) -> None:
        self._worker.observe(ruleset, request, decision)

    def swap(self, view: View) -> Judge:
        """The judge of a new snapshot, with fresh upstreams where it names others."""
        fresh = self._choice.open_if_changed(view.policy)
        self._resolver.swap(self._worker.decide, fresh, circumstances(view, self._worker.decide))
        if fresh is not None:
            task = asyncio.get_running_loop().create_task(self.upstreams.close(CLOSE_GRACE_S))
            self._retired.add(task)
            task.add_done_callback(self._retired.discard)
            self.upstreams = fresh
        return self.judge(view)

    def counters(self, own: Mapping[tuple[str, ...], float]) -> Mapping[tuple[str, ...], float]:
        return {**own, **self._meter.counters}
