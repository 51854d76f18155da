"""What holds for one device at one moment, and the exact instant until which it holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from zoneinfo import ZoneInfo

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.blocklists.rules import Origin
from hedgerow.policies.landmarks import Landmarks
from hedgerow.policies.model import Decision, Device, DeviceId, Grant, Pause, Policy, Privacy, Reason, Rules, SafeSearch, Schedule, Verdict
from hedgerow.policies.rule_index import Layer, RuleIndex, Scope
from hedgerow.policies.schedule import state_at
from hedgerow.policies.targets import parse_target

MAX_REMEMBERED = 65_536
"""Addresses of one IPv6 network are without number: what is remembered of them is dropped beyond this many."""


@dataclass(frozen=True, slots=True)
class Closed:
    """Why the internet is closed altogether: a pause or a bedtime, which one, and until when (None: until somebody resumes)."""

    reason: Reason
    what: str
    rule: Origin | None
    until: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Ruleset:
    """What holds for one device until the instant `until` (seconds since the epoch; None: for good).

    Equal rulesets are one object with one `id`, so that caches may use the id as their key. Which device asks is not part of it.
    """

    id: int
    until: float | None
    profile: str
    person: str | None
    safe_search: SafeSearch
    youtube: SafeSearch
    trusts_ca: bool
    never_inspect: bool
    privacy: Privacy
    closed: Closed | None
    rules: RuleIndex
    landmarks: Landmarks
    default: Decision  # made once: most requests get it


class Rulesets:
    """All rulesets of one policy with its grants and pauses. One per worker and snapshot; not shared between threads."""

    def __init__(self, policy: Policy, grants: Sequence[Grant], pauses: Sequence[Pause], catalogue: Catalogue) -> None:
        self.policy = policy
        self.grants = tuple(grants)
        self.pauses = tuple(pauses)
        self._categories = tuple(catalogue.categories)
        self._landmarks = Landmarks.load()
        self._macs = {mac: device for device in policy.devices.values() for mac in device.macs}
        self._networks = _by_length(policy)
        self._devices: dict[str | tuple[str, str], Device | None] = {}
        self._held: dict[DeviceId, tuple[float, float, Ruleset]] = {}
        self._interned: dict[tuple[object, ...], Ruleset] = {}
        self._indexes: dict[tuple[object, ...], RuleIndex] = {}
        self._next_id = 1

    def device_at(self, address: str, mac: str | None = None) -> Device | None:
        """The device that has this address, named by the policy or not; None for one outside `network.lan`, which is refused.

        A MAC that the policy names decides over addresses, a longer network over a shorter one.
        """
        key = address if mac is None else (address, mac)
        try:
            return self._devices[key]
        except KeyError:
            if len(self._devices) >= MAX_REMEMBERED:
                self._devices.clear()
            device = self._devices[key] = self._find_device(address, mac.lower() if mac else None)
            return device

    def _find_device(self, address: str, mac: str | None) -> Device | None:
        if mac in self._macs:
            return self._macs[mac]
        parsed = parse_client_address(address)
        if parsed is None:
            return None
        for network, device in self._networks:
            if parsed in network:
                return device
        if not any(parsed in network for network in self.policy.network.lan):
            return None
        return Device(DeviceId(mac or str(parsed)), self.policy.network.unknown_devices, known=False)

    def ruleset(self, device: Device, now: float) -> Ruleset:
        """What holds for `device` at `now` (seconds since the epoch). A look-up unless a boundary has passed since the last time."""
        held = self._held.get(device.id)
        # `now` before the instant of the last time: somebody has set the clock back.
        if held is not None and held[0] <= now < held[1]:
            return held[2]
        if len(self._held) >= MAX_REMEMBERED:
            self._held.clear()
        ruleset = self._compose(device, now)
        self._held[device.id] = (now, float("inf") if ruleset.until is None else ruleset.until, ruleset)
        return ruleset

    def _compose(self, device: Device, now: float) -> Ruleset:
        layers = dict(self._rules_of(device))
        grants = tuple(grant for grant in self.grants if _concerns(grant, device) and _holds(grant, now))
        closed, boundaries = self._closed(device, layers, now)
        boundaries += [edge for grant in self.grants if _concerns(grant, device) for edge in _edges(grant, now)]
        until = min(boundaries, default=None)
        settings = _settings(layers)
        key = (device.profile, device.person, device.trusts_ca, device.never_inspect, settings, closed, until)
        index_key = self._index_key(device, layers, grants)
        ruleset = self._interned.get((key, index_key))
        if ruleset is None:
            self._forget_expired(now)
            default = Decision(Verdict.ALLOW, Reason.DEFAULT, until=until)
            ruleset = Ruleset(
                self._next_id, until, device.profile, device.person, settings[0], settings[1], device.trusts_ca, device.never_inspect,
                settings[2], closed, self._index(index_key, layers, grants), self._landmarks, default,
            )  # fmt: skip
            self._next_id += 1
            self._interned[key, index_key] = ruleset
        return ruleset

    def _rules_of(self, device: Device) -> Iterator[tuple[Scope, Rules]]:
        """What each scope says about a device, the nearest first."""
        yield Scope.DEVICE, device.rules
        if device.person is not None:
            yield Scope.PERSON, self.policy.people[device.person].rules
        yield Scope.HOUSEHOLD, self.policy.household
        yield Scope.PROFILE, self.policy.profiles[device.profile].rules

    def _closed(self, device: Device, layers: dict[Scope, Rules], now: float) -> tuple[Closed | None, list[float]]:
        """Whether all is closed at `now`, and the instants at which that may change."""
        boundaries = [edge for pause in self.pauses if _concerns(pause, device) for edge in _edges(pause, now)]
        closed = None
        pauses = [pause for pause in self.pauses if _concerns(pause, device) and _holds(pause, now)]
        if pauses:
            longest = max(pauses, key=lambda pause: float("inf") if pause.ends is None else pause.ends)
            closed = Closed(Reason.PAUSE, longest.note or "pause", Origin(f"pause by {longest.giver}"), longest.ends)
        bedtime = bedtime_of(layers)
        if bedtime is not None:
            state = state_at(bedtime, self.zone_of(device), now)
            if state.until is not None:
                boundaries.append(state.until)
            if state.active and closed is None:
                closed = Closed(Reason.BEDTIME, "bedtime", bedtime.origin, state.until)
        return closed, boundaries

    def zone_of(self, device: Device) -> ZoneInfo:
        """The time zone that the clocks of a device's person show."""
        person = self.policy.people.get(device.person) if device.person else None
        return ZoneInfo((person and person.timezone) or self.policy.network.timezone)

    def rules_of(self, device: Device) -> dict[Scope, Rules]:
        """What each scope says about a device, the nearest first: for those who explain."""
        return dict(self._rules_of(device))

    def _index_key(self, device: Device, layers: dict[Scope, Rules], grants: tuple[Grant, ...]) -> tuple[object, ...]:
        own = layers[Scope.DEVICE]
        personal = layers.get(Scope.PERSON)
        return (
            device.profile,
            device.person if personal is not None and (personal.allow or personal.block) else None,
            device.id if own.allow or own.block else None,
            tuple(grant.id for grant in grants),
        )

    def _index(self, key: tuple[object, ...], layers: dict[Scope, Rules], grants: tuple[Grant, ...]) -> RuleIndex:
        index = self._indexes.get(key)
        if index is None:
            scoped = [Layer(scope, rules.allow, rules.block) for scope, rules in layers.items()]
            scoped += [layer for grant in grants if (layer := self._grant_layer(grant)) is not None]
            index = self._indexes[key] = RuleIndex(scoped, self._categories, self._landmarks.services)
        return index

    def _grant_layer(self, grant: Grant) -> Layer | None:
        origin = Origin(f"grant by {grant.giver}", text=grant.subject)
        names = {*self.policy.categories, *self._categories}
        try:
            target = parse_target(grant.subject, self._landmarks.services.by_id, names, origin)
        except ValueError:
            return None  # it named a list's category that is gone by now; nothing is left to open
        return Layer(Scope.GRANT, allow=(target,), until=grant.ends)

    def _forget_expired(self, now: float) -> None:
        if len(self._interned) < 1024:
            return
        self._interned = {key: kept for key, kept in self._interned.items() if kept.until is None or kept.until > now}
        used = {key[1] for key in self._interned}
        self._indexes = {key: index for key, index in self._indexes.items() if key in used}


