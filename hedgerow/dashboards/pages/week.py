"""The days of a week: from a schedule to what a form shows, and back to what the policy file says. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from hedgerow.dashboards.api.control import Unfit
from hedgerow.policies.times.days import DAY_NAMES
from hedgerow.policies.times.schedule import parse_clock, parse_interval
from hedgerow.policies.times.timing import Schedule

type Times = str | list[str]

_DAY = 24 * 60
_WORKING, _FREE = ("mon", "tue", "wed", "thu", "fri"), ("sat", "sun")
_SCHOOL_NIGHTS, _FREE_NIGHTS = ("mon", "tue", "wed", "thu", "sun"), ("fri", "sat")


def night_times(schedule: Schedule | None) -> dict[str, tuple[str, str]]:
    """For each evening from when to when the internet is closed, two empty texts for an open night.

    Of a schedule with several spans an evening, the one that reaches furthest into the night is shown.
    """
    times = dict.fromkeys(DAY_NAMES, ("", ""))
    for span in sorted(schedule.spans, key=lambda span: span.end) if schedule else ():
        times[DAY_NAMES[span.weekday]] = (_clock(span.start), _clock(span.end))
    return times


def day_times(schedule: Schedule) -> dict[str, str]:
    """For each day its stretches, such as `15:00-16:00, 17:00-18:00`; an empty text where there is none."""
    return {
        day: ", ".join(f"{_clock(span.start)}-{_clock(span.end, of_end=True)}" for span in schedule.spans if span.weekday == place)
        for place, day in enumerate(DAY_NAMES)
    }


def date_times(schedule: Schedule) -> dict[date, str]:
    """The same for the dates that a schedule names, without those on which it does not hold."""
    times: dict[date, list[str]] = {}
    for span in schedule.dated:
        if span.start is not None:
            times.setdefault(span.day, []).append(f"{_clock(span.start)}-{_clock(span.end, of_end=True)}")
    return {day: ", ".join(each) for day, each in times.items()}


def bedtime_value(form: Mapping[str, str]) -> Times | dict[str, Times] | None:
    """What stands under `bedtime`, from a form's fields such as `mon-from` and `mon-to`; None where no night is closed.

    >>> bedtime_value({f"{day}-{end}": "21:00" if end == "from" else "07:00" for day in DAY_NAMES for end in ("from", "to")})
    '21:00-07:00'
    """
    nights: dict[str, Times] = {}
    for day in DAY_NAMES:
        start, end = form.get(f"{day}-from", "").strip(), form.get(f"{day}-to", "").strip()
        if not start and not end:
            continue
        try:
            parse_clock(start), parse_clock(end)
        except ValueError:
            raise Unfit("Enter a beginning and an end for the night, such as 20:30 and 07:00.") from None
        nights[day] = f"{start}-{end}"
    return _grouped(nights, {_SCHOOL_NIGHTS: "school-nights", _FREE_NIGHTS: "weekend"})


def schedule_value(form: Mapping[str, str]) -> Times | dict[str, Times]:
    """What stands under `when`, from a form's fields `mon` to `sun`. Raises `Unfit`, also where all are empty.

    >>> schedule_value({day: "15:00-16:00, 17:00-18:00" for day in ("mon", "tue", "wed", "thu", "fri")})
    {'school-days': ['15:00-16:00', '17:00-18:00']}
    """
    days: dict[str, Times] = {}
    for day in DAY_NAMES:
        stretches = [part.strip().replace("–", "-") for part in form.get(day, "").split(",") if part.strip()]
        try:
            for stretch in stretches:
                parse_interval(stretch)
        except ValueError:
            raise Unfit("Enter a period with a beginning and an end, such as 15:00-17:00.") from None
        if stretches:
            days[day] = stretches[0] if len(stretches) == 1 else stretches
    value = _grouped(days, {_WORKING: "school-days", _FREE: "weekend"})
    if value is None:
        raise Unfit("Choose a time: a schedule without one would never apply.")
    return value


def _grouped(days: Mapping[str, Times], names: Mapping[tuple[str, ...], str]) -> Times | dict[str, Times] | None:
    """Days with the same times together. Where groups of `names` say it all these are taken: they know of holidays, days do not."""
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
    """Days one after another as a range.

    >>> _days(("mon", "tue", "wed")), _days(("mon", "wed"))
    ('mon-wed', 'mon,wed')
    """
    places = [DAY_NAMES.index(day) for day in days]
    if len(days) > 2 and places == list(range(places[0], places[0] + len(places))):
        return f"{days[0]}-{days[-1]}"
    return ",".join(days)


def _clock(minutes: int, *, of_end: bool = False) -> str:
    minutes = _DAY if of_end and minutes == _DAY else minutes % _DAY
    return f"{minutes // 60:02d}:{minutes % 60:02d}"
