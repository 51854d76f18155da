"""Wishes on the pages: a card of the child's own page, one of *Today*, and what was asked on a person's page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Form, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from hedgerow.dashboards.actions.action import Caller
from hedgerow.dashboards.control import DeviceView
from hedgerow.dashboards.extensions import Card, Extensions, Place
from hedgerow.dashboards.pages.action_forms import form
from hedgerow.dashboards.pages.context import PageContext, PageGroup, redirect_to
from hedgerow.dashboards.pages.own_device import tone_of
from hedgerow.dashboards.routes import DEVICES, post
from hedgerow.dashboards.words import labels
from hedgerow.dashboards.words.languages import language, language_of, message
from hedgerow.dashboards.words.rules import rules_text
from hedgerow.features.wishes import own_words
from hedgerow.features.wishes.actions import (
    WISH_ACTIONS,
    WishAnswer,
    WishGrant,
    close_wish,
    deny_wish,
    given_by,
    grant_wish,
    talk_about_request,
    talk_about_wish,
    undo_wish,
)
from hedgerow.features.wishes.answers import Wishes, WishForm, wishes_of
from hedgerow.features.wishes.api import add_wish_routes
from hedgerow.features.wishes.records import Wish, WishKind
from hedgerow.journal.reader import RequestRow
from hedgerow.policies.model import Person
from hedgerow.policies.text.notes import plain_note
from hedgerow.policies.time_model import LATER_BEDTIME

_RULES_OFFERED = 40
_LIMIT = "budget"

_GRANTED = {
    WishKind.MINUTES: message("%(minutes)s more minutes for %(name)s today."),
    WishKind.BEDTIME: message("%(name)s's bedtime is later: open until %(time)s."),
    WishKind.RULE: message("%(what)s is open for %(name)s from now on."),
}
_FOR_A_WHILE = message("%(what)s is open for %(name)s until %(time)s.")


@dataclass(frozen=True, slots=True)
class OwnWishes:
    """The card of a child's page: its wishes, the limits and rules to ask about, and when it may ask again."""

    wishes: tuple[Wish, ...]
    limits: tuple[str, ...]
    has_bedtime: bool
    bedtime: float | None
    rules: tuple[str, ...]
    again: float | None
    limit: int = own_words.ASKED_PER_HOUR


class WishPages(PageGroup):
    """The forms of both sides."""

    @post("/device/wish", DEVICES)
    async def ask(
        self,
        request: Request,
        kind: Annotated[str, Form(max_length=20)] = "",
        minutes: Annotated[str, Form(max_length=20)] = "",
        subject: Annotated[str, Form(max_length=253)] = "",
        note: Annotated[str, Form(max_length=300)] = "",
    ) -> Response:
        """Ask for minutes, a later bedtime, or about a rule."""
        context, view = self._context, self._child(request)
        assert view.person is not None
        wanted = WishKind(kind) if kind in set(WishKind) else WishKind.RULE
        if wanted is WishKind.RULE and subject not in await run_in_threadpool(_rules, context, view):
            raise own_words.no_such_rule()
        question = WishForm(
            person=view.person,
            device=view.device,
            kind=wanted,
            minutes=0 if wanted is WishKind.RULE else parse_wished(minutes),
            subject="" if wanted is WishKind.BEDTIME else subject,
            note=plain_note(note),
        )
        reader, zone = language_of(request), labels.zone(context.control.status().timezone)
        await self._wishes.ask(question, lambda at: reader.clock(at, context.clock(), zone))
        return redirect_to("/device#wishes")

    @post("/device/wish/close", DEVICES)
    async def close_own(self, request: Request, wish: Annotated[str, Form(max_length=20)] = "") -> Response:
        """Close a wish of one's own."""
        view = self._child(request)
        assert view.person is not None
        if not (wish.isascii() and wish.isdigit() and len(wish) < 19):
            raise own_words.not_yours()
        await self._wishes.close_own(int(wish), view.person)
        return redirect_to("/device#wishes")

    @form(grant_wish)
    async def grant(self, request: Request, caller: Caller, wish_id: int, order: WishGrant) -> Response:
        reader = language_of(request)
        wish = await self._wishes.grant(wish_id, caller.principal, caller.actor, given_by(order), reader=reader)
        undo = f"/wishes/{wish.id}/undo" if wish.result else ""
        what = labels.title_of(wish.subject, reader)
        text = _GRANTED[wish.kind] if wish.kind is not WishKind.RULE or wish.until is None else _FOR_A_WHILE
        return self._done(request, text, undo, ends=wish.until, name=wish.person, minutes=str(wish.given), what=what)

    @form(deny_wish)
    async def deny(self, request: Request, caller: Caller, wish_id: int, order: WishAnswer) -> Response:
        await deny_wish.run(self._context, caller, wish_id, order)
        return self._done(request, message("Your answer is on the child's page: no."), f"/wishes/{wish_id}/undo")

    @form(talk_about_wish)
    async def talk(self, request: Request, caller: Caller, wish_id: int, order: WishAnswer) -> Response:
        await talk_about_wish.run(self._context, caller, wish_id, order)
        return self._talking(request, await run_in_threadpool(self._wishes.store.wish, wish_id))

    @form(talk_about_request)
    async def talk_about(self, request: Request, caller: Caller, request_id: int, order: WishAnswer) -> Response:
        return self._talking(request, await self._wishes.talk_about(request_id, caller.name, plain_note(order.why)))

    @form(close_wish)
    async def close(self, request: Request, caller: Caller, wish_id: int) -> Response:
        await close_wish.run(self._context, caller, wish_id)
        return self._done(request, message("The question is closed."), f"/wishes/{wish_id}/undo")

    @form(undo_wish)
    async def undo(self, request: Request, caller: Caller, wish_id: int) -> Response:
        await undo_wish.run(self._context, caller, wish_id)
        return self._done(request, message("Undone: the question is open again."))

    def _talking(self, request: Request, wish: Wish | None) -> Response:
        if wish is None:  # of nobody in the policy
            return self._done(request, message("Your answer is on the child's page: no."))
        text = message(
            "%(name)s can read that you want to talk about it. The question stays here until one of you closes it."
        )
        return self._done(request, text, f"/wishes/{wish.id}/undo", name=wish.person)

    @property
    def _wishes(self) -> Wishes:
        return self._context.part(wishes_of)

    def _child(self, request: Request) -> DeviceView:
        """Return the device of a child of the family. Raises `InvalidInput` for any other, before anything is read."""
        view = self._device(request)
        if not tone_of(view, self._context.policy()):
            raise own_words.not_asked_here()
        return view


