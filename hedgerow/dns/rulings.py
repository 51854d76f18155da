"""What holds for all clients of one snapshot, and how that which was found for an allowed name is judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final

from hedgerow.dns.address_guard import AddressGuard
from hedgerow.dns.cache import Resolution
from hedgerow.dns.designation import Designation
from hedgerow.dns.local_names import LocalNames
from hedgerow.policies.model import Decision, DeviceId, Kind, Network, Reason, Request, Verdict
from hedgerow.policies.resolver_settings import ResolverSettings
from hedgerow.policies.ruleset import Ruleset

type Decide = Callable[[Ruleset, Request], Decision]

# A parent who allows a name has allowed what the name stands for.
_TRUSTED: Final = (Reason.LIFELINE, Reason.GRANT, Reason.EXCEPTION)


def _everybody(_ruleset: Ruleset) -> bool:
    return True


def _nobody(_ruleset: Ruleset) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Circumstances:
    """`is_filtered`: is anything at all blocked under a ruleset? `knows_addresses`: could addresses be? Without a `guard` every name
    may have every address.
    """

    decide: Decide
    settings: ResolverSettings = field(default_factory=ResolverSettings)
    names: LocalNames = field(default_factory=LocalNames)
    guard: AddressGuard | None = None
    is_filtered: Callable[[Ruleset], bool] = _everybody
    knows_addresses: Callable[[Ruleset], bool] = _nobody
    designation: Designation | None = None  # our own encrypted resolver, where there is one

    @classmethod
    def of(
        cls,
        network: Network,
        decide: Decide,
        is_filtered: Callable[[Ruleset], bool] = _everybody,
        knows_addresses: Callable[[Ruleset], bool] = _nobody,
    ) -> Circumstances:
        """As the policy says."""
        settings = network.resolver
        names = LocalNames(settings.records, [forward.zone for forward in settings.forward])
        return cls(decide, settings, names, AddressGuard(network.lan, network.reachable), is_filtered, knows_addresses)

    def judge_found(self, ruleset: Ruleset, device: DeviceId, host: str, decision: Decision, found: Resolution) -> Decision:
        """The first decision about a CNAME target or an address that is not to let it pass, else `decision`, which was about the name.

        A blocked name must not hide behind another, nor behind an address; and no public name may point into this network.
        """
        if decision.reason in _TRUSTED:
            return decision
        for target in found.targets:
            judged = self.decide(ruleset, Request(device, Kind.DNS, target))
            if judged.verdict in (Verdict.BLOCK, Verdict.REWRITE):
                return judged
        if found.addresses and self.knows_addresses(ruleset):
            for packed in found.addresses:
                judged = self.decide(ruleset, Request(device, Kind.DNS, str(ip_address(packed))))
                if judged.verdict is Verdict.BLOCK:
                    return judged
        if found.addresses and self.guard is not None:
            objection = self.guard.objection(found.addresses)
            if objection is not None and not self.names.is_local(host):
                return objection
        return decision