def parse_client_address(text: str) -> IPv4Address | IPv6Address | None:
    """A client's address as sockets give it: without the zone of a link-local one, and IPv4 behind ::ffff: as IPv4."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped


def bedtime_of(layers: dict[Scope, Rules]) -> Schedule | None:
    """The bedtime of the nearest scope that has one."""
    return next((rules.bedtime for _, rules in sorted(layers.items()) if rules.bedtime is not None), None)


def _settings(layers: dict[Scope, Rules]) -> tuple[SafeSearch, SafeSearch, Privacy]:
    ordered = [rules for _, rules in sorted(layers.items())]
    safe_search = next((rules.safe_search for rules in ordered if rules.safe_search is not None), SafeSearch.OFF)
    youtube = next((rules.youtube for rules in ordered if rules.youtube is not None), safe_search)
    privacy = next((rules.privacy for rules in ordered if rules.privacy is not None), Privacy.CATEGORY)
    return safe_search, youtube, privacy


def _concerns(given: Grant | Pause, device: Device) -> bool:
    return given.device in (None, device.id) and given.person in (None, device.person)


def _holds(given: Grant | Pause, now: float) -> bool:
    return given.starts <= now and (given.ends is None or now < given.ends)


def _edges(given: Grant | Pause, now: float) -> list[float]:
    return [edge for edge in (given.starts, given.ends) if edge is not None and edge > now]


def _by_length(policy: Policy) -> list[tuple[IPv4Network | IPv6Network, Device]]:
    pairs = [(network, device) for device in policy.devices.values() for network in device.networks]
    return sorted(pairs, key=lambda pair: pair[0].prefixlen, reverse=True)
