"""The rules in force for one device at one moment, and the exact instant until which they apply."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from zoneinfo import ZoneInfo

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.blocklists.categories import kept_from_children
from hedgerow.blocklists.rules import Origin
from hedgerow.policies.content import ContentRules
from hedgerow.policies.effective_users import (
    ALL_UNNAMED,
    EffectiveUser,
    EffectiveUsers,
    Meter,
    RulesByScope,
    strictest_content,
    strictest_layers,
    strictest_settings,
)
from hedgerow.policies.growing import next_change, next_step_at, policy_at
from hedgerow.policies.host_facts import HostFactIndex, Services
from hedgerow.policies.identity import MAX_CACHED_DEVICES, DeviceLookup
from hedgerow.policies.model import (
    Decision,
    Device,
    DeviceId,
    Grant,
    Pause,
    Policy,
    Privacy,
    Reason,
    SafeSearch,
    Session,
    Verdict,
)
from hedgerow.policies.remembered import NO_SITES, RememberedSites
from hedgerow.policies.rule_index import RuleIndex, RuleScope, ScopeLayer
from hedgerow.policies.sites_seen import SitesSeen
from hedgerow.policies.targets import ILLEGAL, parse_target
from hedgerow.policies.time_model import SpentBudget
from hedgerow.policies.times.closing import (
    Closure,
    SpentSubject,
    TimeEffects,
    TimeRules,
    applies_to,
    boundaries_after,
    is_in_force,
)

_CLOSES_SEATS = frozenset((Reason.BEDTIME, Reason.SCHEDULE))


@dataclass(frozen=True, slots=True, eq=False)
class Ruleset:
    """The rules in force for a device until the instant `until` (seconds since the epoch; None: for good).

    Equal rulesets are one object with one `id`, which caches can use as a key. The asking device is not part of it.
    `person` is None for nobody in particular and for a shared device. `meters` are the budgets that its use counts
    against, `used_up` the categories and services whose budget is spent. `session` is the id of the session at a seat,
    so that guests never share cached answers.
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
    closed: Closure | None
    rules: RuleIndex
    host_facts: HostFactIndex
    default: Decision  # made once, because most requests get it
    meters: tuple[Meter, ...] = ()
    used_up: tuple[SpentSubject, ...] = ()
    session: str = ""
    content: ContentRules = field(default_factory=ContentRules)
    is_claimed: bool = False  # known by its host name only, which can restrict but not open
    may_be_a_childs: bool = False  # nobody has named the device, in a home with children
    version: int = 0  # the id under which the journal describes these rules and lists
    remembered: RememberedSites = NO_SITES
    sites: SitesSeen | None = field(default=None, repr=False)  # None: no site counts as new
    # mask of the blocked categories that no grant opens: at a child's seat, those that are kept from children
    ungranted: int = 0
    upstream: tuple[str, ...] = ()  # resolvers that are asked instead of the network's; empty: those

    def limited_as(self, device: DeviceId) -> DeviceId:
        """Return the device whose attempts and octets are counted for this one: all unnamed devices of a home with
        children are one, because a child can have any number of MAC addresses.
        """
        return ALL_UNNAMED if self.may_be_a_childs else device


