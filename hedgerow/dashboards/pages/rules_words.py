"""What holds for somebody, in plain words: for the child's own page, and for the parent's page of that child. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from hedgerow.dashboards.pages.languages import Language, message
from hedgerow.dashboards.pages.week import date_times, day_times, night_times
from hedgerow.dashboards.pages.words import title_of
from hedgerow.policies.dues import in_force
from hedgerow.policies.model import Policy, Privacy, Rules, SafeSearch, Target, TargetKind, TimedRules, Verdict
from hedgerow.policies.times.days import DAY_NAMES

_PRIVACY = {
    Privacy.FULL: message("The sites and pages requested, and what was decided."),
    Privacy.DOMAIN: message("The names of the sites requested, not the pages, and what was decided."),
    Privacy.CATEGORY: message("Only the topic or service that was blocked. No site names, no pages."),
    Privacy.NONE: message("Nothing."),
}
_SAFE_SEARCH = {
    SafeSearch.STRICT: message("Search engines leave out everything that is unsuitable for children."),
    SafeSearch.MODERATE: message("Search engines leave out the most explicit results."),
    SafeSearch.OFF: message("Search engines show everything."),
}
_YOUTUBE = {
    SafeSearch.STRICT: message("YouTube shows only what its strict mode allows, and no comments."),
    SafeSearch.MODERATE: message("YouTube leaves out what its moderate mode rates as mature."),
    SafeSearch.OFF: message("YouTube shows everything."),
}


@dataclass(frozen=True, slots=True)
class ScheduleInWords:
    """What a schedule closes (or opens), and when: pairs of days and times. `is_all`: the whole internet; `is_only`: closed otherwise."""

    name: str
    closes: bool
    is_all: bool
    is_only: bool
    targets: tuple[str, ...]
    when: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class RulesInWords:
    """Titles and sentences, ready to be shown. `nights` pairs days with times."""

    title: str
    topics: tuple[str, ...]
    services: tuple[str, ...]
    sites: tuple[str, ...]
    allowed: tuple[str, ...]
    always: tuple[str, ...]
    nights: tuple[tuple[str, str], ...]
    schedules: tuple[ScheduleInWords, ...]
    searches: str
    youtube: str
    kept: str


def rules_in_words(
    policy: Policy, profile: str, person: str | None, device: str | None, reader: Language, now: float
) -> RulesInWords:  # fmt: skip
    """What holds at `now` for a device, for a person (device None), or for a device of nobody (person None)."""
    layers = layers_of(policy, profile, person, device)
    allowed, blocked = _settled(layers, now)
    safe = next((rules.safe_search for rules in layers if rules.safe_search is not None), SafeSearch.OFF)
    bedtime = next((rules.bedtime for rules in layers if rules.bedtime is not None), None)
    return RulesInWords(
        title=reader.gettext(policy.profiles[profile].title),
        topics=_titles(reader, blocked, TargetKind.CATEGORY),
        services=_titles(reader, blocked, TargetKind.SERVICE),
        sites=_titles(reader, blocked, TargetKind.HOST, TargetKind.URL),
        allowed=_titles(reader, {name: target for name, target in allowed.items() if not target.always}, *TargetKind),
        always=_titles(reader, {name: target for name, target in allowed.items() if target.always}, *TargetKind),
        nights=_grouped(night_times(bedtime), reader, reader.gettext("every night")),
        schedules=tuple(schedule_in_words(each, reader) for rules in layers for each in rules.schedules),
        searches=reader.gettext(_SAFE_SEARCH[safe]),
        youtube=reader.gettext(_YOUTUBE[next((rules.youtube for rules in layers if rules.youtube is not None), safe)]),
        kept=reader.gettext(_PRIVACY[next((rules.privacy for rules in layers if rules.privacy is not None), Privacy.CATEGORY)]),
    )


def _settled(layers: Iterable[Rules], now: float) -> tuple[dict[str, Target], dict[str, Target]]:
    """What is allowed and what is blocked, by name: the nearest layer that names a thing decides, as in `policies.rule_index`."""
    said: dict[str, tuple[bool, Target]] = {}
    for rules in layers:
        for allows, targets in ((False, rules.block), (True, rules.allow)):
            for target in in_force(targets, now):
                said.setdefault(target.name, (allows, target))
    allowed, blocked = ({name: target for name, (allows, target) in said.items() if allows is wanted} for wanted in (True, False))
    return allowed, blocked


def layers_of(policy: Policy, profile: str, person: str | None, device: str | None) -> list[Rules]:
    """The nearest scope first, as `policies.ruleset` has it."""
    known = policy.devices.get(device) if device else None
    owner = policy.people.get(person) if person else None
    own = [known.rules] if known else []
    return [*own, *([owner.rules] if owner else []), policy.household, policy.profiles[profile].rules]


def _titles(reader: Language, targets: dict[str, Target], *kinds: TargetKind) -> tuple[str, ...]:
    return tuple(sorted((title_of(target.name, reader) for target in targets.values() if target.kind in kinds), key=str.lower))


def schedule_in_words(schedule: TimedRules, reader: Language) -> ScheduleInWords:
    """One schedule, ready to be shown."""
    targets = tuple(title_of(target.name, reader) for target in (*schedule.block, *schedule.allow))
    closes = bool(schedule.block) or schedule.internet is Verdict.BLOCK
    times = {day: (text.replace("-", "–"), "") for day, text in day_times(schedule.when).items()}
    when = _grouped(times, reader, reader.gettext("every day"))
    is_all, is_only = schedule.internet is not None or schedule.closed_otherwise, schedule.closed_otherwise or bool(schedule.otherwise)
    return ScheduleInWords(schedule.name, closes, is_all, is_only, targets, (*when, *_dates(date_times(schedule.when), reader)))


def _dates(times: dict[date, str], reader: Language) -> Iterator[tuple[str, str]]:
    """Dates one after another with the same times together."""
    stretches: list[tuple[date, date, str]] = []
    for day, text in sorted(times.items()):
        if stretches and stretches[-1][2] == text and stretches[-1][1] + timedelta(days=1) == day:
            stretches[-1] = (stretches[-1][0], day, text)
        else:
            stretches.append((day, day, text))
    for first, last, text in stretches:
        yield reader.date(first) if first == last else f"{reader.date(first)} – {reader.date(last)}", text.replace("-", "–")


def _grouped(times: dict[str, tuple[str, str]], reader: Language, always: str) -> tuple[tuple[str, str], ...]:
    """Days with the same times together; `always` is said of all seven."""
    groups: dict[str, list[int]] = {}
    for day, both in times.items():
        if any(both):
            groups.setdefault("–".join(filter(None, both)), []).append(DAY_NAMES.index(day))
    return tuple((_days(days, reader, always), text) for text, days in groups.items())


def _days(days: list[int], reader: Language, always: str) -> str:
    if len(days) == 7:
        return always
    if len(days) > 2 and days == list(range(days[0], days[-1] + 1)):
        return f"{reader.day(days[0])}–{reader.day(days[-1])}"
    return reader.listed(reader.day(day) for day in days)
