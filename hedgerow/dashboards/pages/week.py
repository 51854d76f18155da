"""The nights of a week: from a schedule to the times of a form, and back to what the policy file says. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from hedgerow.dashboards.api.control import Unfit
from hedgerow.policies.days import DAY_NAMES
from hedgerow.policies.schedule import parse_clock
from hedgerow.policies.timing import Schedule

NIGHTS = DAY_NAMES
DAY_TITLES = dict(zip(DAY_NAMES, ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"), strict=True))

_DAY = 24 * 60


def night_times(schedule: Schedule | None) -> dict[str, tuple[str, str]]:
    """For each evening from when to when the internet is closed, two empty texts for an open night.

    Of a schedule with several spans an evening, the one that reaches furthest into the night is shown.
    """
    times = dict.fromkeys(DAY_NAMES, ("", ""))
    for span in sorted(schedule.spans, key=lambda span: span.end) if schedule else ():
        times[DAY_NAMES[span.weekday]] = (_clock(span.start), _clock(span.end))
    return times


def bedtime_value(form: Mapping[str, str]) -> str | dict[str, str] | None:
    """What stands under `bedtime`, from a form's fields such as `mon-from` and `mon-to`; None where no night is closed.

    >>> bedtime_value({f"{day}-{end}": "21:00" if end == "from" else "07:00" for day in DAY_NAMES for end in ("from", "to")})
    '21:00-07:00'
    """
    nights: dict[str, list[str]] = {}
    for day in DAY_NAMES:
        start, end = form.get(f"{day}-from", "").strip(), form.get(f"{day}-to", "").strip()
        if not start and not end:
            continue
        try:
            parse_clock(start), parse_clock(end)
        except ValueError:
            raise Unfit(f"{DAY_TITLES[day]}: a night has a beginning and an end, such as 20:30 and 07:00.") from None
        nights.setdefault(f"{start}-{end}", []).append(day)
    if not nights:
        return None
    if len(nights) == 1 and len(next(iter(nights.values()))) == 7:
        return next(iter(nights))
    if set(map(tuple, nights.values())) == {("mon", "tue", "wed", "thu", "sun"), ("fri", "sat")}:
        # These names know of holidays, the days' own names do not.
        return {"school-nights" if "mon" in days else "weekend": times for times, days in nights.items()}
    return {_days(days): times for times, days in nights.items()}


def _days(days: list[str]) -> str:
    """Days one after another as a range.

    >>> _days(["mon", "tue", "wed"]), _days(["mon", "wed"])
    ('mon-wed', 'mon,wed')
    """
    places = [DAY_NAMES.index(day) for day in days]
    if len(days) > 2 and places == list(range(places[0], places[0] + len(places))):
        return f"{days[0]}-{days[-1]}"
    return ",".join(days)


def _clock(minutes: int) -> str:
    minutes %= _DAY
    return f"{minutes // 60:02d}:{minutes % 60:02d}"
