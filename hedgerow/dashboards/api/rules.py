"""API of a person's times and of chosen channels: bedtime, budgets, schedules, presets, days without school, and
YouTube.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Path
from pydantic import Field

from hedgerow.dashboards.accounts import Principal
from hedgerow.dashboards.api.schema import Author, StrictModel
from hedgerow.dashboards.control import Control, InvalidInput
from hedgerow.dashboards.edits.household import BudgetLimit, budget_edit, budget_limits, find_person, parse_name
from hedgerow.dashboards.edits.policy_editor import PolicyEditor
from hedgerow.dashboards.edits.rules import choose_youtube_edits, drop_youtube_edits
from hedgerow.dashboards.edits.times import (
    ScheduleEffect,
    ScheduleItems,
    holiday_edits,
    presets,
    remove_schedule_edit,
    schedule_edits,
    schedule_items,
)
from hedgerow.dashboards.edits.yaml_text import Edit, put_times
from hedgerow.dashboards.extensions import PresetMaker
from hedgerow.dashboards.routes import MANAGE, READ, ScopedRouter
from hedgerow.dashboards.words.languages import language
from hedgerow.policies.model import Person

type PersonName = Annotated[str, Path(max_length=60)]
type ScheduleName = Annotated[str, Path(max_length=60)]
type Text = Annotated[str, Field(min_length=1, max_length=300)]
type When = Text | list[Text] | dict[Text, Text | list[Text]]
"""Times as in the policy: `15:00-17:00`, a list, or a mapping of days to either."""


class NewBedtime(StrictModel):
    """Times at which the internet is closed at night. Null removes them; holidays and dates in the policy stay."""

    when: When | None = None


class NewBudget(StrictModel):
    """Minutes per school day and per day of the weekend; null for no limit. Without `what`, of all use.

    `what` is a category or service. Limits per week and on holidays stay as the policy has them.
    """

    what: str = Field("", max_length=60)
    school: int | None = Field(None, ge=0, le=1440)
    weekend: int | None = Field(None, ge=0, le=1440)


class NewSchedule(StrictModel):
    """A schedule of services, categories, sites or `internet`. `only`: open at these times and closed at all others.

    Something dangerous is opened if you are `sure`.
    """

    effect: ScheduleEffect = ScheduleEffect.BLOCK
    items: list[Text] = Field(min_length=1, max_length=100)
    when: When
    sure: bool = False


class PresetChoice(StrictModel):
    preset: str = Field(max_length=40)


class Holidays(StrictModel):
    """Days without school: `2026-12-24`, or `2026-12-24..2027-01-03`."""

    days: Text


class ChosenChannels(StrictModel):
    """Channels and videos of YouTube that are open; none for all of YouTube."""

    items: list[Text] = Field(max_length=200)


@dataclass(frozen=True, slots=True)
class ScheduleView:
    """A schedule. `effect` is null if it both opens and closes."""

    name: str
    effect: ScheduleEffect | None
    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TimesView:
    """A person's own budgets and schedules, and the channels and videos of YouTube that are open; none for all.

    `differs` marks a budget for which the policy distinguishes more days than its two numbers tell. `closed` is the
    reason for which the internet is closed at the moment, empty if it is open; `closed_until` null: until somebody
    opens it.
    """

    name: str
    has_bedtime: bool
    budgets: tuple[BudgetLimit, ...]
    schedules: tuple[ScheduleView, ...]
    youtube: tuple[str, ...]
    closed: str = ""
    closed_until: float | None = None


@dataclass(frozen=True, slots=True)
class _PeopleRules:
    """The rules of people, to look at and to change.

    All methods raise InvalidInput for a name that the policy does not have.
    """

    control: Control
    editor: PolicyEditor
    presets: Sequence[PresetMaker]

    def find(self, name: str) -> Person:
        return find_person(self.control.policy(), name)

    def view(self, name: str) -> TimesView:
        rules = self.find(name).rules
        items = ((each.name, schedule_items(each)) for each in rules.schedules)
        schedules = tuple(ScheduleView(schedule, found.effect, found.names) for schedule, found in items)
        budgets = tuple(
            limit
            for limit in budget_limits(rules.budget)
            if (limit.school, limit.weekend) != (None, None) or limit.differs
        )
        times = self.control.person_times([name]).get(name)
        closed = times.closed if times is not None else None
        now = (closed.reason.value, closed.until) if closed is not None else ("", None)
        return TimesView(name, rules.bedtime is not None, budgets, schedules, rules.content.youtube_only or (), *now)

    async def change(self, author: Principal, name: str, summary: str, *edits: Edit, sure: bool = False) -> TimesView:
        await self.editor.change(author, f"{summary} for {name}", *edits, sure=sure)
        return self.view(name)


def add_rule_routes(
    api: ScopedRouter, control: Control, editor: PolicyEditor, more_presets: Sequence[PresetMaker] = ()
) -> None:
    """Add the routes."""
    people = _PeopleRules(control, editor, more_presets)
    _add_time_routes(api, people)
    _add_schedule_routes(api, people)
    _add_holiday_routes(api, people)
    _add_channel_route(api, people)


def _add_time_routes(api: ScopedRouter, people: _PeopleRules) -> None:
    @api.serve("GET", "/people/{name}/times", READ)
    async def times(name: PersonName) -> TimesView:
        """Return a person's bedtime, budgets, schedules and channels."""
        return people.view(name)

    @api.serve("PUT", "/people/{name}/bedtime", MANAGE)
    async def set_bedtime(author: Author, name: PersonName, bedtime: NewBedtime) -> TimesView:
        people.find(name)
        return await people.change(author, name, "Nights", put_times(("people", name, "bedtime"), bedtime.when))

    @api.serve("PUT", "/people/{name}/budget", MANAGE)
    async def set_budget(author: Author, name: PersonName, new: NewBudget) -> TimesView:
        """Set the minutes per day of all use, or of one category or service."""
        people.find(name)
        return await people.change(
            author,
            name,
            f"Time for {new.what or 'everything'}",
            budget_edit(name, BudgetLimit(new.what, new.school, new.weekend)),
        )


