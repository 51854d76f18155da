"""The upstreams of a worker, their metrics, and the answer policy that a snapshot implies."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from dataclasses import replace
from ipaddress import ip_address

from hedgerow.app.resolv_conf import system_resolv_conf
from hedgerow.app.settings import Settings
from hedgerow.app.snapshot import LoadedSnapshot
from hedgerow.dns.answer_policy import AnswerPolicy, Decide
from hedgerow.dns.metrics import Histogram
from hedgerow.dns.special_names import DesignatedResolver
from hedgerow.dns.upstreams.factory import open_upstream_pool
from hedgerow.dns.upstreams.pool import AttemptObserver, UpstreamPool
from hedgerow.dns.upstreams.trust import TrustStore
from hedgerow.network.own_addresses import own_addresses
from hedgerow.policies.model import Policy
from hedgerow.policies.network import BlockedAnswer, DnssecMode, LocalRecord, NetworkSettings
from hedgerow.policies.ruleset import can_block_or_rewrite, has_address_rules
from hedgerow.proxy.own_pages import PAGES_NAME

log = logging.getLogger("hedgerow.resolvers")

CLOSE_GRACE_S = 5.0

ERRORS_METRIC = "hedgerow_dns_upstream_errors_total"
SECONDS_METRIC = "hedgerow_dns_upstream_seconds"
SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Bounds of the histogram, as `dashboards.metrics` declares them."""


class UpstreamMetrics:
    """Cumulative counters of upstream attempts, labelled by upstream and outcome."""

    def __init__(self) -> None:
        self._errors: dict[tuple[str, ...], float] = {}
        self._seconds: dict[str, Histogram] = {}

    def count(self, name: str, outcome: str, seconds: float) -> None:
        """Count one attempt; called by `UpstreamPool`."""
        if outcome == "answered":
            if name not in self._seconds:
                self._seconds[name] = Histogram(SECONDS_METRIC, (name,), SECONDS_BUCKETS)
            self._seconds[name].observe(seconds)
        else:
            key = (ERRORS_METRIC, name, outcome)
            self._errors[key] = self._errors.get(key, 0.0) + 1

    @property
    def counters(self) -> dict[tuple[str, ...], float]:
        found = dict(self._errors)
        for histogram in self._seconds.values():
            found |= histogram.counters()
        return found


def answer_policy(view: LoadedSnapshot, decide: Decide, settings: Settings | None = None) -> AnswerPolicy:
    """Make the answer policy of a worker's resolver from a snapshot."""
    policy = view.policy
    own = own_record(policy.network, settings) if settings is not None else None
    pages = pages_record(policy.network, settings) if settings is not None else None
    found = AnswerPolicy.of(
        policy.network, decide, can_block_or_rewrite, has_address_rules, own, _wpad_records(policy.network)
    )
    ddr = _ddr_of(policy, settings) if settings is not None else None
    found = replace(found, lists_addresses=view.catalogue.hosts.has_addresses, ddr=ddr, pages=pages)
    return found if settings is None else _with_block_page(found, settings)


def _with_block_page(found: AnswerPolicy, settings: Settings) -> AnswerPolicy:
    """Lead blocked names to the addresses at which this run serves the block page, if the policy names none."""
    resolver = found.settings
    if resolver.blocked_answer is not BlockedAnswer.PAGE:
        return found
    served = settings.page_addresses
    page = resolver.block_page or served
    kind = BlockedAnswer.PAGE if page else BlockedAnswer.ZERO  # without a page that is ours, names lead nowhere
    return replace(
        found, settings=replace(resolver, block_page=page, blocked_answer=kind), serves_page=set(page) <= set(served)
    )


def own_record(network: NetworkSettings, settings: Settings) -> LocalRecord | None:
    """The record of our own server name: the addresses of encrypted DNS, unless the policy defines the name."""
    name, resolver = network.server_name, network.resolver
    places = list(settings.encrypted.values())
    if name is None or not places or any(record.host == name for record in resolver.records):
        return None
    if any(name == zone.zone or name.endswith(f".{zone.zone}") for zone in resolver.forward):
        return None
    everywhere = any(ip_address(place.host).is_unspecified for place in places)
    addresses = (
        [text for text in own_addresses() if _is_in_lan(text, network)]
        if everywhere
        else [place.host for place in places]
    )
    return LocalRecord(name, tuple(dict.fromkeys(addresses))) if addresses else None


