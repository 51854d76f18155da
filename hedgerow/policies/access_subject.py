"""The subject of a request, permission or block: a service rather than one of its hosts, and a person rather than one
device. Pure.

People speak of apps. An app needs many hosts, and is used on every device of a person.
"""

from __future__ import annotations

from dataclasses import dataclass

from hedgerow.blocklists.categories import builtin_categories
from hedgerow.blocklists.rules import Origin
from hedgerow.policies.content import CLIENT_CERTIFICATE, TUNNEL_TRAFFIC, UNREAD_APP
from hedgerow.policies.effective_users import EffectiveUsers
from hedgerow.policies.host_facts import HostFactIndex, Services
from hedgerow.policies.model import Decision, DeviceId, Policy, Reason, TargetKind, Verdict
from hedgerow.policies.rule_index import Rule, RuleScope
from hedgerow.policies.ruleset import Ruleset
from hedgerow.policies.targets import parse_target

_TO_PASS_UNREAD = frozenset((UNREAD_APP, CLIENT_CERTIFICATE, TUNNEL_TRAFFIC))

_ABOUT_CONTENT = frozenset((Reason.SEARCH, Reason.PAGE, Reason.FILE, Reason.PICTURE))
"""Reasons that close something at a site whose service is open."""


@dataclass(frozen=True, slots=True)
class AccessSubject:
    """The subject of a request or permission, for a person on all devices, for one device, or for everybody.

    `what` is a service, category, host or URL pattern, and `address` the text from which it follows.
    """

    what: str
    person: str | None = None
    device: DeviceId | None = None
    address: str = ""

    @property
    def whose(self) -> str:
        return self.person or self.device or ""


def access_subject(
    policy: Policy,
    address: str,
    *,
    person: str | None = None,
    device: str | None = None,
    reason: str = "",
    only_address: bool = False,
    only_device: bool = False,
) -> AccessSubject:
    """Return the subject of a request or permission that names an address.

    Arguments:
        person: the user of `device`, if that is given too.
        reason: why the address was blocked, as requests store it.
        only_address: the address alone, not its service.
        only_device: the device alone, not its person.
    """
    what = address if only_address else service_or_address(address, reason)
    if device is None:
        return AccessSubject(what, person, None, address)
    known = policy.devices.get(device)
    owner = person if person is not None or known is None else known.person
    # A guest's permission ends at that seat. What only claims to be a person's device opens nothing on the others.
    is_alone = (
        only_device
        or is_to_pass_unread(reason)
        or known is None
        or EffectiveUsers(policy).is_at_seat(known)
        or owner not in policy.people
    )
    return (
        AccessSubject(what, None, DeviceId(device), address) if is_alone else AccessSubject(what, owner, None, address)
    )


def is_to_pass_unread(reason: str) -> bool:
    """Return whether a request of this reason is for a host to pass unread on one device. No person asks for that.

    >>> is_to_pass_unread("default: unread-app"), is_to_pass_unread("service: roblox"), is_to_pass_unread("")
    (True, False, False)
    """
    return reason.partition(": ")[2] in _TO_PASS_UNREAD


def service_or_address(address: str, reason: str = "") -> str:
    """Return the service that a host belongs to. A service, category, URL pattern or other host is returned as it is.

    `reason` is that of the block, as requests store it: it tells a part of a site from the site.

    >>> service_or_address("setup.rbxcdn.com"), service_or_address("www.school.example"), service_or_address("roblox")
    ('roblox', 'www.school.example', 'roblox')
    >>> service_or_address("www.youtube.com", "service: youtube-shorts"), service_or_address("lessons.pages.dev")
    ('youtube-shorts', 'lessons.pages.dev')
    """
    facts = HostFactIndex.load()
    services = facts.services.by_id
    try:
        # with the categories, since each unknown name is guessed at as a mistake
        target = parse_target(address, services, {each.name for each in builtin_categories()}, Origin(""))
    except ValueError:
        return address
    if target.kind is not TargetKind.HOST:
        return target.name if target.kind is TargetKind.SERVICE else address
    kind, _, what = reason.partition(": ")
    owners = facts.services_of(target.name)
    # Somebody has closed this much, not the service: chat.example.com, or a page.
    is_part = kind == Reason.RULE and "." in what and not any(what in services[id].domains for id in owners)
    if kind in _ABOUT_CONTENT or is_part or is_to_pass_unread(reason):
        return address
    if kind == Reason.SERVICE and what in services and (what in owners or services[what].is_part_of_site(target.name)):
        owners = [what]
    return owners[0] if owners and not services[owners[0]].is_collection else address


def opens_too(what: str) -> tuple[str, ...]:
    """Return the hosts that a permission for a service opens although they are not its own, because it needs them."""
    facts = HostFactIndex.load()
    service = Services.load().by_id.get(what)
    if service is None:
        return ()
    return tuple(host for host in service.shared if not facts.services_of(host) or facts.by_host[host].yields)


def permission_behind(ruleset: Ruleset, decision: Decision, host: str) -> Rule | None:
    """Return the rule of the grant that opens a host; None if no grant does.

    Safe search may be the decision's reason all the same.
    """
    if decision.verdict is Verdict.BLOCK:
        return None
    found = (ruleset.rules.named(decision), ruleset.rules.services.get(service_or_address(host)))
    return next((rule for rule in found if rule is not None and rule.allow and rule.scope is RuleScope.GRANT), None)