def _add_schedule_routes(api: ScopedRouter, people: _PeopleRules) -> None:
    @api.serve("PUT", "/people/{name}/schedules/{schedule}", MANAGE)
    async def set_schedule(author: Author, name: PersonName, schedule: ScheduleName, new: NewSchedule) -> TimesView:
        """Add a schedule, or replace its times and items."""
        person, items = people.find(name), ScheduleItems(new.effect, tuple(dict.fromkeys(new.items)))
        return await people.change(
            author,
            name,
            f"Times of {schedule}",
            *schedule_edits(person, parse_name(schedule), items, new.when),
            sure=new.sure,
        )

    @api.serve("DELETE", "/people/{name}/schedules/{schedule}", MANAGE)
    async def remove_schedule(author: Author, name: PersonName, schedule: ScheduleName) -> TimesView:
        return await people.change(
            author, name, f"Without {schedule}", remove_schedule_edit(people.find(name), schedule)
        )

    @api.serve("POST", "/people/{name}/presets", MANAGE)
    async def use_preset(author: Author, name: PersonName, choice: PresetChoice) -> TimesView:
        """Put a common arrangement in force that is not yet: nights before school, homework or dinner."""
        person = people.find(name)
        english = language("en")
        more = (make(people.control.policy(), person, english) for make in people.presets)
        chosen = next((each for each in presets(person, english, more) if each.name == choice.preset), None)
        if chosen is None:
            raise InvalidInput("There is no such preset, or it is in force already.")
        return await people.change(author, name, chosen.title, *chosen.edits)


def _add_holiday_routes(api: ScopedRouter, people: _PeopleRules) -> None:
    @api.serve("POST", "/people/{name}/holidays", MANAGE)
    async def add_holidays(author: Author, name: PersonName, new: Holidays) -> TimesView:
        """Add days without school: for everybody, unless the person has holidays of their own."""
        return await people.change(author, name, f"No school: {new.days}", *holiday_edits(people.find(name), new.days))

    @api.serve("DELETE", "/people/{name}/holidays/{days}", MANAGE)
    async def remove_holidays(author: Author, name: PersonName, days: Annotated[str, Path(max_length=60)]) -> TimesView:
        return await people.change(
            author, name, f"School after all: {days}", *holiday_edits(people.find(name), days, add=False)
        )


def _add_channel_route(api: ScopedRouter, people: _PeopleRules) -> None:
    @api.serve("PUT", "/people/{name}/youtube", MANAGE)
    async def set_channels(author: Author, name: PersonName, chosen: ChosenChannels) -> TimesView:
        """Choose the only channels of YouTube that are open to a person."""
        policy = people.control.policy()
        before = find_person(policy, name).rules.content.youtube_only or ()
        edits = [edit for item in before for edit in drop_youtube_edits(name, item)]
        edits += [edit for item in chosen.items for edit in choose_youtube_edits(policy, name, item)]
        return await people.change(author, name, "Channels of YouTube", *edits)