class Rulesets:
    """All rulesets of one policy with its grants, pauses, spent budgets and sessions. `devices` finds who asks.

    Each worker has one per snapshot. Not thread-safe. `trusted_from` is as in `TimeRules`. Look-ups that depend on the
    policy alone are taken over from the rulesets `before`, if they are of the same policy.
    """

    def __init__(
        self,
        policy: Policy,
        grants: Sequence[Grant],
        pauses: Sequence[Pause],
        catalogue: Catalogue,
        spent: Sequence[SpentBudget] = (),
        sessions: Sequence[Session] = (),
        names: Mapping[str, str] | None = None,
        version: int = 0,
        trusted_from: float = 0.0,
        remembered: RememberedSites = NO_SITES,
        sites: SitesSeen | None = None,
        before: Rulesets | None = None,
        leases: Mapping[str, str] | None = None,
    ) -> None:
        self.policy = policy
        self.grants = tuple(grants)
        self.pauses = tuple(pauses)
        self.sessions = tuple(sessions)
        self._version = version
        self._remembered = remembered
        self.sites = sites
        self._categories = tuple(catalogue.categories)
        self._has_illegal = ILLEGAL in catalogue.listed
        self._host_facts = HostFactIndex.load()
        self._kept_from_children = sum(
            (name in kept_from_children()) << bit for bit, name in enumerate(self._categories)
        )
        last = before if before is not None and before.policy is policy else None
        self._known = (dict(names or {}), dict(leases or {}))
        self.devices: DeviceLookup = (
            last.devices if last is not None and last._known == self._known else DeviceLookup(policy, *self._known)
        )
        self._effective_users: EffectiveUsers = EffectiveUsers(policy) if last is None else last._effective_users
        self._time_rules = TimeRules(self.pauses, tuple(spent), self.grants, trusted_from)
        self._with_own_times = {
            *(grant.device for grant in self.grants),
            *(device for pause in self.pauses for device in (pause.device, pause.spared_device)),
            *(session.device for session in self.sessions),
        }
        # Nobody is older at a clock that is behind.
        self._not_before = trusted_from
        self._grown: tuple[float, float] = _NEVER if last is None else last._grown
        self._held: dict[tuple[DeviceId, DeviceId | None], tuple[float, float, Ruleset]] = {}
        self._interned: dict[tuple[object, ...], Ruleset] = {}
        self._indexes: dict[tuple[object, ...], RuleIndex] = {}
        self._next_id = 1

    def ruleset(self, device: Device, now: float) -> Ruleset:
        """Return the rules in force for `device` at `now` (seconds since the epoch); cached until the next boundary."""
        if not self._grown[0] <= now < self._grown[1]:
            self._grow(now)
        key = (device.id, device.claims)
        if not device.known and device.claims is None and device.id not in self._with_own_times:
            # All of them have the same rules, which take long to combine in a school.
            key = (ALL_UNNAMED, None) if self._effective_users.may_be_a_childs(device) else key
        held = self._held.get(key)
        # `now` lies before held[0] if somebody has set the clock back.
        if held is not None and held[0] <= now < held[1]:
            return held[2]
        if len(self._held) >= MAX_CACHED_DEVICES:
            self._held.clear()
        ruleset = self._compose(device, now)
        self._held[key] = (now, float("inf") if ruleset.until is None else ruleset.until, ruleset)
        return ruleset

    def _grow(self, now: float) -> None:
        """Go on with the ages and profiles that people have at `now`."""
        moment = max(now, self._not_before)
        policy = policy_at(self.policy, moment)
        if policy is not self.policy or self._grown != _NEVER:
            self._effective_users = EffectiveUsers(policy)
            self._held.clear()
        end = next_change(policy, moment)
        self._grown = (now if end < float("inf") else float("-inf"), end)

    def effective_users_of(self, device: Device, now: float) -> tuple[EffectiveUser, ...]:
        """Return the users whose rules apply to a device: of its session, its person, or all who share it."""
        return self._effective_users.of(device, self.session_at(device, now))

    def zone_of(self, device: Device) -> ZoneInfo:
        """Return the time zone of a device's person, or the network's."""
        return self._effective_users.zone(self.policy.people.get(device.person) if device.person else None)

    def closing_after(
        self, device: Device, now: float, within: float, guest: Session | None = None
    ) -> tuple[Closure, float] | None:
        """Return the closure that a device, open at `now`, will meet within `within` seconds, and its instant; None if
        there is none.

        With `guest`: the bedtime or time without internet that this session would meet at a seat, now or within these
        seconds.
        """
        users = self.effective_users_of(device, now) if guest is None else self._effective_users.of(device, guest)
        edges = {edge for user in users for edge in self._time_rules.effects(user, now).edges if edge <= now + within}
        for edge in sorted(edges if guest is None else {now, *edges}):
            for user in users:
                closed = self._time_rules.effects(user, edge).closed
                if closed is not None and (guest is None or closed.reason in _CLOSES_SEATS):
                    return closed, edge
        return None

    def session_at(self, device: Device, now: float) -> Session | None:
        """Return the session in force at a device."""
        here = [session for session in self._sessions_of(device) if is_in_force(session, now)]
        return max(here, key=lambda session: session.starts, default=None)

    def _sessions_of(self, device: Device) -> list[Session]:
        return [session for session in self.sessions if session.device == (device.claims or device.id)]

    def _compose(self, device: Device, now: float) -> Ruleset:
        session = self.session_at(device, now)
        users = self._effective_users.of(device, session)
        # Whoever takes the host name of a device is not the one whose session it is.
        is_alone = session is None or device.claims is not None
        may_be_a_childs = is_alone and self._effective_users.may_be_a_childs(device)
        children = self._effective_users.children if may_be_a_childs else ()
        own_effects = [self._time_rules.effects(user, now) for user in users]
        of_children = [self._time_rules.effects(child, now) for child in children]
        effects, restricting = [*own_effects, *of_children], (*users, *children)
        layers = strictest_layers(restricting)
        is_childs_seat = self._effective_users.is_at_seat(device) and any(
            self.policy.profiles[user.profile].is_for_children for user in users
        )
        # A claimed device gets only the grants that it would have without the claim.
        granted = users if device.claims is None else users[-1:]
        relevant = [
            grant
            for grant in self.grants
            if all(applies_to(grant, user) for user in granted)
            and not (is_childs_seat and _is_kept_from_children(grant.subject, self._host_facts.services))
        ]
        grants = tuple(grant for grant in relevant if is_in_force(grant, now))
        safe_search, youtube, _ = strictest_settings(restricting)
        closings = (each.closed for each in own_effects if each.closed is not None)
        facts: dict[str, Any] = {
            "until": min(
                (*self._edges(device, layers, relevant, effects, now), *_steps_of_growth(restricting, now)),
                default=None,
            ),
            "profile": users[0].profile,
            "person": users[0].name if len(users) == (1 if device.claims is None else 2) else None,
            "safe_search": safe_search,
            "youtube": youtube,
            "privacy": strictest_settings(users)[2],
            "trusts_ca": device.trusts_ca,
            "never_inspect": device.never_inspect,
            "closed": next(closings, None)
            or _welcome_closure(self.policy, device, session)
            or _closed_for_a_child(self.pauses, device, of_children, now),
            "meters": tuple(dict.fromkeys(meter for user in users for meter in user.meters)),
            "used_up": tuple(dict.fromkeys(each for every in effects for each in every.used_up)),
            "session": session.id if session is not None and device.is_seat else "",
            "content": strictest_content(restricting),
            "is_claimed": device.claims is not None,
            "may_be_a_childs": may_be_a_childs,
            "upstream": _upstream_of(self.policy, device, users),
        }
        index_key = (may_be_a_childs, self._index_key(device, restricting, grants, effects, now))
        key = (*facts.values(), is_childs_seat), index_key
        if key not in self._interned:
            self._forget_expired(now)
            index = self._index(index_key, layers, grants, _timed_layers(effects), now)
            self._interned[key] = self._intern(facts, index, is_childs_seat=is_childs_seat)
        return self._interned[key]

    def _intern(self, facts: dict[str, Any], index: RuleIndex, *, is_childs_seat: bool) -> Ruleset:
        self._next_id += 1
        return Ruleset(
            **facts,
            id=self._next_id - 1,
            rules=index,
            host_facts=self._host_facts,
            default=Decision(Verdict.ALLOW, Reason.DEFAULT, until=facts["until"]),
            version=self._version,
            remembered=self._remembered,
            sites=self.sites,
            ungranted=(index.blocked | index.bypass) & self._kept_from_children if is_childs_seat else 0,
        )

    def _edges(
        self,
        device: Device,
        layers: RulesByScope,
        grants: Iterable[Grant],
        all_effects: Iterable[TimeEffects],
        now: float,
    ) -> list[float]:
        edges = [edge for effects in all_effects for edge in effects.edges]
        edges += boundaries_after(grants, now)
        edges += boundaries_after(self._sessions_of(device), now)
        items = (target for rules in layers.values() for target in (*rules.allow, *rules.block))
        edges += [target.until for target in items if target.until is not None and target.until > now]
        return edges

    def _index_key(
        self,
        device: Device,
        users: Sequence[EffectiveUser],
        grants: tuple[Grant, ...],
        all_effects: Sequence[TimeEffects],
        now: float,
    ) -> tuple[object, ...]:
        """Return all that an index is made of.

        Scopes without rules do not count, so that many devices share one index.
        """
        timed = tuple(
            (layer.scope, layer.schedule, layer.until, n)
            for n, effects in enumerate(all_effects)
            for layer in effects.layers
        )
        personal = [
            rules for user in users if (rules := user.layers.get(RuleScope.PERSON)) and (rules.allow or rules.block)
        ]
        lapsing = [
            target
            for user in users
            for rules in user.layers.values()
            for target in (*rules.allow, *rules.block)
            if target.until is not None and target.until > now
        ]
        return (
            device.claims is not None,
            tuple(user.profile for user in users),
            tuple(user.name for user in users) if personal or timed else None,
            tuple(user.person.legal_closings for user in users if user.person is not None and personal),
            (device.claims or device.id)
            if device.rules.allow or device.rules.block or device.rules.schedules
            else None,
            tuple(grant.id for grant in grants),
            timed,
            tuple(target.origin.line for target in lapsing),
        )

    def _index(
        self,
        key: tuple[object, ...],
        layers: RulesByScope,
        grants: Iterable[Grant],
        timed: Iterable[ScopeLayer],
        now: float,
    ) -> RuleIndex:
        index = self._indexes.get(key)
        if index is None:
            scoped = [
                _without_expired(ScopeLayer(scope, rules.allow, rules.block), now) for scope, rules in layers.items()
            ]
            scoped += (_without_expired(layer, now) for layer in timed)
            scoped += [layer for grant in grants if (layer := self._grant_layer(grant)) is not None]
            index = self._indexes[key] = RuleIndex(
                scoped, self._categories, self._host_facts.services, self._has_illegal
            )
        return index

    def _grant_layer(self, grant: Grant) -> ScopeLayer | None:
        origin = Origin(f"grant by {grant.actor}", text=grant.subject)
        names = {*self.policy.categories, *self._categories}
        try:
            target = parse_target(grant.subject, self._host_facts.services.by_id, names, origin)
        except ValueError:
            return None  # it names a list's category that no longer exists
        return ScopeLayer(RuleScope.GRANT, allow=(target,), until=grant.ends)

    def _forget_expired(self, now: float) -> None:
        if len(self._interned) < 1024:
            return
        self._interned = {key: kept for key, kept in self._interned.items() if kept.until is None or kept.until > now}
        if len(self._interned) >= MAX_CACHED_DEVICES:
            self._interned.clear()
        used = {key[1] for key in self._interned}
        self._indexes = {key: index for key, index in self._indexes.items() if key in used}