def pages_record(network: NetworkSettings, settings: Settings) -> LocalRecord | None:
    """The record of the well-known name of our pages, unless the policy defines the name or forwards it."""
    resolver = network.resolver
    if any(record.host == PAGES_NAME for record in resolver.records):
        return None
    if any(zone.zone == PAGES_NAME or PAGES_NAME.endswith(f".{zone.zone}") for zone in resolver.forward):
        return None
    web = settings.web
    addresses = [text for text in own_addresses() if _is_in_lan(text, network)] if web.is_everywhere else [web.host]
    return LocalRecord(PAGES_NAME, tuple(dict.fromkeys(addresses))) if addresses else None


def _wpad_records(network: NetworkSettings) -> tuple[LocalRecord, ...]:
    """The records of the names by which browsers look for a proxy: this machine's addresses, unless the policy defines
    the name.
    """
    known = {record.host for record in network.resolver.records}
    names = [name for name in network.wpad if name not in known]
    addresses = tuple(text for text in own_addresses() if _is_in_lan(text, network)) if names else ()
    return tuple(LocalRecord(name, addresses) for name in names) if addresses else ()


def _is_in_lan(text: str, network: NetworkSettings) -> bool:
    address = ip_address(text)
    return not address.is_loopback and network.is_at_home(address)


def _ddr_of(policy: Policy, settings: Settings) -> DesignatedResolver | None:
    ports = {name: endpoint.port for name, endpoint in settings.encrypted.items()}
    name = policy.network.server_name
    return DesignatedResolver(name, ports) if name is not None and ports else None


class WorkerUpstreams:
    """The upstreams of a worker, replaced when the policy or the system names others.

    At boot the system may name none yet.
    """

    def __init__(self, settings: Settings, policy: Policy) -> None:
        self._settings = settings
        self._policy = policy
        self._retired: set[asyncio.Task[None]] = set()
        self.metrics = UpstreamMetrics()
        self._open()

    def _open(self) -> None:
        """Open the upstreams without connecting. It can't fail, since the policy was validated."""
        self._system = system_resolv_conf(self._settings.resolv_conf)
        self.pool = open_policy_upstreams(
            self._policy.network, self._settings, self.metrics.count, others=self._policy.own_upstreams
        )
        if not self.pool.names:
            log.error("There are no upstreams: name some in the policy file, such as network: {upstream: [9.9.9.9]}.")

    def replace(self, policy: Policy) -> UpstreamPool | None:
        """Open other upstreams if they have changed, and return them.

        Queries in flight are still answered by the old ones.
        """
        system = system_resolv_conf(self._settings.resolv_conf)
        is_same = _upstream_settings(policy) == _upstream_settings(self._policy) and system == self._system
        self._policy = policy
        if is_same:
            return None
        task = asyncio.get_running_loop().create_task(self.pool.close(CLOSE_GRACE_S))
        self._retired.add(task)
        task.add_done_callback(self._retired.discard)
        self._open()
        return self.pool


def open_policy_upstreams(
    network: NetworkSettings,
    settings: Settings,
    count: AttemptObserver | None = None,
    only: str | None = None,
    others: Collection[tuple[str, ...]] = (),
) -> UpstreamPool:
    """Open the upstreams of a policy, or `only` one of them, without connecting. `others` are those of clients."""
    resolver = network.resolver
    places = (settings.dns, *settings.encrypted.values())
    return open_upstream_pool(
        network.upstream,
        resolv_conf=system_resolv_conf(settings.resolv_conf),
        own=[(endpoint.host, endpoint.port) for place in places for endpoint in place.every_family()],
        count=count,
        trust=TrustStore(settings.upstream_ca),
        strategy=resolver.strategy,
        secure_only=resolver.dnssec is DnssecMode.VALIDATE,
        forward=resolver.forward,
        records=resolver.records,
        only=only,
        subnet=resolver.client_subnet,
        others=others,
    )


def _upstream_settings(policy: Policy) -> tuple[object, ...]:
    """The parts of a policy that determine the upstreams."""
    resolver = policy.network.resolver
    return (
        policy.network.upstream,
        policy.own_upstreams,
        resolver.strategy,
        resolver.dnssec,
        resolver.forward,
        resolver.records,
        resolver.client_subnet,
    )
