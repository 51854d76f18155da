"""Goals on a teenager's own page, which is the only one that shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import Form, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from hedgerow.dashboards.control import DeviceView
from hedgerow.dashboards.extensions import Card, Place
from hedgerow.dashboards.pages.context import PageContext, PageGroup, redirect_to
from hedgerow.dashboards.pages.own_device import tone_of
from hedgerow.dashboards.routes import DEVICES, post
from hedgerow.dashboards.words.rules import privacy_of, rule_layers
from hedgerow.features.agreement import own_words
from hedgerow.features.agreement.goals import Goal, Goals, goals_of, subjects_of
from hedgerow.policies.growing import zone_of
from hedgerow.policies.identity import Use, is_enough
from hedgerow.policies.model import Privacy

type FormText = Annotated[str, Form(max_length=100)]


@dataclass(frozen=True, slots=True)
class OwnGoals:
    """The card: the goals, and what a goal of minutes may be about."""

    goals: tuple[Goal, ...]
    subjects: tuple[str, ...]


class GoalPages(PageGroup):
    """The forms of the card."""

    @post("/device/goals/minutes", DEVICES, page="/device")
    async def set_minutes(self, request: Request, subject: FormText = "", minutes: FormText = "") -> Response:
        """Set a goal of minutes a day."""
        person = self._teenager(request)
        offered = _subjects(self._context, person)
        await run_in_threadpool(self._goals.set_minutes, person, subject, minutes, offered)
        return redirect_to("/device#goals")

    @post("/device/goals/quiet", DEVICES, page="/device")
    async def set_quiet_time(self, request: Request, starts: FormText = "", ends: FormText = "") -> Response:
        """Set a quiet time."""
        await run_in_threadpool(self._goals.set_quiet_time, self._teenager(request), starts, ends)
        return redirect_to("/device#goals")

    @post("/device/goals/remove", DEVICES, page="/device")
    async def remove(self, request: Request, goal: FormText = "") -> Response:
        """Remove a goal."""
        await run_in_threadpool(self._goals.remove, self._teenager(request), goal)
        return redirect_to("/device#goals")

    @property
    def _goals(self) -> Goals:
        return self._context.part(goals_of)

    def _teenager(self, request: Request) -> str:
        """Return whose device it is. Raises `InvalidInput` for a younger child or anybody else."""
        person = teenager_at(self._context, self._device(request))
        if person is None:
            raise own_words.not_here()
        return person


def teenager_at(context: PageContext, view: DeviceView) -> str | None:
    """Return the person of thirteen or older whose device this is for sure, or None."""
    is_sure = view.person is not None and is_enough(view.grade, Use.KEPT)
    return view.person if is_sure and tone_of(view, context.policy()) == "teen" else None


def _subjects(context: PageContext, person: str) -> tuple[str, ...]:
    policy = context.policy()
    layers = rule_layers(policy, policy.people[person].profile, person, None)
    limits = next((rules.budget for rules in layers if rules.budget is not None), ())
    are_counted = privacy_of(layers) is not Privacy.NONE
    return subjects_of(tuple(each.subject for each in limits), are_counted=are_counted)


def _of_device(context: PageContext, view: DeviceView) -> OwnGoals | None:
    if (person := teenager_at(context, view)) is None:
        return None
    policy = context.policy()
    zone: ZoneInfo = zone_of(policy.people[person], policy)
    return OwnGoals(context.part(goals_of).of_person(person, zone), _subjects(context, person))


GOAL_CARD = Card(place=Place.OWN_PAGE, template="agreement/templates/own_goals.html", read=_of_device)
