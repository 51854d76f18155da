"""Effects of time on a user: closures of the internet, timed rules in force, spent budgets, and the instants at which
they change.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from hedgerow.blocklists.rules import Origin
from hedgerow.policies.effective_users import EffectiveUser, RulesByScope
from hedgerow.policies.host_facts import Services
from hedgerow.policies.model import (
    Grant,
    Pause,
    Reason,
    Session,
    Target,
    TargetKind,
    TimedRules,
    Verdict,
)
from hedgerow.policies.rule_index import RuleScope, ScopeLayer
from hedgerow.policies.seats import SEAT_PREFIX
from hedgerow.policies.time_model import LATER_BEDTIME, PauseKind, Schedule, SpentBudget
from hedgerow.policies.times.schedule import ScheduleState, state_at

DISTRACTIONS = ("games", "social", "video", "messaging", "random-chat", "dating", "forums", "shopping")
"""Topics that a pause for homework closes, with the services of these groups.

Grants and the sites that a policy allows stay open.
"""


@dataclass(frozen=True, slots=True)
class Closure:
    """The reason why the internet is closed, such as a pause or a bedtime.

    `until` None: no instant is known. `by_wrong_clock`: it is closed until the clock is right.
    """

    reason: Reason
    what: str
    rule: Origin | None
    until: float | None
    by_wrong_clock: bool = False


@dataclass(frozen=True, slots=True)
class SpentSubject:
    """A category or service whose budget is spent until the instant `until`."""

    subject: str
    until: float
    rule: Origin


@dataclass(slots=True)
class TimeEffects:
    """Effects of time on a user at one instant. `edges` are later instants at which they may change."""

    closed: Closure | None = None
    layers: list[ScopeLayer] = field(default_factory=list)
    used_up: list[SpentSubject] = field(default_factory=list)
    edges: list[float] = field(default_factory=list)


class TimeRules:
    """The effects of time. The state of each schedule is cached until it changes, because devices share schedules.

    A clock that shows less than `trusted_from` is wrong: then all that time closes is closed, and nothing is open that
    time opens.
    """

    def __init__(
        self,
        pauses: Sequence[Pause],
        spent: Sequence[SpentBudget],
        grants: Sequence[Grant] = (),
        trusted_from: float = 0.0,
    ) -> None:
        self._pauses, self._spent, self._trusted_from = pauses, spent, trusted_from
        self._grants = grants
        self._later_bedtimes = [grant for grant in grants if grant.subject == LATER_BEDTIME]
        self._states: dict[tuple[int, str | None], tuple[float, ScheduleState]] = {}

    def effects(self, user: EffectiveUser, now: float) -> TimeEffects:
        """Return the effects on `user` at `now` (seconds since the epoch)."""
        effects = TimeEffects()
        if now < self._trusted_from:
            effects.edges.append(self._trusted_from)
        timed = self._timed(user, now, effects)
        closings = [
            *self._paused(user, now, effects),
            *self._scheduled(user, timed, now, effects),
            *self._spent_all(user, now, effects),
        ]
        effects.closed = closings[0] if closings else None
        return effects

    def state(self, schedule: Schedule, user: EffectiveUser, now: float) -> ScheduleState:
        """Return the cached state of a schedule for a user."""
        key = (id(schedule), user.name)
        known = self._states.get(key)
        if known is None or not known[0] <= now < (float("inf") if known[1].until is None else known[1].until):
            known = self._states[key] = (now, state_at(schedule, user.zone, now, user.free))
        return known[1]

    def _paused(self, user: EffectiveUser, now: float, effects: TimeEffects) -> Iterable[Closure]:
        concerned = [pause for pause in self._pauses if applies_to(pause, user) and not spares(pause, user)]
        effects.edges += boundaries_after(concerned, now)
        in_force = [pause for pause in concerned if is_in_force(pause, now)]
        effects.layers += (_homework_layer(pause) for pause in in_force if pause.kind is PauseKind.HOMEWORK)
        holding = [pause for pause in in_force if pause.kind is PauseKind.ALL]
        if holding:
            longest = max(holding, key=lambda pause: float("inf") if pause.ends is None else pause.ends)
            yield Closure(Reason.PAUSE, longest.note or "pause", Origin(f"pause by {longest.actor}"), longest.ends)

    def _timed(
        self, user: EffectiveUser, now: float, effects: TimeEffects
    ) -> list[tuple[RuleScope, TimedRules, ScheduleState]]:
        """Return the state of all schedules with their scope; add the rules in force to the layers of `effects`."""
        found = []
        holding = self._conditions(user, now, effects)
        for scope, rules in sorted(user.layers.items()):
            for timed in rules.schedules:
                if timed.unless and timed.unless not in holding:
                    continue
                state = self.state(timed.when, user, now)
                if state.until is not None:
                    effects.edges.append(state.until)
                allow, block = (timed.allow, timed.block) if state.active else ((), timed.otherwise)
                if now < self._trusted_from:
                    allow, block = (), (*timed.block, *timed.otherwise)
                if allow or block:
                    effects.layers.append(ScopeLayer(scope, allow, block, state.until, timed.name))
                found.append((scope, timed, state))
        return found

    def _conditions(self, user: EffectiveUser, now: float, effects: TimeEffects) -> set[str]:
        """Return the conditions of the user's person that no grant lifts now."""
        holding = set(user.person.conditions) if user.person is not None else set()
        for name in tuple(holding):
            lifting = [grant for grant in self._grants if grant.subject == name and applies_to(grant, user)]
            effects.edges += boundaries_after(lifting, now)
            if now >= self._trusted_from and any(is_in_force(grant, now) for grant in lifting):
                holding.discard(name)
        return holding

    def _scheduled(
        self,
        user: EffectiveUser,
        timed: list[tuple[RuleScope, TimedRules, ScheduleState]],
        now: float,
        effects: TimeEffects,
    ) -> Iterable[Closure]:
        """Yield bedtimes and times without internet.

        A schedule that opens the internet lifts those of its own and wider scopes.

        A closing schedule of the same scope still closes.
        """
        is_wrong = now < self._trusted_from
        opened = min(
            (
                scope
                for scope, rules, state in timed
                if not is_wrong and state.active and rules.internet is Verdict.ALLOW
            ),
            default=None,
        )
        later = [grant for grant in self._later_bedtimes if applies_to(grant, user)]
        is_lifted = any(is_in_force(grant, now) for grant in later)
        bedtimes = bedtimes_of(user)
        if bedtimes:
            effects.edges += boundaries_after(later, now)
        closed = []
        for scope, bedtime in bedtimes:
            state = self.state(bedtime, user, now)
            if state.until is not None:
                effects.edges.append(state.until)
            if is_wrong or (state.active and not is_lifted and (opened is None or opened > scope)):
                until = None if is_wrong else state.until
                closed.append(Closure(Reason.BEDTIME, "bedtime", bedtime.origin, until, is_wrong))
        yield from sorted(closed, key=lambda each: float("inf") if each.until is None else each.until, reverse=True)
        for scope, rules, state in timed:
            then, otherwise = rules.internet is Verdict.BLOCK, rules.closed_otherwise
            closes = then or otherwise if is_wrong else then if state.active else otherwise
            if closes and (opened is None or opened >= scope):
                yield Closure(Reason.SCHEDULE, rules.name, rules.origin, None if is_wrong else state.until, is_wrong)

    def _spent_all(self, user: EffectiveUser, now: float, effects: TimeEffects) -> Iterable[Closure]:
        meters, is_wrong = set(user.meters), now < self._trusted_from
        for spent in self._spent:
            if not any(spent.account == meter.account and spent.subject == meter.subject for meter in meters):
                continue
            effects.edges += [edge for edge in (spent.since, spent.until) if edge > now]
            if not spent.since <= now < spent.until and not is_wrong:
                continue
            if spent.subject:
                effects.used_up.append(SpentSubject(spent.subject, spent.until, spent.origin))
            else:
                yield Closure(Reason.BUDGET, "", spent.origin, None if is_wrong else spent.until, is_wrong)


