"""What a policy without mistakes should still be looked at for: sentences without a full stop, for who wrote it. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from hedgerow.policies.dues import Due, dues
from hedgerow.policies.model import Policy, TargetKind
from hedgerow.policies.network import Lists
from hedgerow.policies.reading.network_settings import shown_network
from hedgerow.policies.recognise import honours_host_name
from hedgerow.policies.services import Services

FEW_ADULT_SITES = "only the starter lists filter adult sites: most adult sites are open"
_WIDER = {"vpn": ("bypass",)}  # under which category lists have a group's services, where that has another name


def cautions(policy: Policy, now: float) -> tuple[str, ...]:
    """What should be minded at `now`."""
    return (
        *_named_by_hearsay(policy),
        *_overlaps(policy),
        *_open_anyway(policy),
        *_few_lists(policy),
        *(_told(due, now) for due in dues(policy) if due.is_due(now)),
    )


def _named_by_hearsay(policy: Policy) -> Iterator[str]:
    """Host names that count for nothing, since they would open something or since better evidence is there."""
    unknown = policy.network.unknown_devices
    for device in policy.devices.values():
        if not device.hostnames or honours_host_name(policy, device):
            continue
        if device.macs or device.networks:
            yield f"{device.id}: its host name counts for nothing, because its mac or ip tells more"
        else:
            because = "any device can take that name, so it only restricts: a mac, ip or client_id proves more"
            yield f"{device.id} is filtered as {unknown} where only its host name tells of it, not as {device.profile}; {because}"


def _overlaps(policy: Policy) -> Iterator[str]:
    """Addresses that are in the networks of two devices, where the closer network decides."""
    pairs = [(network, device) for device in policy.devices.values() for network in device.networks]
    for around, outer in pairs:
        for network, inner in pairs if around.num_addresses > 1 else ():
            if inner is outer or network == around or network.version != around.version:
                continue
            if network.subnet_of(around):  # type: ignore[arg-type]
                where = f"{inner.id} ({shown_network(network)}) lies inside {outer.id} ({around})"
                yield f"{where}: what is said for {inner.id} holds there"


def _open_anyway(policy: Policy) -> Iterator[str]:
    """What a schedule opens for somebody to whom nothing closes it: most probably it was to be open then only."""
    services = Services.load().by_id
    for person in policy.people.values():
        layers = (person.rules, policy.household, policy.profiles[person.profile].rules)
        closed = {each.name for rules in layers for each in rules.block}
        closed |= {each.name for rules in layers for timed in rules.schedules for each in (*timed.block, *timed.otherwise)}
        for timed in person.rules.schedules:
            for target in timed.allow:
                service = services.get(target.name) if target.kind is TargetKind.SERVICE else None
                if target.kind not in {TargetKind.SERVICE, TargetKind.CATEGORY} or target.name in closed:
                    continue
                if service is None or not closed & {service.group, *service.domains, *service.urls, *_WIDER.get(service.group, ())}:
                    otherwise = f"open for {person.name} at other times too: `only` in place of `allow` would close it then"
                    yield f"{timed.origin}: {target.name} is {otherwise}"


def _few_lists(policy: Policy) -> Iterator[str]:
    if policy.network.lists is Lists.STARTER and all(source.category != "adult" for source in policy.lists):
        yield f"{FEW_ADULT_SITES}, because of `network: lists: starter`: without that line, public lists are fetched"


def _told(due: Due, now: float) -> str:
    kind = "allow" if due.allows else "block"
    note = f" ({due.target.note})" if due.target.note else ""
    end = "has ended, and the line can go" if due.until <= now else "ends within a day"
    return f"{due.target.origin}: the {kind} of {due.target.name} for {due.whose or 'everybody'}{note} {end}"
