"""What time does: whether the internet is closed for somebody now, which timed rules hold, which budgets are used up, and until when."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from hedgerow.blocklists.rules import Origin
from hedgerow.policies.model import Grant, Pause, Reason, Schedule, Sitting, Spent, TimedRules, Verdict
from hedgerow.policies.parties import Layers, Party
from hedgerow.policies.rule_index import Layer, Scope
from hedgerow.policies.times.schedule import State, state_at


@dataclass(frozen=True, slots=True)
class Closed:
    """Why the internet is closed altogether: a pause, a bedtime, which one, and until when (None: until somebody resumes)."""

    reason: Reason
    what: str
    rule: Origin | None
    until: float | None


@dataclass(frozen=True, slots=True)
class UsedUp:
    """A category or service whose minutes are used up until the instant `until`."""

    subject: str
    until: float
    rule: Origin


@dataclass(slots=True)
class Hour:
    """What time does to one party at a moment. `edges` are the later instants at which some of it changes."""

    closed: Closed | None = None
    layers: list[Layer] = field(default_factory=list)
    used_up: list[UsedUp] = field(default_factory=list)
    edges: list[float] = field(default_factory=list)


class Clockwork:
    """Works out hours, and remembers how each schedule stands until it changes: people have many devices, and devices many schedules."""

    def __init__(self, pauses: Sequence[Pause], spent: Sequence[Spent]) -> None:
        self._pauses, self._spent = pauses, spent
        self._states: dict[tuple[int, str | None], tuple[float, State]] = {}

    def hour(self, party: Party, now: float) -> Hour:
        """What holds for `party` at `now` (seconds since the epoch)."""
        hour = Hour()
        timed = self._timed(party, now, hour)
        closings = [*self._paused(party, now, hour), *self._scheduled(party, timed, now, hour), *self._spent_all(party, now, hour)]
        hour.closed = closings[0] if closings else None
        return hour

    def state(self, schedule: Schedule, party: Party, now: float) -> State:
        """How a schedule stands for a party: worked out anew only when that has changed."""
        key = (id(schedule), party.name)
        known = self._states.get(key)
        if known is None or not known[0] <= now < (float("inf") if known[1].until is None else known[1].until):
            known = self._states[key] = (now, state_at(schedule, party.zone, now, party.free))
        return known[1]

    def _paused(self, party: Party, now: float, hour: Hour) -> Iterable[Closed]:
        concerned = [pause for pause in self._pauses if concerns(pause, party)]
        hour.edges += edges_of(concerned, now)
        holding = [pause for pause in concerned if holds(pause, now)]
        if holding:
            longest = max(holding, key=lambda pause: float("inf") if pause.ends is None else pause.ends)
            yield Closed(Reason.PAUSE, longest.note or "pause", Origin(f"pause by {longest.giver}"), longest.ends)

    def _timed(self, party: Party, now: float, hour: Hour) -> list[tuple[Scope, TimedRules, State]]:
        """How all schedules stand; their rules of this moment become layers of `hour`."""
        found = []
        for scope, rules in sorted(party.layers.items()):
            for timed in rules.schedules:
                state = self.state(timed.when, party, now)
                if state.until is not None:
                    hour.edges.append(state.until)
                allow, block = (timed.allow, timed.block) if state.active else ((), timed.otherwise)
                if allow or block:
                    hour.layers.append(Layer(scope, allow, block, state.until, timed.name))
                found.append((scope, timed, state))
        return found

    def _scheduled(self, party: Party, timed: list[tuple[Scope, TimedRules, State]], now: float, hour: Hour) -> Iterable[Closed]:
        """Bedtimes and times of no internet; a schedule of a nearer scope (for bedtimes, of the same too) that opens it lifts them."""
        opened = min((scope for scope, rules, state in timed if state.active and rules.internet is Verdict.ALLOW), default=None)
        scope, bedtime = bedtime_of(party.layers)
        if bedtime is not None:
            state = self.state(bedtime, party, now)
            if state.until is not None:
                hour.edges.append(state.until)
            if state.active and (opened is None or opened > scope):
                yield Closed(Reason.BEDTIME, "bedtime", bedtime.origin, state.until)
        for scope, rules, state in timed:
            closes = rules.internet is Verdict.BLOCK if state.active else rules.closed_otherwise
            if closes and (opened is None or opened >= scope):
                yield Closed(Reason.SCHEDULE, rules.name, rules.origin, state.until)

    def _spent_all(self, party: Party, now: float, hour: Hour) -> Iterable[Closed]:
        meters = set(party.meters)
        for spent in self._spent:
            if not any(spent.account == meter.account and spent.subject == meter.subject for meter in meters):
                continue
            hour.edges += [edge for edge in (spent.since, spent.until) if edge > now]
            if not spent.since <= now < spent.until:
                continue
            if spent.subject:
                hour.used_up.append(UsedUp(spent.subject, spent.until, spent.origin))
            else:
                yield Closed(Reason.BUDGET, "", spent.origin, spent.until)


def bedtime_of(layers: Layers) -> tuple[Scope, Schedule | None]:
    """The bedtime of the nearest scope that has one."""
    return next(((scope, rules.bedtime) for scope, rules in sorted(layers.items()) if rules.bedtime is not None), (Scope.PROFILE, None))


def concerns(given: Grant | Pause, party: Party) -> bool:
    """Whether a grant or pause is for this party's device or person, or for everybody."""
    return given.device in (None, party.device.id) and given.person in (None, party.name)


def holds(given: Grant | Pause | Sitting, now: float) -> bool:
    return given.starts <= now and (given.ends is None or now < given.ends)


def edges_of(given: Iterable[Grant | Pause | Sitting], now: float) -> list[float]:
    """The instants after `now` at which any of these begins or ends."""
    return [edge for each in given for edge in (each.starts, each.ends) if edge is not None and edge > now]