def _homework_layer(pause: Pause) -> ScopeLayer:
    """Return the rules of a pause for homework. They are nearer than all but grants."""
    origin = Origin(f"homework by {pause.actor}")
    targets = [Target(TargetKind.CATEGORY, name, origin) for name in DISTRACTIONS]
    services = [id for id, service in Services.load().by_id.items() if service.group in DISTRACTIONS]
    targets += [Target(TargetKind.SERVICE, id, origin) for id in services]
    return ScopeLayer(RuleScope.DEVICE, block=tuple(targets), until=pause.ends, schedule=PauseKind.HOMEWORK)


def bedtimes_of(user: EffectiveUser) -> list[tuple[RuleScope, Schedule]]:
    """Return the bedtimes that close the internet for a user: that of the nearest scope, and at a café's seat all.

    A kind of session has hours of its own, and the café has its closing time.
    """
    found = [(scope, rules.bedtime) for scope, rules in sorted(user.layers.items()) if rules.bedtime is not None]
    return found if user.profile.startswith(SEAT_PREFIX) else found[:1]


def bedtime_of(layers: RulesByScope) -> tuple[RuleScope, Schedule | None]:
    """Return the bedtime of the nearest scope that has one, and that scope."""
    return next(
        ((scope, rules.bedtime) for scope, rules in sorted(layers.items()) if rules.bedtime is not None),
        (RuleScope.PROFILE, None),
    )


def applies_to(given: Grant | Pause, user: EffectiveUser) -> bool:
    """Return whether a grant or pause is for this user's device or person, or for everybody."""
    return given.device in (None, user.device.id) and given.person in (None, user.name)


def spares(pause: Pause, user: EffectiveUser) -> bool:
    """Return whether a pause leaves this user's device or person alone."""
    return pause.spared_device == user.device.id or (
        pause.spared_person is not None and pause.spared_person == user.name
    )


def is_in_force(given: Grant | Pause | Session, now: float) -> bool:
    """Return whether it is in force at `now`.

    A grant or a pause begins when it is given. A pause, and an open-ended grant, therefore apply also before that
    instant, if the clock was set back or shows 1970 on a machine without one.
    """
    return (given.starts <= now or _has_always_begun(given)) and (given.ends is None or now < given.ends)


def _has_always_begun(given: Grant | Pause | Session) -> bool:
    return isinstance(given, Pause) or (isinstance(given, Grant) and given.ends is None)


def boundaries_after(given: Iterable[Grant | Pause | Session], now: float) -> list[float]:
    """Return the instants after `now` at which any of these begins or ends."""
    edges = (edge for each in given for edge in (None if _has_always_begun(each) else each.starts, each.ends))
    return [edge for edge in edges if edge is not None and edge > now]