def parse_wished(text: str) -> int:
    """Return a number of minutes as a child sent it. Raises `InvalidInput`."""
    text = text.strip()
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= own_words.MOST_MINUTES):
        raise own_words.no_number()
    return int(text)


def _waiting(context: PageContext, _subject: object = None) -> tuple[Wish, ...]:
    return context.part(wishes_of).store.unanswered(context.clock())


def _rules(context: PageContext, view: DeviceView) -> tuple[str, ...]:
    """Return the rules that a child may ask about, by their names, the empty one first."""
    policy = context.policy()
    text = rules_text(policy, view.profile, view.person, view.device, language("en"), context.clock(), for_child=True)
    return ("", *dict.fromkeys([LATER_BEDTIME, _LIMIT, *text.chosen, *text.later][:_RULES_OFFERED]))


def _of_child(context: PageContext, view: DeviceView) -> OwnWishes | None:
    if view.person is None or not tone_of(view, context.policy()):
        return None
    wishes = context.part(wishes_of)
    bedtime, now = wishes.bedtime_of(view.person), context.clock()
    return OwnWishes(
        wishes=wishes.store.of_person(view.person, now),
        limits=tuple(row.subject for row in wishes.budgets_of(view.person)),
        has_bedtime=bedtime is not None,
        bedtime=bedtime if bedtime is not None and bedtime > now else None,
        rules=_rules(context, view),
        again=wishes.next_time(view.person),
    )


def _of_request(context: PageContext, asked: RequestRow) -> RequestRow | None:
    return asked if asked.person in context.policy().people else None


def _of_person(context: PageContext, person: Person) -> tuple[Wish, ...] | None:
    return context.part(wishes_of).store.of_person(person.name, context.clock()) or None


EXTENSIONS = Extensions(
    actions=WISH_ACTIONS,
    cards=(
        Card(place=Place.REQUESTS, template="wishes/templates/today.html", read=_waiting),
        Card(place=Place.REQUEST, template="wishes/templates/request.html", read=_of_request),
        Card(place=Place.OWN_PAGE, template="wishes/templates/own_wishes.html", read=_of_child),
        Card(place=Place.PERSON, template="wishes/templates/person.html", read=_of_person),
    ),
    page_groups=(WishPages,),
    api_routes=(add_wish_routes,),
    live={"requests": _waiting},
)
