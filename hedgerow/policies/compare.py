"""What would change, and for whom, if one policy took the place of another. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import datetime
from zoneinfo import ZoneInfo

from hedgerow.policies.model import Device, DeviceId, Policy, Target, TimedRules, Verdict
from hedgerow.policies.parties import Parties, Party, content_of, settings_of, strictest_layers
from hedgerow.policies.times.schedule import DAY
from hedgerow.policies.times.timing import Allowance, Schedule

type Told = dict[str, str | frozenset[str]]
"""What holds, by its topic."""

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


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
    changes += [Change("the network", sentence) for sentence in _changed(_told_of_network(old), _told_of_network(new))]
    return tuple(changes)


def _told_of_network(policy: Policy) -> Told:
    """What holds for no device in particular. Whatever has no short name is told by its settings as they are."""
    told: Told = {
        "own lists": frozenset(f"{each.path or each.url} ({each.category})" for each in policy.lists),
        "code of conduct": policy.conduct.text if policy.conduct is not None else "",
        "unopened seats": "closed" if policy.closes_unopened is not None else "",
        "phrase lists": frozenset(policy.phrase_lists),
        "notices": frozenset(policy.notices),
    }
    network = replace(policy.network, timezone="", holidays=(), unknown_devices="")  # these are told of devices
    for part in (network, network.listen, network.resolver, network.resolver.limit):
        for each in fields(part):
            value = getattr(part, each.name)
            if not is_dataclass(value):
                told[each.name] = frozenset(map(str, value)) if isinstance(value, tuple) else "" if value is None else str(value)
    return told


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
    yield from _changed(_told(old), _told(new))


def _changed(old: Told, new: Told) -> Iterator[str]:
    for (topic, was), will in zip(old.items(), new.values(), strict=True):
        if was == will:
            continue
        if isinstance(was, frozenset) and isinstance(will, frozenset):
            more, less = sorted(will - was), sorted(was - will)
            yield f"{topic}: " + ", ".join([*(f"+{each}" for each in more), *(f"-{each}" for each in less)])
        else:
            yield f"{topic}: {was or 'none'} → {will or 'none'}"


def _told(parties: tuple[Party, ...]) -> Told:
    layers = strictest_layers(parties)
    safe_search, youtube, privacy = settings_of(parties)
    content, zone = content_of(parties), parties[0].zone
    return {
        "person": " and ".join(party.name or "nobody" for party in parties),
        "profile": " and ".join(dict.fromkeys(party.profile for party in parties)),
        "allow": frozenset(_target(target, zone) for rules in layers.values() for target in rules.allow),
        "always open": frozenset(target.name for rules in layers.values() for target in rules.allow if target.always),
        "block": frozenset(_target(target, zone) for rules in layers.values() for target in rules.block),
        "safe search": safe_search.value,
        "YouTube": youtube.value,
        "privacy": privacy.value,
        "content": str(content),
        "bedtime": "; ".join(_bedtime(party) for party in parties),
        "budget": "; ".join(", ".join(_allowance(each) for each in party.budget[1]) for party in parties),
        "schedules": frozenset(
            _timed(timed, zone) for party in parties for rules in party.layers.values() for timed in rules.schedules
        ),
        "time zone": " and ".join(dict.fromkeys(str(party.zone) for party in parties)),
        "holidays": frozenset(str(day) for party in parties for day in party.free),
    }  # fmt: skip


def _bedtime(party: Party) -> str:
    bedtime = next((rules.bedtime for _, rules in sorted(party.layers.items()) if rules.bedtime is not None), None)
    return "" if bedtime is None else _spans(bedtime)


def _target(target: Target, zone: ZoneInfo) -> str:
    until = "" if target.until is None else f" until {datetime.fromtimestamp(target.until, zone):%Y-%m-%d %H:%M}"
    return target.name + until + (f" ({target.note})" if target.note else "")


def _timed(timed: TimedRules, zone: ZoneInfo) -> str:
    only = (*(["internet"] if timed.closed_otherwise else []), *(_target(each, zone) for each in timed.otherwise))
    allow = [_target(each, zone) for each in timed.allow if each not in timed.otherwise]
    block = [_target(each, zone) for each in timed.block]
    if timed.internet is not None:
        (allow if timed.internet is Verdict.ALLOW else block).append("internet")
    said = "; ".join(f"{verb} {', '.join(names)}" for verb, names in (("allow", allow), ("block", block), ("only", only)) if names)
    return f"{timed.name} ({said}: {_spans(timed.when)})"


def _spans(schedule: Schedule) -> str:
    told = [f"{_DAYS[span.weekday]} {_stretch(span.start, span.end)}" for span in schedule.spans]
    if schedule.free is not None:
        free = [f"{_DAYS[span.weekday]} {_stretch(span.start, span.end)}" for span in schedule.free]
        told.append(f"where days are free: {', '.join(free) or 'never'}")
    told += [f"{span.day} {'never' if span.start is None else _stretch(span.start, span.end)}" for span in schedule.dated]
    return ", ".join(told) or "never"


def _stretch(start: int, end: int) -> str:
    return f"{_clock(start)}-{'24:00' if end == DAY else _clock(end)}"


def _clock(minutes: int) -> str:
    return f"{minutes // 60 % 24:02}:{minutes % 60:02}"


def _allowance(allowance: Allowance) -> str:
    subject = allowance.subject.partition(":")[2] or "all use"
    daily = "/".join("∞" if minutes is None else str(minutes) for minutes in allowance.daily)
    if allowance.free != allowance.daily:
        daily += f" (where days are free {'/'.join('∞' if minutes is None else str(minutes) for minutes in allowance.free)})"
    return f"{subject} {daily} min" + (f", {allowance.weekly} a week" if allowance.weekly is not None else "")
