"""What would change, and for whom, if one policy took the place of another. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hedgerow.policies.model import Device, DeviceId, Policy
from hedgerow.policies.parties import Parties, Party, content_of, settings_of, strictest_layers
from hedgerow.policies.times.timing import Allowance, Schedule


@dataclass(frozen=True, slots=True)
class Change:
    """`whose` is a device; `sentence` says what is other than before."""

    whose: str
    sentence: str


def compare(old: Policy, new: Policy) -> tuple[Change, ...]:
    """For every device that either policy names, and for those that none does, what is other than before."""
    names = list(dict.fromkeys([*old.devices, *new.devices]))
    before, after = Parties(old), Parties(new)
    changes = []
    for name in names:
        if name not in old.devices or name not in new.devices:
            changes.append(Change(name, "is new" if name in new.devices else "is named no longer, and counts as unknown"))
        was, will = (parties.of(_device(policy, name), None) for parties, policy in ((before, old), (after, new)))
        changes += [Change(name, sentence) for sentence in _differences(was, will)]
        changes += [Change(name, sentence) for sentence in _device_differences(_device(old, name), _device(new, name))]
    strangers = (parties.of(_device(policy, ""), None) for parties, policy in ((before, old), (after, new)))
    changes += [Change("unknown devices", sentence) for sentence in _differences(*strangers)]
    return tuple(changes)


def _device(policy: Policy, name: str) -> Device:
    return policy.devices.get(name) or Device(DeviceId(name), policy.network.unknown_devices, known=False)


def _device_differences(old: Device, new: Device) -> Iterator[str]:
    for attribute, words in (("trusts_ca", "pages may be looked into"), ("never_inspect", "pages are never looked into")):
        if getattr(old, attribute) != getattr(new, attribute):
            yield f"{words}: {'yes' if getattr(new, attribute) else 'no'}"
    if _signs(old) != _signs(new) and old.known and new.known:
        yield "is recognised by something else"


def _signs(device: Device) -> tuple[object, ...]:
    return (device.macs, device.networks, device.client_id, device.hostnames, device.proxy_users)


def _differences(old: tuple[Party, ...], new: tuple[Party, ...]) -> Iterator[str]:
    pairs = zip(_told(old).items(), _told(new).values(), strict=True)
    for (topic, was), will in pairs:
        if was == will:
            continue
        if isinstance(was, frozenset) and isinstance(will, frozenset):
            more, less = sorted(will - was), sorted(was - will)
            yield f"{topic}: " + ", ".join([*(f"+{each}" for each in more), *(f"-{each}" for each in less)])
        else:
            yield f"{topic}: {was or 'none'} → {will or 'none'}"


def _told(parties: tuple[Party, ...]) -> dict[str, str | frozenset[str]]:
    layers = strictest_layers(parties)
    safe_search, youtube, privacy = settings_of(parties)
    content = content_of(parties)
    return {
        "person": " and ".join(party.name or "nobody" for party in parties),
        "profile": " and ".join(dict.fromkeys(party.profile for party in parties)),
        "allow": frozenset(target.name for rules in layers.values() for target in rules.allow),
        "always open": frozenset(target.name for rules in layers.values() for target in rules.allow if target.always),
        "block": frozenset(target.name for rules in layers.values() for target in rules.block),
        "safe search": safe_search.value,
        "YouTube": youtube.value,
        "privacy": privacy.value,
        "content": str(content),
        "bedtime": "; ".join(_bedtime(party) for party in parties),
        "budget": "; ".join(", ".join(_allowance(each) for each in party.budget[1]) for party in parties),
        "schedules": frozenset(
            _timed(timed.name, timed.when) for party in parties for rules in party.layers.values() for timed in rules.schedules
        ),
        "time zone": " and ".join(dict.fromkeys(str(party.zone) for party in parties)),
        "holidays": frozenset(str(day) for party in parties for day in party.free),
    }  # fmt: skip


def _bedtime(party: Party) -> str:
    bedtime = next((rules.bedtime for _, rules in sorted(party.layers.items()) if rules.bedtime is not None), None)
    return "" if bedtime is None else _spans(bedtime)


def _timed(name: str, when: Schedule) -> str:
    return f"{name} ({_spans(when)})"


def _spans(schedule: Schedule) -> str:
    days = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
    told = [f"{days[span.weekday]} {_clock(span.start)}-{_clock(span.end)}" for span in schedule.spans]
    return ", ".join(told + [str(span.day) for span in schedule.dated])


def _clock(minutes: int) -> str:
    return f"{minutes // 60 % 24:02}:{minutes % 60:02}"


def _allowance(allowance: Allowance) -> str:
    subject = allowance.subject.partition(":")[2] or "all use"
    daily = "/".join("∞" if minutes is None else str(minutes) for minutes in allowance.daily)
    return f"{subject} {daily} min" + (f", {allowance.weekly} a week" if allowance.weekly is not None else "")
