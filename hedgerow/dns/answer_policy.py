"""The parts of a snapshot that concern answers, and the judgement of what an allowed name resolves to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final

from hedgerow.blocklists.address_ranges import is_private, unwrap_ipv4
from hedgerow.blocklists.names import is_beneath
from hedgerow.dns.cache import Resolution
from hedgerow.dns.private_networks import AddressGuard
from hedgerow.dns.special_names import DesignatedResolver, LocalNames
from hedgerow.dns.tunnel_detector import trusted_domains
from hedgerow.policies.decide import IP_ADDRESS
from hedgerow.policies.mirrored_sites import CUSTOMERS_DOMAINS, names_an_address
from hedgerow.policies.model import Decision, DeviceId, Reason, Request, RequestKind, Verdict
from hedgerow.policies.network import LocalRecord, NetworkSettings, ResolverSettings
from hedgerow.policies.ruleset import Ruleset

type Decide = Callable[[Ruleset, Request], Decision]

# A parent who allows a name has allowed whatever it resolves to.
TRUSTED: Final = (Reason.LIFELINE, Reason.GRANT, Reason.EXCEPTION)


_NUMBER: Final = Decision(Verdict.BLOCK, Reason.BYPASS, IP_ADDRESS)


def _is_known(ruleset: Ruleset, host: str) -> bool:
    """Return whether the name is of a well-known site or service, which may number its machines, not of a customer."""
    return not is_beneath(host, CUSTOMERS_DOMAINS) and (
        is_beneath(host, trusted_domains()) or bool(ruleset.host_facts.services_of(host))
    )


def _always(_ruleset: Ruleset) -> bool:
    return True


def _never(_ruleset: Ruleset) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class AnswerPolicy:
    """The answers that a snapshot prescribes, for all clients.

    `is_filtered`: anything at all is blocked or rewritten under a ruleset. `has_address_rules`: its policy names
    addresses. `lists_addresses`: the lists do. Without a `guard` every name may have every address.
    """

    decide: Decide
    settings: ResolverSettings = field(default_factory=ResolverSettings)
    names: LocalNames = field(default_factory=LocalNames)
    guard: AddressGuard | None = None
    is_filtered: Callable[[Ruleset], bool] = _always
    has_address_rules: Callable[[Ruleset], bool] = _never
    lists_addresses: bool = False
    ddr: DesignatedResolver | None = None  # our own encrypted resolver, if there is one
    # the block page's ports are ours: HTTPS ends there with an alert, without a certificate to warn of
    serves_page: bool = False
    pages: LocalRecord | None = None  # the well-known name of our pages, which resolves whatever is blocked

    @classmethod
    def of(
        cls,
        network: NetworkSettings,
        decide: Decide,
        is_filtered: Callable[[Ruleset], bool] = _always,
        has_address_rules: Callable[[Ruleset], bool] = _never,
        own: LocalRecord | None = None,
        more: tuple[LocalRecord, ...] = (),
    ) -> AnswerPolicy:
        """Return the policy of a network.

        `own` is the record of our server name in this network, `more` are other names of ours.
        """
        settings = network.resolver
        names = LocalNames((*settings.records, *more), [forward.zone for forward in settings.forward], own)
        return cls(
            decide,
            settings,
            names,
            AddressGuard(network.home_networks, network.reachable),
            is_filtered,
            has_address_rules,
        )

    def judge_resolution(
        self,
        ruleset: Ruleset,
        device: DeviceId,
        host: str,
        decision: Decision,
        resolution: Resolution,
        dns_type: str = "",
    ) -> Decision:
        """Return the first decision that blocks or rewrites a CNAME target or an address, else `decision`, which is on
        the name.

        A blocked name must not hide behind another name or an address, and no public name may point into this network.
        """
        if decision.reason in TRUSTED:
            return decision
        for target in resolution.targets:
            judged = self.decide(ruleset, Request(device, RequestKind.DNS, target, dns_type=dns_type))
            if judged.verdict in (Verdict.BLOCK, Verdict.REWRITE):
                return judged
        addresses = resolution.addresses
        if not addresses:
            return decision
        if ruleset.rules.bypass and names_an_address(host, addresses) and not _is_known(ruleset, host):
            return _NUMBER
        judged_address = self._judge_addresses(ruleset, device, addresses)
        if judged_address is not None:
            return judged_address
        blocking_decision = None if self.guard is None else self.guard.blocking_decision(addresses)
        return decision if blocking_decision is None or self.names.is_local(host) else blocking_decision

    def _judge_addresses(self, ruleset: Ruleset, device: DeviceId, addresses: tuple[bytes, ...]) -> Decision | None:
        """Return the first decision that blocks an address. Lists do not apply to this network's own addresses."""
        has_rules = self.has_address_rules(ruleset)
        if not has_rules and not self.lists_addresses:
            return None
        for packed in addresses:
            if has_rules or not is_private(packed):
                judged = self.decide(ruleset, Request(device, RequestKind.DNS, str(ip_address(unwrap_ipv4(packed)))))
                if judged.verdict is Verdict.BLOCK:
                    return judged
        return None
