"""Review of a policy: its differences from another one, and warnings about probable mistakes. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import datetime
from typing import Literal
from zoneinfo import ZoneInfo

from hedgerow.blocklists.rules import Problem
from hedgerow.policies.effective_users import (
    EffectiveUser,
    EffectiveUsers,
    strictest_content,
    strictest_layers,
    strictest_settings,
)
from hedgerow.policies.expiry import ExpiringRule, expiring_rules
from hedgerow.policies.host_facts import Services
from hedgerow.policies.identity import honours_host_name
from hedgerow.policies.model import Device, DeviceId, Policy, Target, TargetKind, TimedRules, Verdict
from hedgerow.policies.network import ListSelection
from hedgerow.policies.reading.schema import FEATURE_KEYS
from hedgerow.policies.text.addresses import format_network
from hedgerow.policies.time_model import Allowance, Schedule
from hedgerow.policies.times.closing import bedtimes_of
from hedgerow.policies.times.schedule import MINUTES_PER_DAY
from hedgerow.policies.transports import LISTENERS

type SettingsByTopic = dict[str, str | frozenset[str]]
"""Settings by topic, such as `bedtime`."""


@dataclass(frozen=True, slots=True)
class PolicyReport:
    """A policy without mistakes.

    `mind` are warnings, `changes` the differences from another policy, None without one.
    """

    ok: Literal[True]
    people: tuple[str, ...]
    devices: tuple[str, ...]
    mind: tuple[str, ...]
    changes: tuple[PolicyDifference, ...] | None = None


@dataclass(frozen=True, slots=True)
class PolicyMistake:
    """A mistake in a policy file. Lines and columns count from 1; `path` are the keys that lead to it."""

    source: str
    line: int | None
    column: int | None
    path: str
    message: str


@dataclass(frozen=True, slots=True)
class InvalidPolicyReport:
    """All mistakes of a policy that cannot be used."""

    ok: Literal[False]
    problems: tuple[PolicyMistake, ...]


def report_policy(policy: Policy, now: float, running: Policy | None = None) -> PolicyReport:
    """Return the report of `hedgerow check` on a policy, compared with the running one if it is given."""
    changes = compare(running, policy) if running is not None else None
    return PolicyReport(True, tuple(policy.people), tuple(policy.devices), policy_warnings(policy, now), changes)


def report_mistakes(problems: Iterable[Problem], shown: Callable[[str], str] = str) -> InvalidPolicyReport:
    """Return the report on a policy with mistakes. `shown` returns the name of a file for the reader."""
    return InvalidPolicyReport(
        False, tuple(PolicyMistake(shown(p.source), p.line, p.column, p.path, p.message) for p in problems)
    )


_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass(frozen=True, slots=True)
class PolicyDifference:
    """A difference between two policies: `whose` is a device, `sentence` describes it."""

    whose: str
    sentence: str


def compare(old: Policy, new: Policy) -> tuple[PolicyDifference, ...]:
    """Return the differences for every device that either policy names, for unknown devices, and for the network."""
    names = list(dict.fromkeys([*old.devices, *new.devices]))
    before, after = EffectiveUsers(old), EffectiveUsers(new)
    changes = []
    for name in names:
        if name not in old.devices or name not in new.devices:
            changes.append(
                PolicyDifference(name, "is new" if name in new.devices else "is no longer named, and counts as unknown")
            )
        was, will = (users.of(_device(policy, name), None) for users, policy in ((before, old), (after, new)))
        changes += [PolicyDifference(name, sentence) for sentence in _differences(was, will)]
        changes += [
            PolicyDifference(name, sentence) for sentence in _device_differences(_device(old, name), _device(new, name))
        ]
    strangers = (users.of(_device(policy, ""), None) for users, policy in ((before, old), (after, new)))
    changes += [PolicyDifference("unknown devices", sentence) for sentence in _differences(*strangers)]
    changes += [
        PolicyDifference("the network", sentence)
        for sentence in _setting_differences(_network_settings(old), _network_settings(new))
    ]
    return tuple(changes)


def _network_settings(policy: Policy) -> SettingsByTopic:
    """Return the settings of the network as a whole. Those without a title are listed by their field names."""
    settings: SettingsByTopic = {
        "own lists": frozenset(f"{each.path or each.url} ({each.category})" for each in policy.lists),
        "corrections": frozenset(
            f"{site} ({topic})" for site, topics in policy.corrections.items() for topic in topics
        ),
        "code of conduct": policy.conduct.text if policy.conduct is not None else "",
        "unopened seats": "closed" if policy.closes_unopened is not None else "",
        "phrase lists": frozenset(policy.phrase_lists),
        "notices": frozenset(policy.notices),
    }
    settings |= {key.title or key.settings.KEY: key.facts_of(policy) for key in FEATURE_KEYS}
    network = replace(policy.network, timezone="", holidays=(), unknown_devices="")  # these are compared by device
    settings |= {name: network.listen.get(name, "") for name in LISTENERS}
    parts = (network, network.resolver, network.resolver.limit)
    for part in parts:
        for each in fields(part):
            value = getattr(part, each.name)
            if value not in parts and each.name != "listen":
                settings[each.name] = frozenset(map(str, value)) if isinstance(value, tuple) else _setting_text(value)
    return settings


def _setting_text(value: object) -> str:
    if not is_dataclass(value):
        return "" if value is None else str(value)
    values = (getattr(value, each.name) for each in fields(value))
    return ", ".join(" ".join(map(str, each)) if isinstance(each, tuple) else str(each) for each in values)


def _device(policy: Policy, name: str) -> Device:
    return policy.devices.get(name) or Device(DeviceId(name), policy.network.unknown_devices, known=False)


def _device_differences(old: Device, new: Device) -> Iterator[str]:
    for attribute, words in (("trusts_ca", "trusts the CA"), ("never_inspect", "is never inspected")):
        if getattr(old, attribute) != getattr(new, attribute):
            yield f"{words}: {'yes' if getattr(new, attribute) else 'no'}"
    if _identifiers(old) != _identifiers(new) and old.known and new.known:
        yield "is recognised differently"


def _identifiers(device: Device) -> tuple[object, ...]:
    return (device.macs, device.networks, device.client_id, device.hostnames, device.proxy_users, device.tunnel)


def _differences(old: tuple[EffectiveUser, ...], new: tuple[EffectiveUser, ...]) -> Iterator[str]:
    yield from _setting_differences(_user_settings(old), _user_settings(new))


def _setting_differences(old: SettingsByTopic, new: SettingsByTopic) -> Iterator[str]:
    for (topic, was), will in zip(old.items(), new.values(), strict=True):
        if was == will:
            continue
        if isinstance(was, frozenset) and isinstance(will, frozenset):
            more, less = sorted(will - was), sorted(was - will)
            yield f"{topic}: " + ", ".join([*(f"+{each}" for each in more), *(f"-{each}" for each in less)])
        else:
            yield f"{topic}: {was or 'none'} → {will or 'none'}"


def _user_settings(users: tuple[EffectiveUser, ...]) -> SettingsByTopic:
    layers = strictest_layers(users)
    safe_search, youtube, privacy = strictest_settings(users)
    content, zone = strictest_content(users), users[0].zone
    return {
        "person": " and ".join(user.name or "nobody" for user in users),
        "profile": " and ".join(dict.fromkeys(user.profile for user in users)),
        "allow": frozenset(_target(target, zone) for rules in layers.values() for target in rules.allow),
        "always open": frozenset(target.name for rules in layers.values() for target in rules.allow if target.always),
        "block": frozenset(_target(target, zone) for rules in layers.values() for target in rules.block),
        "safe search": safe_search.value,
        "YouTube": youtube.value,
        "privacy": privacy.value,
        "content": str(content),
        "bedtime": "; ".join(_bedtime(user) for user in users),
        "budget": "; ".join(", ".join(_allowance(each) for each in user.budget[1]) for user in users),
        "schedules": frozenset(
            _timed(timed, zone) for user in users for rules in user.layers.values() for timed in rules.schedules
        ),
        "time zone": " and ".join(dict.fromkeys(str(user.zone) for user in users)),
        "holidays": frozenset(str(day) for user in users for day in user.free),
    }


def _bedtime(user: EffectiveUser) -> str:
    return ", ".join(_spans(bedtime) for _, bedtime in bedtimes_of(user))


def _target(target: Target, zone: ZoneInfo) -> str:
    until = "" if target.until is None else f" until {datetime.fromtimestamp(target.until, zone):%Y-%m-%d %H:%M}"
    return target.name + until + (f" ({target.note})" if target.note else "")


def _timed(timed: TimedRules, zone: ZoneInfo) -> str:
    only = (*(["internet"] if timed.closed_otherwise else []), *(_target(each, zone) for each in timed.otherwise))
    allow = [_target(each, zone) for each in timed.allow if each not in timed.otherwise]
    block = [_target(each, zone) for each in timed.block]
    if timed.internet is not None:
        (allow if timed.internet is Verdict.ALLOW else block).append("internet")
    rules = "; ".join(
        f"{verb} {', '.join(names)}" for verb, names in (("allow", allow), ("block", block), ("only", only)) if names
    )
    return f"{timed.name} ({rules}: {_spans(timed.when)})"


def _spans(schedule: Schedule) -> str:
    spans = [f"{_DAYS[span.weekday]} {_interval(span.start, span.end)}" for span in schedule.spans]
    if schedule.free is not None:
        free = [f"{_DAYS[span.weekday]} {_interval(span.start, span.end)}" for span in schedule.free]
        spans.append(f"on free days: {', '.join(free) or 'never'}")
    spans += [
        f"{span.day} {'never' if span.start is None else _interval(span.start, span.end)}" for span in schedule.dated
    ]
    return ", ".join(spans) or "never"


def _interval(start: int, end: int) -> str:
    return f"{_clock(start)}-{'24:00' if end == MINUTES_PER_DAY else _clock(end)}"


def _clock(minutes: int) -> str:
    return f"{minutes // 60 % 24:02}:{minutes % 60:02}"


def _allowance(allowance: Allowance) -> str:
    subject = allowance.subject.partition(":")[2] or "all use"
    daily = "/".join("∞" if minutes is None else str(minutes) for minutes in allowance.daily)
    if allowance.free != allowance.daily:
        daily += f" (on free days {'/'.join('∞' if minutes is None else str(minutes) for minutes in allowance.free)})"
    return f"{subject} {daily} min" + (f", {allowance.weekly} per week" if allowance.weekly is not None else "")


SAFE_CLIENT_ID_LENGTH = 26
"""Characters of a client id that can carry 128 random bits."""
FEW_ADULT_SITES = "only the starter lists block adult sites: most adult sites are open"
_WIDER = {"vpn": ("bypass",)}  # categories of lists that contain a group's services under another name


def policy_warnings(policy: Policy, now: float) -> tuple[str, ...]:
    """Return warnings about a policy at `now` (seconds since the epoch)."""
    return (
        *_host_name_only_devices(policy),
        *_short_client_ids(policy),
        *_overlaps(policy),
        *_schedules_without_effect(policy),
        *_few_lists(policy),
        *(warning for key in FEATURE_KEYS for warning in key.warnings(policy)),
        *(_expiry_warning(expiring, now) for expiring in expiring_rules(policy) if expiring.is_notable(now)),
    )


def _host_name_only_devices(policy: Policy) -> Iterator[str]:
    """Warn of host names that are ignored because they would open something, or because the device has better
    identifiers.
    """
    unknown, users = policy.network.unknown_devices, EffectiveUsers(policy)
    for device in policy.devices.values():
        if not device.hostnames or honours_host_name(users, device):
            continue
        if device.macs or device.networks:
            yield f"{device.id}: its host name is ignored, because its mac or ip is better evidence"
        else:
            because = "any device can claim that name, so it only restricts. Add a mac, ip or client_id"
            yield (
                f"{device.id} is filtered as {unknown}, not as {device.profile}, when only its host name is "
                f"known: {because}"
            )


def _short_client_ids(policy: Policy) -> Iterator[str]:
    """Warn of client ids that somebody can guess."""
    for device in policy.devices.values():
        if device.client_id is not None and len(device.client_id) < SAFE_CLIENT_ID_LENGTH:
            yield (
                f"{device.id}: its client_id is short enough to guess. Take a random one, such as from `openssl "
                f"rand -hex 16`"
            )


def _overlaps(policy: Policy) -> Iterator[str]:
    """Warn of addresses in the networks of two devices, of which the smaller network decides."""
    pairs = [(network, device) for device in policy.devices.values() for network in device.networks]
    for around, outer in pairs:
        for network, inner in pairs if around.num_addresses > 1 else ():
            if inner is outer or network == around or network.version != around.version:
                continue
            if network.subnet_of(around):  # type: ignore[arg-type]
                where = f"{inner.id} ({format_network(network)}) is inside {outer.id} ({around})"
                yield f"{where}: the rules of {inner.id} apply there"


def _schedules_without_effect(policy: Policy) -> Iterator[str]:
    """Warn of schedules that allow something that is open at other times too; they were probably meant to close it
    then.
    """
    services = Services.load().by_id
    for person in policy.people.values():
        layers = (person.rules, policy.household, policy.profiles[person.profile].rules)
        closed = {each.name for rules in layers for each in rules.block}
        closed |= {
            each.name for rules in layers for timed in rules.schedules for each in (*timed.block, *timed.otherwise)
        }
        for timed in person.rules.schedules:
            for target in timed.allow:
                service = services.get(target.name) if target.kind is TargetKind.SERVICE else None
                if target.kind not in {TargetKind.SERVICE, TargetKind.CATEGORY} or target.name in closed:
                    continue
                if service is None or not closed & {
                    service.group,
                    *service.domains,
                    *service.urls,
                    *_WIDER.get(service.group, ()),
                }:
                    otherwise = (
                        f"also open for {person.name} at other times: use `only` instead of `allow` to close it then"
                    )
                    yield f"{timed.origin}: {target.name} is {otherwise}"


def _few_lists(policy: Policy) -> Iterator[str]:
    if policy.network.lists is ListSelection.STARTER and all(source.category != "adult" for source in policy.lists):
        yield f"{FEW_ADULT_SITES}, because of `network: lists: starter`: remove that line to use public lists"


def _expiry_warning(expiring: ExpiringRule, now: float) -> str:
    kind = "allow" if expiring.allows else "block"
    note = f" ({expiring.target.note})" if expiring.target.note else ""
    end = "has ended: you can delete the line" if expiring.until <= now else "ends within a day"
    return (
        f"{expiring.target.origin}: the {kind} of {expiring.target.name} "
        f"for {expiring.whose or 'everybody'}{note} {end}"
    )
