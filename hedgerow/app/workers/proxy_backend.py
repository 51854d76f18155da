"""Common parts of gate and inspector workers: a `ProxyPolicy` for each snapshot, and a resolver of their own."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from hedgerow.app.settings import WILDCARD_HOSTS, Endpoint, Settings
from hedgerow.app.snapshot import LoadedSnapshot, denial_key
from hedgerow.app.workers.upstreams import WorkerUpstreams, answer_policy
from hedgerow.app.workers.worker import Worker
from hedgerow.dns.host_resolver import HostLookup, HostResolver
from hedgerow.dns.resolver import Resolver
from hedgerow.network.own_addresses import OwnAddresses, lan_address, own_addresses
from hedgerow.policies.host_facts import HostFactIndex
from hedgerow.policies.model import Decision, Device, DeviceId, Request
from hedgerow.policies.network import NetworkSettings
from hedgerow.policies.ruleset import Ruleset
from hedgerow.policies.unlisted import is_examined, may_be_remembered
from hedgerow.policies.url_decisions import UrlDecisions
from hedgerow.proxy.own_pages import OwnPages, web_host_names
from hedgerow.proxy.pages.block_page import BlockPage
from hedgerow.proxy.policy import DestinationGuard, ProxyPolicy
from hedgerow.proxy.scanners.topics import ListedTopics
from hedgerow.proxy.sign_in import USER_PREFIX, SignInRules


def portal_url(network: NetworkSettings, settings: Settings) -> str:
    """The URL of the personal page, as devices of the network reach it; empty if we have no address in
    their network.
    """
    host: str | None = settings.web.host
    if host in WILDCARD_HOSTS:
        host = lan_address(own_addresses(), network)
    return f"http://{Endpoint(host, settings.web.port)}/device" if host is not None else ""


class ProxyBackend:
    """A `Worker` with the policy and the resolver of the proxy."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._own = OwnAddresses()
        self.upstreams = WorkerUpstreams(worker.settings, worker.view.policy)
        rules, cache_octets = answer_policy(worker.view, worker.decide), worker.settings.footprint.cache_octets
        self._resolver = Resolver(self.upstreams.pool, worker.decide, answer_policy=rules, cache_octets=cache_octets)
        self._addresses = HostResolver(self._resolver)

    def proxy_policy(self, view: LoadedSnapshot) -> ProxyPolicy:
        """Make the policy of the proxy from a snapshot."""
        network = view.policy.network
        guard = DestinationGuard(network.reachable, frozenset(network.ports), network.home_networks, self._own)
        ages = {name: person.age for name, person in view.policy.people.items() if person.age is not None}
        conduct = view.policy.conduct.text if view.policy.conduct else ""
        page = BlockPage(
            network.country,
            network.timezone,
            ages,
            conduct,
            portal_url(network, self._worker.settings),
            view.policy.profiles,
        )
        worker, phrases, settings = self._worker, view.policy.phrase_lists, self._worker.settings
        passwords = {
            user: each.proxy_password
            for each in view.policy.devices.values()
            if each.proxy_password
            for user in each.proxy_users
        }
        sign_in = SignInRules(network.proxy_sign_in, passwords)
        return ProxyPolicy(
            *(
                self.find_client,
                UrlDecisions(view.catalogue).decide,
                self.resolve,
                self.observe,
                worker.send,
                guard,
                page,
                worker.use,
                worker.send,
                worker.send,
            ),
            sign_in=sign_in,
            phrase_lists=phrases,
            pages=OwnPages(
                str(settings.pages_socket),
                settings.web.port,
                frozenset(web_host_names(network)),
                self._own,
                network.wpad,
            ),
            report_protection=worker.sightings.report_protection,
            proxy_protocol_from=network.resolver.proxy_protocol_from,
            is_examined=lambda ruleset, host: is_examined(ruleset, view.catalogue, host),
            may_be_remembered=lru_cache(4096)(
                lambda host: may_be_remembered(HostFactIndex.load(), view.catalogue, host)
            ),
            report_page=worker.send,
            corrected_topics=lambda host: view.catalogue.names_of(view.catalogue.hosts.corrected(host)),
            listed=ListedTopics(view.catalogue.generation, view.catalogue.host_mask, view.catalogue.bits),
            denied_at=lambda device, subject: view.snapshot.denied.get(denial_key(device, subject)),
            denial_reason=lambda device, subject: view.snapshot.denial_reasons.get(denial_key(device, subject), ""),
            open_until=lambda device, now, end: (
                end if (found := view.rulesets.closing_after(device, now, end - now)) is None else found[1]
            ),
        )

    def find_client(self, address: str) -> tuple[Device, Ruleset] | None:
        """Find a client by its address, or by its user name at the proxy."""
        return (
            self._worker.client_of_user(address.removeprefix(USER_PREFIX))
            if address.startswith(USER_PREFIX)
            else self._worker.client(address)
        )

    async def resolve(
        self, ruleset: Ruleset, device: DeviceId, host: str, *, url_is_allowed: bool = False
    ) -> HostLookup:
        """Resolve a host as DNS does for this device, so that both enforcement points agree."""
        return await self._addresses.find(ruleset, device, host, url_is_allowed=url_is_allowed)

    def observe(self, _device: Device, ruleset: Ruleset, request: Request, decision: Decision) -> None:
        self._worker.observe(ruleset, request, decision)

    def swap(self, view: LoadedSnapshot) -> ProxyPolicy:
        """Make the policy of a new snapshot, with new upstreams if it names others."""
        self._resolver.swap(
            self._worker.decide, self.upstreams.replace(view.policy), answer_policy(view, self._worker.decide)
        )
        return self.proxy_policy(view)

    def counters(self, own: Mapping[tuple[str, ...], float]) -> Mapping[tuple[str, ...], float]:
        return {**own, **self.upstreams.metrics.counters}