def _welcome_closure(policy: Policy, device: Device, session: Session | None) -> Closure | None:
    """Return why a seat is still closed: no session yet, or the guest has not accepted the code of conduct."""
    conduct, waits = policy.conduct, policy.closes_unopened
    if not device.is_seat:
        return None
    if session is None:
        return None if waits is None else Closure(Reason.NO_SESSION, "", waits, None)
    if conduct is None or session.accepted is not None:
        return None
    return Closure(Reason.CONDUCT, "", conduct.origin, session.ends)


def _steps_of_growth(users: Iterable[EffectiveUser], now: float) -> Iterator[float]:
    """Yield when users have other profiles, as they grow up."""
    for user in users:
        if user.person is not None and (at := next_step_at(user.person, now, user.zone)) is not None:
            yield at


def _upstream_of(policy: Policy, device: Device, users: Sequence[EffectiveUser]) -> tuple[str, ...]:
    """Return the upstreams of a device, or those that all of its users have. A claim to a name gives none."""
    if device.claims is not None or device.upstream:
        return () if device.claims is not None else device.upstream
    people = [policy.people.get(user.name or "") for user in users]
    found = {person.upstream if person is not None else () for person in people}
    return found.pop() if len(found) == 1 else ()


def _is_kept_from_children(subject: str, services: Services) -> bool:
    """Return whether the subject of a grant is a topic or service that is kept from children."""
    service = services.by_id.get(subject)
    return (service.topic if service is not None else subject) in kept_from_children()


