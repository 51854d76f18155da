"""Edits of a person's schedules and nights, presets of both, and holidays. Pure."""

from __future__ import annotations

from collections.abc import Mapping
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
    """The key of a schedule that holds its items: closed at its times, open at its times only, or open although other rules close them."""

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


def schedule_edits(person: Person, name: str, items: ScheduleItems, when: Times | Mapping[str, Times] | None) -> list[Edit]:
    """Add a schedule or change it. Items that stay keep their end and note. `when` None keeps the times. Raises `InvalidInput`."""
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
    return remove(("people", person.name, "schedules") if len(names) == 1 else ("people", person.name, "schedules", name))


class PresetName(StrEnum):
    """Common arrangements of a week."""

    SCHOOL_NIGHTS = "school-nights"
    HOMEWORK = "homework"
    DINNER = "dinner"
    CHORES_FIRST = "chores-first"


@dataclass(frozen=True, slots=True)
class Preset:
    """An arrangement to put in force with one button. `schedule` is the schedule's name, None for nights."""

    name: PresetName
    title: str
    detail: str
    schedule: str | None = None


# Ages from which the nights hold: nine to twelve hours of sleep up to 12 years and eight to ten from 13 on, as the American Academy of
# Sleep Medicine recommends, with time to fall asleep and to get to school.
_NIGHTS = ((0, "19:30-07:00", "20:00-07:30"), (8, "20:30-07:00", "21:30-08:00"), (13, "22:00-06:30", "23:00-08:00"))
_OLDER = (16, "23:00-06:30", "23:45-08:00")
_HOMEWORK, _HOMEWORK_TIME, _DINNER_TIME = ("games", "social", "video"), "15:00-17:00", "19:00-19:45"


def presets(person: Person, reader: Language) -> list[Preset]:
    """Return the presets that are not in force for a person yet."""
    school, weekend = _nights(person.age)
    span = {"school": school.replace("-", "–"), "weekend": weekend.replace("-", "–")}
    homework, dinner = reader.gettext(message("homework")), reader.gettext(message("dinner"))
    found = [
        Preset(
            PresetName.SCHOOL_NIGHTS, reader.gettext(message("School nights")),
            reader.gettext(message("closed %(school)s before school, %(weekend)s at the weekend"), **span),
        ),
        Preset(
            PresetName.HOMEWORK, reader.gettext(message("Homework")),
            reader.gettext(message("no games, social networks and videos on school days, %(time)s"), time=_HOMEWORK_TIME.replace("-", "–")),
            homework,
        ),
        Preset(
            PresetName.DINNER, reader.gettext(message("Dinner")),
            reader.gettext(message("no internet, every day %(time)s"), time=_DINNER_TIME.replace("-", "–")), dinner,
        ),
        Preset(
            PresetName.CHORES_FIRST, reader.gettext(message("Chores first")),
            reader.gettext(message("no games, social networks and videos until the day's chores are done")),
            reader.gettext(message("chores first")),
        ),
    ]  # fmt: skip
    names = {each.name for each in person.rules.schedules}
    is_taken = {preset.name: bool({preset.name.value, preset.schedule} & names) for preset in found}
    is_taken[PresetName.SCHOOL_NIGHTS] = person.rules.bedtime is not None
    is_taken[PresetName.CHORES_FIRST] |= not person.chores
    return [preset for preset in found if not is_taken[preset.name]]


def preset_edits(person: Person, preset: Preset) -> list[Edit]:
    """Put a preset in force for a person."""
    if preset.schedule is None:
        school, weekend = _nights(person.age)
        return [put_times(("people", person.name, "bedtime"), {"school-nights": school, "weekend": weekend})]
    if preset.name is PresetName.HOMEWORK:
        items = ScheduleItems(ScheduleEffect.BLOCK, _HOMEWORK)
        return schedule_edits(person, preset.schedule, items, {"school-days": _HOMEWORK_TIME})
    if preset.name is PresetName.CHORES_FIRST:
        edits = schedule_edits(person, preset.schedule, ScheduleItems(ScheduleEffect.BLOCK, _HOMEWORK), {"every-day": "all-day"})
        return [*edits, put(("people", person.name, "schedules", preset.schedule, "unless"), "chores")]
    return schedule_edits(person, preset.schedule, ScheduleItems(ScheduleEffect.BLOCK, (INTERNET,)), _DINNER_TIME)


def chore_edit(person: Person, name: str, minutes: int, subject: str) -> Edit:
    """Add a chore, or change what it earns: minutes for a category or service, or for all use if `subject` is empty."""
    amount = f"{minutes}m" if minutes else "none"
    return put(("people", person.name, "chores", name), {subject: amount} if subject and minutes else amount)


def remove_chore_edit(person: Person, name: str) -> Edit:
    """Remove a chore. Raises `InvalidInput`."""
    names = {each.name for each in person.chores}
    if name not in names:
        raise InvalidInput("This chore does not exist.")
    return remove(("people", person.name, "chores") if len(names) == 1 else ("people", person.name, "chores", name))


def _nights(age: int | None) -> tuple[str, str]:
    """Return the closed time of school nights and of the weekend for an age; an unknown one counts as a child of 8 to 12."""
    _, school, weekend = max(each for each in (*_NIGHTS, _OLDER) if each[0] <= (8 if age is None else age))
    return school, weekend


def holiday_entry(first: str, last: str) -> str:
    """Return an entry of `holidays` from the first to the last free day, which may be empty for a single day. Raises `InvalidInput`."""
    first, last = first.strip(), last.strip()
    entry = first if last in ("", first) else f"{first}..{last}"
    for field, text in (("first", first), ("last", entry)):
        try:
            parse_dates(text)
        except ValueError:
            raise InvalidInput("Enter the first and the last day without school, the first one first.").at(field) from None
    return entry


def holiday_edits(person: Person, entry: str, *, add: bool = True) -> list[Edit]:
    """Add days without school, or remove them: for everybody, unless the person has holidays of their own."""
    place = ("people", person.name) if person.holidays is not None else ("network",)
    change = include if add else exclude
    return [change((*place, "holidays"), entry)]
