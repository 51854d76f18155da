"""Announcements on the pages of both sides: the day, what will be different, and how to wait."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from hedgerow.dashboards.control import DeviceView, InvalidInput
from hedgerow.dashboards.extensions import Card, Extensions, Place
from hedgerow.dashboards.pages.context import PageContext, redirect_to
from hedgerow.dashboards.pages.people import PersonName, PersonPageGroup
from hedgerow.dashboards.routes import DEVICES, MANAGE, post
from hedgerow.dashboards.words.childrens_names import may_read
from hedgerow.dashboards.words.languages import Language, message
from hedgerow.dashboards.words.rule_facts import Difference, difference, rule_facts
from hedgerow.features.growing_up.keeper import keeper_of
from hedgerow.features.growing_up.law import MinimumAge, ages_that_concern
from hedgerow.features.growing_up.legal_keeper import LegalNews
from hedgerow.features.growing_up.stages import GrowthStage
from hedgerow.policies.growing import day_at, zone_of
from hedgerow.policies.identity import Use, is_enough
from hedgerow.policies.model import Person, Policy


@dataclass(frozen=True, slots=True)
class StageCard:
    """The stage of a person as one side reads it."""

    stage: GrowthStage
    policy: Policy
    now: float
    for_child: bool

    @property
    def day(self) -> float:
        """The day of the announced profile, or of the erasure."""
        return self.stage.countdown.comes_at(self.now, zone_of(self.policy.people[self.stage.person], self.policy))

    def difference(self, reader: Language) -> Difference:
        """Compare the person's rules under both profiles, with the person's own and the household's."""
        before, after = (
            rule_facts(self.policy, profile, self.stage.person, self.now, for_child=self.for_child)
            for profile in (self.stage.profile, self.stage.announced)
        )
        return difference(before, after, reader)


class GrowingUpPages(PersonPageGroup):
    """The forms of both sides."""

    @post("/people/{name}/growing/wait", MANAGE, page="/people/{name}")
    async def wait(self, request: Request, name: PersonName) -> Response:
        """Put the next profile off by thirty days."""
        await self._put_off(self._person(name).name)
        return self._done(request, message("The next rules of %(name)s wait for thirty days more."), name=name)

    @post("/people/{name}/growing/now", MANAGE, page="/people/{name}")
    async def change_now(self, request: Request, name: PersonName) -> Response:
        """Put the next profile in force at once."""
        keeper = self._context.part(keeper_of)
        await run_in_threadpool(keeper.go_ahead, self._person(name).name)
        await keeper.put_in_force()
        return self._done(request, message("The next rules of %(name)s are in force."), name=name)

    @post("/device/growing/wait", DEVICES)
    async def ask_to_wait(self, request: Request) -> Response:
        """Put one's own next profile off by thirty days."""
        view = self._device(request)
        if view.person is None or not is_enough(view.grade, Use.KEPT):
            raise InvalidInput("This device has no person of its own.")
        await self._put_off(view.person)
        return redirect_to("/device#growing")

    async def _put_off(self, person: str) -> None:
        keeper = self._context.part(keeper_of)
        await run_in_threadpool(keeper.wait, person)
        await keeper.put_in_force()


def _card(context: PageContext, person: str, *, for_child: bool = False) -> StageCard | None:
    policy = context.policy()
    if person not in policy.people or policy.people[person].born is None:
        return None
    stage = context.part(keeper_of).stage(person)
    if stage is None or not (stage.announced or stage.erased_at):
        return None
    return StageCard(stage, policy, context.clock(), for_child)


def _of_all(context: PageContext, _subject: object) -> list[StageCard] | None:
    return [card for name in context.policy().people if (card := _card(context, name)) is not None] or None


def _of_person(context: PageContext, person: Person) -> list[StageCard] | None:
    card = _card(context, person.name)
    return None if card is None else [card]


def _law_for(context: PageContext, person: Person) -> list[MinimumAge] | None:
    policy, now = context.policy(), context.clock()
    return list(ages_that_concern(policy, person, day_at(now, zone_of(person, policy)))) or None


def _of_device(context: PageContext, view: DeviceView) -> StageCard | None:
    if view.person is None or not is_enough(view.grade, Use.KEPT):
        return None
    return _card(context, view.person, for_child=True)


def _news(context: PageContext, *people: str) -> list[LegalNews] | None:
    keeper = context.part(keeper_of)
    return [found for name in people if (found := keeper.legal_news(name)) is not None] or None


def _news_of_all(context: PageContext, _subject: object) -> list[LegalNews] | None:
    return _news(context, *context.policy().people)


def _news_of_person(context: PageContext, person: Person) -> list[LegalNews] | None:
    return _news(context, person.name)


def _news_of_device(context: PageContext, view: DeviceView) -> LegalNews | None:
    """Return what a child may read of its announcement."""
    if view.person is None or not is_enough(view.grade, Use.KEPT):
        return None
    for news in _news(context, view.person) or ():
        closed, opened = (tuple(each for each in half if may_read(each.topic)) for half in (news.closed, news.opened))
        return replace(news, closed=closed, opened=opened) if closed or opened else None
    return None


EXTENSIONS = Extensions(
    cards=(
        Card(place=Place.TODAY, template="growing_up/templates/announced.html", read=_of_all),
        Card(place=Place.PERSON, template="growing_up/templates/announced.html", read=_of_person),
        Card(place=Place.TODAY, template="growing_up/templates/legal.html", read=_news_of_all),
        Card(place=Place.PERSON, template="growing_up/templates/legal.html", read=_news_of_person),
        Card(place=Place.PERSON, template="growing_up/templates/law.html", read=_law_for),
        Card(place=Place.OWN_PAGE, template="growing_up/templates/own_legal.html", read=_news_of_device),
        Card(place=Place.OWN_PAGE, template="growing_up/templates/own_growing.html", read=_of_device),
    ),
    page_groups=(GrowingUpPages,),
)