def _closed_for_a_child(
    pauses: Iterable[Pause], device: Device, effects: Iterable[TimeEffects], now: float
) -> Closure | None:
    """Return why a device is closed that could be a child's: `effects` close the internet for a child."""
    is_spared = any(pause.spared_device == device.id and is_in_force(pause, now) for pause in pauses)
    closings = (each.closed for each in effects if each.closed is not None)
    closed = next((each for each in closings if not (is_spared and each.reason is Reason.PAUSE)), None)
    return None if closed is None else replace(closed, reason=Reason.UNNAMED, what="")


def _timed_layers(all_effects: Sequence[TimeEffects]) -> list[ScopeLayer]:
    """Return the timed rules in force.

    On a shared device, times that open something for one user open nothing for the others.
    """
    layers = [layer for effects in all_effects for layer in effects.layers]
    return layers if len(all_effects) == 1 else [replace(layer, allow=()) for layer in layers]


def _without_expired(layer: ScopeLayer, now: float) -> ScopeLayer:
    if all(target.until is None or target.until > now for target in (*layer.allow, *layer.block)):
        return layer
    allow, block = (
        tuple(each for each in half if each.until is None or each.until > now) for half in (layer.allow, layer.block)
    )
    return replace(layer, allow=allow, block=block)


_NEVER = (0.0, 0.0)
"""Begin and end of the time for which the users of new rulesets are right."""
_ADDRESS = re.compile(r"[0-9.]+|.*:.*")


@functools.lru_cache(maxsize=256)
def can_block_or_rewrite(ruleset: Ruleset) -> bool:
    """Return whether the ruleset can block or rewrite anything."""
    rules = ruleset.rules
    blocks = [rule for rule in (*rules.hosts.values(), *rules.services.values()) if not rule.allow]
    off = ruleset.safe_search is SafeSearch.OFF and ruleset.youtube is SafeSearch.OFF
    # Illegal material is a rule of every profile, and blocks nothing without a list: `rules.illegal` tells.
    blocks += [rule for name, rule in rules.categories.items() if not rule.allow and name != ILLEGAL]
    return bool(ruleset.closed or blocks or rules.urls or rules.bypass or rules.illegal) or not off


@functools.lru_cache(maxsize=256)
def has_address_rules(ruleset: Ruleset) -> bool:
    """Return whether a rule names an IP address."""
    return any(_ADDRESS.fullmatch(host) for host in ruleset.rules.hosts)
