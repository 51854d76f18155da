"""Pages of advice, for children and for parents. Opening one writes nothing."""

from __future__ import annotations

from typing import Literal

from fastapi import HTTPException, Request
from starlette.responses import Response

from hedgerow.dashboards.control import DeviceView
from hedgerow.dashboards.extensions import Card, Extensions, Place
from hedgerow.dashboards.guard import peer_address
from hedgerow.dashboards.pages.context import PageContext, PageGroup
from hedgerow.dashboards.pages.own_device import help_section, tone_of
from hedgerow.dashboards.routes import DEVICES, OPERATE, READ, get
from hedgerow.dashboards.words.languages import language_of
from hedgerow.features.advice.guides import Guide, load_guides
from hedgerow.features.advice.own_words import CHILDRENS_TOPICS, AdviceTopic
from hedgerow.features.advice.sources import load_sources
from hedgerow.policies.model import Person

_TOPICS = {topic.name: topic for topic in CHILDRENS_TOPICS}


class AdvicePages(PageGroup):
    """`/device/advice/…`, which every device of the network may open at any time, and `/advice/told` for parents."""

    @get("/device/advice/apps", DEVICES)
    async def own_apps(self, request: Request) -> Response:
        """Show a child how to block or report somebody in an app."""
        self._device(request)
        guides = [guide for guide in load_guides().values() if guide.safety]
        return self._page(request, "advice/templates/own_apps.html", guides=guides)

    @get("/device/advice/{topic}", DEVICES)
    async def topic(self, request: Request, topic: str) -> Response:
        """Show a child what to do, with the helplines of the country. Raises HTTPException for an unknown topic."""
        view, policy = self._device(request), self._context.policy()
        if (found := _TOPICS.get(topic)) is None:
            raise HTTPException(404)
        section = help_section(view, policy, language_of(request))
        return self._page(
            request, "advice/templates/own_topic.html", topic=found, sources=load_sources()[topic], help=section
        )

    @get("/advice/told", READ, OPERATE)
    async def told(self, request: Request) -> Response:
        """Show a parent what to say to a child who told something."""
        view = self._context.control.device_at(peer_address(request.scope))
        section = help_section(view, self._context.policy(), language_of(request)) if view is not None else ""
        return self._page(request, "advice/templates/told.html", sources=load_sources()["told"], help=section)

    @get("/advice/apps", READ, OPERATE)
    async def apps(self, request: Request) -> Response:
        """Show a parent the controls that apps and devices have themselves."""
        guides = [guide for guide in load_guides().values() if guide.controls]
        return self._page(request, "advice/templates/apps.html", guides=guides)


def _of_child(context: PageContext, view: DeviceView) -> tuple[AdviceTopic, ...] | None:
    return CHILDRENS_TOPICS if tone_of(view, context.policy()) else None


def _for_parent(_context: PageContext, person: Person) -> Literal[True] | None:
    return True if person.age is not None else None


def _of_service(_context: PageContext, service: str) -> Guide | None:
    guide = load_guides().get(service)
    return guide if guide is not None and guide.controls else None


EXTENSIONS = Extensions(
    cards=(
        Card(place=Place.OWN_PAGE, template="advice/templates/own_card.html", read=_of_child),
        Card(place=Place.PERSON, template="advice/templates/person.html", read=_for_parent),
        Card(place=Place.SERVICE, template="advice/templates/service.html", read=_of_service),
    ),
    page_groups=(AdvicePages,),
)
