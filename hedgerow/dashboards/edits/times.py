"""Edits of a person's schedules and nights, presets of both, and holidays. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.edits.yaml_text import Edit, exclude, include, put, put_times, remove
from hedgerow.dashboards.words.languages import Language, message
from hedgerow.dashboards.words.rules import Times
from hedgerow.policies.model import Person, TimedRules, Verdict
from hedgerow.policies.targets import INTERNET
from hedgerow.policies.times.schedule import parse_dates


class ScheduleEffect(StrEnum):
    """The key of a schedule that holds its items: closed at its times, open at its times only, or open although other
    rules close them.
    """

    BLOCK = "block"
    ONLY = "only"
    ALLOW = "allow"


@dataclass(frozen=True, slots=True)
class ScheduleItems:
    """Items of a schedule. `effect` is None for a schedule that both opens and closes, which forms do not edit."""

    effect: ScheduleEffect | None
    names: tuple[str, ...]


def schedule_items(schedule: TimedRules) -> ScheduleItems:
    """Return the items of a schedule. The whole internet is named `internet`."""
    only, block = tuple(target.name for target in schedule.otherwise), tuple(target.name for target in schedule.block)
    allow = tuple(target.name for target in schedule.allow if target not in schedule.otherwise)
    whole = (INTERNET,)
    only = whole + only if schedule.closed_otherwise else only
    block = whole + block if schedule.internet is Verdict.BLOCK else block
    allow = whole + allow if schedule.internet is Verdict.ALLOW else allow
    found = {effect: names for effect, names in zip(ScheduleEffect, (block, only, allow), strict=True) if names}
    if len(found) != 1:
        return ScheduleItems(None, (*block, *only, *allow))
    return ScheduleItems(*found.popitem())


def schedule_edits(
    person: Person, name: str, items: ScheduleItems, when: Times | Mapping[str, Times] | None
) -> list[Edit]:
    """Add a schedule or change it.

    Items that stay keep their end and note. `when` None keeps the times. Raises `InvalidInput`.
    """
    if not items.names or items.effect is None:
        raise InvalidInput("Choose what the schedule is about.").at("what")
    known = next((each for each in person.rules.schedules if each.name == name), None)
    path = ("people", person.name, "schedules", name)
    if known is None:
        listed = items.names[0] if len(items.names) == 1 else list(items.names)
        return [put(path, {items.effect.value: listed, "when": when})]
    edits = [] if when is None else [put_times((*path, "when"), when)]
    before = schedule_items(known)
    if before.effect is items.effect:
        key = (*path, items.effect.value)
        edits += [exclude(key, each) for each in before.names if each not in items.names]
        return edits + [include(key, each) for each in items.names if each not in before.names]
    edits += [remove((*path, effect.value)) for effect in ScheduleEffect if effect is not items.effect]
    return [*edits, put((*path, items.effect.value), list(items.names))]


def remove_schedule_edit(person: Person, name: str) -> Edit:
    """Remove a schedule. Raises `InvalidInput`."""
    names = {each.name for each in person.rules.schedules}
    if name not in names:
        raise InvalidInput("This schedule does not exist.")
    return remove(
        ("people", person.name, "schedules") if len(names) == 1 else ("people", person.name, "schedules", name)
    )


@dataclass(frozen=True, slots=True)
class Preset:
    """A common arrangement of a week, to put in force with one button.

    `schedule` is the schedule's name, None for nights.
    """

    name: str
    title: str
    detail: str
    schedule: str | None = None
    edits: tuple[Edit, ...] = ()
    is_possible: bool = True


# Ages from which the nights apply: nine to twelve hours of sleep up to 12 years and eight to ten from 13 on, as the
# American Academy of Sleep Medicine recommends, with time to fall asleep and to get to school.
_NIGHTS = ((0, "19:30-07:00", "20:00-07:30"), (8, "20:30-07:00", "21:30-08:00"), (13, "22:00-06:30", "23:00-08:00"))
_OLDER = (16, "23:00-06:30", "23:45-08:00")
DISTRACTIONS = ("games", "social", "video")
"""Topics that a preset closes."""
_HOMEWORK_TIME, _DINNER_TIME = "15:00-17:00", "19:00-19:45"


def presets(person: Person, reader: Language, more: Iterable[Preset] = ()) -> list[Preset]:
    """Return the presets that can be put in force for a person and are not, `more` of them last."""
    school, weekend = _nights(person.age)
    span = {"school": school.replace("-", "–"), "weekend": weekend.replace("-", "–")}
    homework, dinner = reader.gettext(message("homework")), reader.gettext(message("dinner"))
    closed, distractions = (
        ScheduleItems(ScheduleEffect.BLOCK, (INTERNET,)),
        ScheduleItems(ScheduleEffect.BLOCK, DISTRACTIONS),
    )
    found = [
        Preset(
            "school-nights",
            reader.gettext(message("School nights")),
            reader.gettext(message("closed %(school)s before school, %(weekend)s at the weekend"), **span),
            edits=(put_times(("people", person.name, "bedtime"), {"school-nights": school, "weekend": weekend}),),
            is_possible=person.rules.bedtime is None,
        ),
        Preset(
            "homework",
            reader.gettext(message("Homework")),
            reader.gettext(
                message("no games, social networks and videos on school days, %(time)s"),
                time=_HOMEWORK_TIME.replace("-", "–"),
            ),
            homework,
            edits=tuple(schedule_edits(person, homework, distractions, {"school-days": _HOMEWORK_TIME})),
        ),
        Preset(
            "dinner",
            reader.gettext(message("Dinner")),
            reader.gettext(message("no internet, every day %(time)s"), time=_DINNER_TIME.replace("-", "–")),
            dinner,
            edits=tuple(schedule_edits(person, dinner, closed, _DINNER_TIME)),
        ),
        *more,
    ]
    names = {each.name for each in person.rules.schedules}
    return [preset for preset in found if preset.is_possible and not {preset.name, preset.schedule} & names]


def _nights(age: int | None) -> tuple[str, str]:
    """Return the closed time of school nights and of the weekend for an age; an unknown one counts as a child of 8 to
    12.
    """
    _, school, weekend = max(each for each in (*_NIGHTS, _OLDER) if each[0] <= (8 if age is None else age))
    return school, weekend


def holiday_entry(first: str, last: str) -> str:
    """Return an entry of `holidays` from the first to the last free day, which may be empty for a single day.

    Raises `InvalidInput`.
    """
    first, last = first.strip(), last.strip()
    entry = first if last in ("", first) else f"{first}..{last}"
    for field, text in (("first", first), ("last", entry)):
        try:
            parse_dates(text)
        except ValueError:
            raise InvalidInput("Enter the first and the last day without school, the first one first.").at(
                field
            ) from None
    return entry


def holiday_edits(person: Person, entry: str, *, add: bool = True) -> list[Edit]:
    """Add days without school, or remove them: for everybody, unless the person has holidays of their own."""
    place = ("people", person.name) if person.holidays is not None else ("network",)
    change = include if add else exclude
    return [change((*place, "holidays"), entry)]
