"""Rules in force as sentences, and conversion of schedules between policy and forms. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta

from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.words.childrens_names import may_read
from hedgerow.dashboards.words.labels import title_of
from hedgerow.dashboards.words.languages import Language, message
from hedgerow.policies.expiry import in_force
from hedgerow.policies.model import Policy, Privacy, Rules, SafeSearch, Target, TargetKind, TimedRules, Verdict
from hedgerow.policies.seats import SEAT_PREFIX
from hedgerow.policies.time_model import Schedule
from hedgerow.policies.times.schedule import DAY_NAMES, parse_clock, parse_interval, spans_on

PRIVACY_TEXTS = {
    Privacy.FULL: message("The sites and pages requested, and what was decided."),
    Privacy.DOMAIN: message("The names of the sites requested, not the pages, and what was decided."),
    Privacy.CATEGORY: message("Only the topic or service that was blocked. No site names, no pages."),
    Privacy.NONE: message("Nothing."),
}
SAFE_SEARCH_TEXTS = {
    SafeSearch.STRICT: message("Search engines leave out everything that is unsuitable for children."),
    SafeSearch.MODERATE: message("Search engines leave out the most explicit results."),
    SafeSearch.OFF: message("Search engines show everything."),
}
YOUTUBE_TEXTS = {
    SafeSearch.STRICT: message("YouTube shows only what its strict mode allows, and no comments."),
    SafeSearch.MODERATE: message("YouTube leaves out what its moderate mode rates as mature."),
    SafeSearch.OFF: message("YouTube shows everything."),
}


@dataclass(frozen=True, slots=True)
class ScheduleText:
    """Targets and times of a schedule.

    `is_all`: the whole internet. `is_only`: closed at other times. `when` pairs days with times.
    """

    name: str
    closes: bool
    is_all: bool
    is_only: bool
    targets: tuple[str, ...]
    when: tuple[tuple[str, str], ...]
    unless: str = ""


def schedule_sentence(schedule: ScheduleText, reader: Language) -> str:
    """Say what a schedule does, and when."""
    if not schedule.is_all:
        opens = message("Open only:") if schedule.is_only else message("Open:")
        text = message("Closed:") if schedule.closes and not schedule.is_only else opens
        what = f"{reader.gettext(text)} {reader.comma.join(schedule.targets)}"
    elif schedule.closes:
        what = reader.gettext(message("The internet is closed:"))
    elif schedule.is_only:
        what = reader.gettext(message("The internet is open only:"))
    else:
        what = reader.gettext(message("The internet is open:"))
    separator = " " if schedule.is_all else reader.comma
    return f"{what}{separator}{times_text(schedule.when)}"


def times_text(when: Iterable[tuple[str, str]]) -> str:
    """Return pairs of days and times as one text."""
    return "; ".join(f"{days} {times}" for days, times in when)


@dataclass(frozen=True, slots=True)
class RulesText:
    """Titles and sentences to display. `nights` pairs days with times.

    `chosen` is what the family closed itself: everything blocked that does not come from the profile. `later` are the
    services that the profile closes. Both are by name. `leaves_out` are names that a child may not read.
    """

    title: str
    topics: tuple[str, ...]
    services: tuple[str, ...]
    sites: tuple[str, ...]
    chosen: Mapping[str, str]
    later: Mapping[str, str]
    leaves_out: frozenset[str]
    allowed: tuple[str, ...]
    always: tuple[str, ...]
    nights: tuple[tuple[str, str], ...]
    schedules: tuple[ScheduleText, ...]
    safe_search: SafeSearch
    searches: str
    youtube: str
    kept: str


def rules_text(
    policy: Policy,
    profile: str,
    person: str | None,
    device: str | None,
    reader: Language,
    now: float,
    *,
    for_child: bool = False,
) -> RulesText:
    """Describe the rules in force at `now` for a device, for a person (device None), or for a device without a person
    (person None). `for_child`: what is closed is named as far as a child may read it.
    """
    layers = rule_layers(policy, profile, person, device)
    allowed, all_blocked = effective_targets(layers, now)
    blocked = {name: target for name, target in all_blocked.items() if not for_child or may_read(name)}
    schedules = (each for rules in layers for each in rules.schedules)
    own = {target.name for rules in layers[:-1] for target in rules.block}
    safe = next((rules.safe_search for rules in layers if rules.safe_search is not None), SafeSearch.OFF)
    bedtimes = [rules.bedtime for rules in layers if rules.bedtime is not None]
    holding = bedtimes if profile.startswith(SEAT_PREFIX) else bedtimes[:1]
    return RulesText(
        title=reader.gettext(policy.profiles[profile].title),
        topics=_titles(reader, blocked, TargetKind.CATEGORY),
        services=_titles(reader, blocked, TargetKind.SERVICE),
        sites=_titles(reader, blocked, TargetKind.HOST, TargetKind.URL),
        chosen=_titles_by_name(reader, (name for name in blocked if name in own)),
        later=_titles_by_name(
            reader, (name for name, each in blocked.items() if name not in own and each.kind is TargetKind.SERVICE)
        ),
        leaves_out=frozenset(all_blocked.keys() - blocked.keys()),
        allowed=_titles(reader, {name: target for name, target in allowed.items() if not target.always}, *TargetKind),
        always=_titles(reader, {name: target for name, target in allowed.items() if target.always}, *TargetKind),
        nights=tuple(
            night for each in holding for night in group_days(night_times(each), reader, reader.gettext("every night"))
        ),
        schedules=tuple(
            schedule_text(each, reader)
            for each in (map(childs_schedule, schedules) if for_child else schedules)
            if each
        ),
        safe_search=safe,
        searches=reader.gettext(SAFE_SEARCH_TEXTS[safe]),
        youtube=reader.gettext(YOUTUBE_TEXTS[youtube_of(layers, safe)]),
        kept=reader.gettext(PRIVACY_TEXTS[privacy_of(layers)]),
    )


def effective_targets(layers: Iterable[Rules], now: float) -> tuple[dict[str, Target], dict[str, Target]]:
    """Return allowed and blocked targets by name.

    The nearest layer that names a target decides, as in `policies.rule_index`.
    """
    decided: dict[str, tuple[bool, Target]] = {}
    for rules in layers:
        for allows, targets in ((False, rules.block), (True, rules.allow)):
            for target in in_force(targets, now):
                decided.setdefault(target.name, (allows, target))
    allowed, blocked = (
        {name: target for name, (allows, target) in decided.items() if allows is wanted} for wanted in (True, False)
    )
    return allowed, blocked


def childs_schedule(schedule: TimedRules) -> TimedRules | None:
    """Return a schedule without the targets that a child may not read, or None if it closes nothing else."""
    block = tuple(target for target in schedule.block if may_read(target.name))
    is_empty = schedule.block and not (block or schedule.allow or schedule.internet or schedule.closed_otherwise)
    return None if is_empty else replace(schedule, block=block)


def rule_layers(policy: Policy, profile: str, person: str | None, device: str | None) -> list[Rules]:
    """Return the rules of device, person, household and profile, the nearest first, as in `policies.ruleset`."""
    its, theirs = policy.devices.get(device or ""), policy.people.get(person or "")
    own = [*([its.rules] if its else []), *([theirs.all_rules] if theirs else [])]
    return [*own, policy.household, policy.profiles[profile].rules]


def youtube_of(layers: Iterable[Rules], otherwise: SafeSearch) -> SafeSearch:
    """Return the level of YouTube that the nearest layer sets."""
    return next((rules.youtube for rules in layers if rules.youtube is not None), otherwise)


def privacy_of(layers: Iterable[Rules]) -> Privacy:
    """Return the privacy that the nearest layer sets."""
    return next((rules.privacy for rules in layers if rules.privacy is not None), Privacy.CATEGORY)


def _titles(reader: Language, targets: dict[str, Target], *kinds: TargetKind) -> tuple[str, ...]:
    return tuple(
        sorted((title_of(target.name, reader) for target in targets.values() if target.kind in kinds), key=str.lower)
    )


def _titles_by_name(reader: Language, names: Iterable[str]) -> dict[str, str]:
    return dict(sorted(((name, title_of(name, reader)) for name in names), key=lambda each: each[1].lower()))


def schedule_text(schedule: TimedRules, reader: Language) -> ScheduleText:
    """Describe a schedule."""
    targets = tuple(title_of(target.name, reader) for target in (*schedule.block, *schedule.allow))
    closes = bool(schedule.block) or schedule.internet is Verdict.BLOCK
    times = {day: (text.replace("-", "–"), "") for day, text in day_times(schedule.when).items()}
    when = group_days(times, reader, reader.gettext("every day"))
    is_all, is_only = (
        schedule.internet is not None or schedule.closed_otherwise,
        schedule.closed_otherwise or bool(schedule.otherwise),
    )
    return ScheduleText(
        schedule.name,
        closes,
        is_all,
        is_only,
        targets,
        (*when, *dated_texts(date_times(schedule.when), reader)),
        schedule.unless,
    )


def dated_texts(times: dict[date, str], reader: Language) -> Iterator[tuple[str, str]]:
    """Yield ranges of dates with the same times."""
    for first, last, text in _runs(times):
        yield _dates_text(first, last, reader), text.replace("-", "–")


def date_ranges(days: Iterable[date], since: date, reader: Language) -> list[str]:
    """Return dates from `since` on as text, consecutive ones as a range."""
    return [
        _dates_text(first, last, reader)
        for first, last, _ in _runs(dict.fromkeys((day for day in days if day >= since), ""))
    ]


def _runs(texts: Mapping[date, str]) -> list[tuple[date, date, str]]:
    """Return the first and last date of each run of consecutive dates with the same text."""
    runs: list[tuple[date, date, str]] = []
    for day, text in sorted(texts.items()):
        if runs and runs[-1][2] == text and runs[-1][1] + timedelta(days=1) == day:
            runs[-1] = (runs[-1][0], day, text)
        else:
            runs.append((day, day, text))
    return runs


def _dates_text(first: date, last: date, reader: Language) -> str:
    return reader.date(first) if first == last else f"{reader.date(first)} – {reader.date(last)}"


def group_days(times: dict[str, tuple[str, str]], reader: Language, always: str) -> tuple[tuple[str, str], ...]:
    """Group days with the same times. `always` names all seven days."""
    groups: dict[str, list[int]] = {}
    for day, both in times.items():
        if any(both):
            groups.setdefault("–".join(filter(None, both)), []).append(DAY_NAMES.index(day))
    return tuple((days_text(days, reader, always), text) for text, days in groups.items())


def days_text(days: list[int], reader: Language, always: str) -> str:
    if len(days) == 7:
        return always
    if len(days) > 2 and days == list(range(days[0], days[-1] + 1)):
        return f"{reader.day(days[0])}–{reader.day(days[-1])}"
    return reader.listed(reader.day(day) for day in days)


type Times = str | list[str]

_DAY_MINUTES = 24 * 60
_SCHOOL_DAYS, _WEEKEND = ("mon", "tue", "wed", "thu", "fri"), ("sat", "sun")
_SCHOOL_NIGHTS, _FREE_NIGHTS = ("mon", "tue", "wed", "thu", "sun"), ("fri", "sat")


def night_times(schedule: Schedule | None) -> dict[str, tuple[str, str]]:
    """Return start and end of the closed time for each evening, two empty texts for an open night.

    If an evening has several spans, the one that ends last is returned.
    """
    times = dict.fromkeys(DAY_NAMES, ("", ""))
    for span in sorted(schedule.spans, key=lambda span: span.end) if schedule else ():
        times[DAY_NAMES[span.weekday]] = (_time_of_day(span.start), _time_of_day(span.end))
    return times


def day_times(schedule: Schedule) -> dict[str, str]:
    """Return the times of each day, such as `15:00-16:00, 17:00-18:00`, or an empty text."""
    return {
        day: ", ".join(
            f"{_time_of_day(span.start)}-{_time_of_day(span.end, of_end=True)}"
            for span in schedule.spans
            if span.weekday == place
        )
        for place, day in enumerate(DAY_NAMES)
    }


def date_times(schedule: Schedule) -> dict[date, str]:
    """Return the times of each date that a schedule names, without dates on which it does not apply."""
    days = dict.fromkeys(span.day for span in schedule.dated)
    return {day: times for day in days if (times := times_on(schedule, day))}


def times_on(schedule: Schedule, day: date, free: Collection[date] = ()) -> str:
    """Return the times of a day, which may be one of the holidays `free` or a date that the schedule names."""
    spans = spans_on(schedule, day, free)
    return ", ".join(f"{_time_of_day(start)}-{_time_of_day(end, of_end=True)}" for start, end in spans)


def bedtime_value(form: Mapping[str, str]) -> Times | dict[str, Times] | None:
    """Return the value of `bedtime` for form fields such as `mon-from` and `mon-to`, or None if no night is closed.

    >>> bedtime_value({f"{day}-{end}": "21:00" if end == "from" else "07:00" for day in DAY_NAMES for end in ("from",
    ...  "to")})
    '21:00-07:00'
    """
    nights: dict[str, Times] = {}
    for day in DAY_NAMES:
        start, end = form.get(f"{day}-from", "").strip(), form.get(f"{day}-to", "").strip()
        if not start and not end:
            continue
        for name, text in ((f"{day}-from", start), (f"{day}-to", end)):
            try:
                parse_clock(text)
            except ValueError:
                raise InvalidInput("Enter a beginning and an end for the night, such as 20:30 and 07:00.").at(
                    name
                ) from None
        nights[day] = f"{start}-{end}"
    return _grouped(nights, {_SCHOOL_NIGHTS: "school-nights", _FREE_NIGHTS: "weekend"})


def schedule_value(form: Mapping[str, str]) -> Times | dict[str, Times]:
    """Return the value of `when` for the form fields `mon` to `sun`. Raises `InvalidInput`, also if all are empty.

    >>> schedule_value({day: "15:00-16:00, 17:00-18:00" for day in ("mon", "tue", "wed", "thu", "fri")})
    {'school-days': ['15:00-16:00', '17:00-18:00']}
    """
    days: dict[str, Times] = {}
    for day in DAY_NAMES:
        intervals = [part.strip().replace("–", "-") for part in form.get(day, "").split(",") if part.strip()]
        try:
            for interval in intervals:
                parse_interval(interval)
        except ValueError:
            raise InvalidInput("Enter a period with a beginning and an end, such as 15:00-17:00.").at(day) from None
        if intervals:
            days[day] = intervals[0] if len(intervals) == 1 else intervals
    value = _grouped(days, {_SCHOOL_DAYS: "school-days", _WEEKEND: "weekend"})
    if value is None:
        raise InvalidInput("Choose a time: a schedule without one would never apply.").at(DAY_NAMES[0])
    return value


def _grouped(days: Mapping[str, Times], names: Mapping[tuple[str, ...], str]) -> Times | dict[str, Times] | None:
    """Group days with the same times.

    Groups in `names` are preferred where they cover all days: they include holidays.
    """
    if not days:
        return None
    groups: list[tuple[Times, tuple[str, ...]]] = []
    for day, times in days.items():
        place = next((place for place, (each, _) in enumerate(groups) if each == times), None)
        if place is None:
            groups.append((times, (day,)))
        else:
            groups[place] = (times, (*groups[place][1], day))
    if len(groups) == 1 and len(days) == 7:
        return groups[0][0]
    if all(of in names for _, of in groups):
        return {names[of]: times for times, of in groups}
    return {_days(of): times for times, of in groups}


def _days(days: tuple[str, ...]) -> str:
    """Return days as a range if they are consecutive, else as a list.

    >>> _days(("mon", "tue", "wed")), _days(("mon", "wed"))
    ('mon-wed', 'mon,wed')
    """
    places = [DAY_NAMES.index(day) for day in days]
    if len(days) > 2 and places == list(range(places[0], places[0] + len(places))):
        return f"{days[0]}-{days[-1]}"
    return ",".join(days)


def _time_of_day(minutes: int, *, of_end: bool = False) -> str:
    minutes = _DAY_MINUTES if of_end and minutes == _DAY_MINUTES else minutes % _DAY_MINUTES
    return f"{minutes // 60:02d}:{minutes % 60:02d}"
