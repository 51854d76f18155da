"""What holds for all clients of one snapshot, and how that which was found for an allowed name is judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final

from hedgerow.dns.address_guard import AddressGuard, is_private, meant
from hedgerow.dns.cache import Resolution
from hedgerow.dns.designation import Designation
from hedgerow.dns.local_names import LocalNames
from hedgerow.policies.model import Decision, DeviceId, Kind, Reason, Request, Verdict
from hedgerow.policies.network import Network
from hedgerow.policies.resolver_settings import LocalRecord, ResolverSettings
from hedgerow.policies.ruleset import Ruleset

type Decide = Callable[[Ruleset, Request], Decision]

# A parent who allows a name has allowed what the name stands for.
TRUSTED: Final = (Reason.LIFELINE, Reason.GRANT, Reason.EXCEPTION)


def _everybody(_ruleset: Ruleset) -> bool:
    return True


def _nobody(_ruleset: Ruleset) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Circumstances:
    """`is_filtered`: is anything at all blocked under a ruleset? `knows_addresses`: does its policy name addresses? `lists_addresses`: do
    the lists? Without a `guard` every name may have every address.
    """

    decide: Decide
    settings: ResolverSettings = field(default_factory=ResolverSettings)
    names: LocalNames = field(default_factory=LocalNames)
    guard: AddressGuard | None = None
    is_filtered: Callable[[Ruleset], bool] = _everybody
    knows_addresses: Callable[[Ruleset], bool] = _nobody
    lists_addresses: bool = False
    designation: Designation | None = None  # our own encrypted resolver, where there is one

    @classmethod
    def of(
        cls,
        network: Network,
        decide: Decide,
        is_filtered: Callable[[Ruleset], bool] = _everybody,
        knows_addresses: Callable[[Ruleset], bool] = _nobody,
        own: LocalRecord | None = None,
    ) -> Circumstances:
        """As the policy says; `own` is our server name in this network."""
        settings = network.resolver
        names = LocalNames(settings.records, [forward.zone for forward in settings.forward], own)
        return cls(decide, settings, names, AddressGuard(network.house, network.reachable), is_filtered, knows_addresses)

    def judge_found(
        self, ruleset: Ruleset, device: DeviceId, host: str, decision: Decision, found: Resolution, dns_type: str = ""
    ) -> Decision:
        """The first decision about a CNAME target or an address that is not to let it pass, else `decision`, which was about the name.

        A blocked name must not hide behind another, nor behind an address; and no public name may point into this network.
        """
        if decision.reason in TRUSTED:
            return decision
        for target in found.targets:
            judged = self.decide(ruleset, Request(device, Kind.DNS, target, dns_type=dns_type))
            if judged.verdict in (Verdict.BLOCK, Verdict.REWRITE):
                return judged
        judged_address = self._judge_addresses(ruleset, device, found.addresses) if found.addresses else None
        if judged_address is not None:
            return judged_address
        if found.addresses and self.guard is not None:
            objection = self.guard.objection(found.addresses)
            if objection is not None and not self.names.is_local(host):
                return objection
        return decision

    def _judge_addresses(self, ruleset: Ruleset, device: DeviceId, addresses: tuple[bytes, ...]) -> Decision | None:
        """The first decision that blocks an address, by the policy or by lists; nobody's list knows this network's own addresses."""
        named = self.knows_addresses(ruleset)
        if not named and not self.lists_addresses:
            return None
        for packed in addresses:
            if named or not is_private(packed):
                judged = self.decide(ruleset, Request(device, Kind.DNS, str(ip_address(meant(packed)))))
                if judged.verdict is Verdict.BLOCK:
                    return judged
        return None
