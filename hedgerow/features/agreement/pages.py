"""The agreement on the pages of both sides."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import Form, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from hedgerow.dashboards.actions.action import Caller
from hedgerow.dashboards.control import DeviceView, InvalidInput
from hedgerow.dashboards.extensions import Card, Extensions, Place
from hedgerow.dashboards.pages.action_forms import form
from hedgerow.dashboards.pages.context import PageContext, redirect_to
from hedgerow.dashboards.pages.own_device import tone_of
from hedgerow.dashboards.pages.people import PersonName, PersonPageGroup
from hedgerow.dashboards.reports import OLDER_FROM, age_of
from hedgerow.dashboards.routes import DEVICES, MANAGE, READ, get, post
from hedgerow.dashboards.words.languages import Language, language_of, message
from hedgerow.dashboards.words.rule_facts import Difference, difference
from hedgerow.dashboards.words.rules import RulesText, rules_text
from hedgerow.features.agreement import own_words
from hedgerow.features.agreement.actions import AGREEMENT_ACTIONS, NextLook, ParentsYes, say_yes, set_next_look
from hedgerow.features.agreement.agreements import agreements_of, is_child
from hedgerow.features.agreement.api import add_agreement_routes
from hedgerow.features.agreement.changes import RuleChange, changes_of, without_empty
from hedgerow.features.agreement.goal_pages import GOAL_CARD, GoalPages
from hedgerow.features.agreement.own_words import PROMISES, SEEN, ReadyPromise
from hedgerow.features.agreement.recording import RecordingLevel, guard_of, is_more
from hedgerow.features.agreement.terms import MONTHS, Promises, Side, Standing
from hedgerow.policies.identity import Use, is_enough
from hedgerow.policies.model import Person, Privacy
from hedgerow.policies.text.notes import plain_note
from hedgerow.proxy.pages.translations import is_young

_EASY_UNDER = 9
"""The age under which the agreement has short sentences only."""

type FormText = Annotated[str, Form(max_length=300)]


@dataclass(frozen=True, slots=True)
class AgreementPage:
    """An agreement as a page shows it to one side. `tone` is the child's reading level, as on its own page."""

    standing: Standing
    side: Side
    tone: str
    rules: RulesText
    reader: Language

    @property
    def promises(self) -> Promises:
        return self.standing.terms.promises

    @property
    def promised(self) -> list[ReadyPromise]:
        """The ready promises that the parents have chosen."""
        return [promise for promise in PROMISES if promise.name in self.promises.names]

    @property
    def seen(self) -> str:
        """A message about what the parents see of the child."""
        return SEEN[self.standing.terms.rules.privacy]

    @property
    def budgets(self) -> list[str]:
        """The daily limits in words."""
        return [each.text(self.reader) for each in self.standing.terms.rules.budgets]

    @property
    def has_said_yes(self) -> bool:
        return self.standing.has_said_yes(self.side)

    @property
    def other_has_said_yes(self) -> bool:
        return self.standing.has_said_yes(self.side.other)

    def changes(self) -> Difference | None:
        """Return what has changed since this side's yes, None without a yes."""
        agreed = self.standing.agreed_terms(self.side)
        return None if agreed is None else difference(agreed.rules, self.standing.terms.rules, self.reader)

    @property
    def has_other_promises(self) -> bool:
        """True if the parents promise something else than at this side's yes."""
        agreed = self.standing.agreed_terms(self.side)
        return agreed is not None and agreed.promises != self.promises


@dataclass(frozen=True, slots=True)
class OwnCard:
    """The card of a child's page. It is the same until something happens, as the page looks for that."""

    is_due: bool
    is_agreed: bool
    is_changed: bool
    has_said_yes: bool
    other_has_said_yes: bool
    look_at: float
    changes: tuple[RuleChange, ...]
    seen: str
    raised: Privacy | None
    begins_at: float

    @property
    def seen_then(self) -> str:
        """A message about what the parents see once the announced level has begun."""
        return SEEN[self.raised] if self.raised is not None else ""

    def told(self, reader: Language) -> tuple[tuple[RuleChange, Difference], ...]:
        """Return the changes of the last days in words."""
        return without_empty(self.changes, reader)


class AgreementPages(PersonPageGroup):
    """`/device/rules` for a child, `/agreement/NAME` for its parents."""

    @get("/device/rules", DEVICES)
    async def own_rules(self, request: Request) -> Response:
        """Show a child its rules. Any other device is led to its own page."""
        view = self._device(request)
        if (person := _child_at(self._context, view)) is None:
            return redirect_to("/device")
        shown = await run_in_threadpool(self._shown, request, person, Side.CHILD)
        return self._page(request, "agreement/templates/own_rules.html", shown=shown)

    @post("/device/rules/yes", DEVICES, page="/device/rules")
    async def childs_yes(self, request: Request, seen: FormText = "") -> Response:
        """Say yes as the child."""
        if (person := _child_at(self._context, self._device(request))) is None:
            raise own_words.not_here()
        await run_in_threadpool(self._context.part(agreements_of).say_yes, Side.CHILD, person, seen=seen)
        return redirect_to("/device/rules")

    @post("/device/rules/wait", DEVICES, page="/device/rules")
    async def child_waits(self, request: Request) -> Response:
        """Put the next look off as the child."""
        if (person := _child_at(self._context, self._device(request))) is None:
            raise own_words.not_here()
        await run_in_threadpool(self._context.part(agreements_of).wait, Side.CHILD, person)
        return redirect_to("/device/rules")

    @get("/agreement/{name}", READ)
    async def agreement(self, request: Request, name: PersonName) -> Response:
        """Show the parents the same, with their promises to choose."""
        person = self._person(name).name
        shown = await run_in_threadpool(self._shown, request, person, Side.PARENT)
        found = await run_in_threadpool(self._context.part(changes_of).of_child, person)
        told = without_empty(found, language_of(request))
        return self._page(
            request,
            "agreement/templates/agreement.html",
            shown=shown,
            name=person,
            told=told,
            ready=PROMISES,
            months=MONTHS,
        )

    @form(say_yes)
    async def parents_yes(self, request: Request, caller: Caller, name: str, order: ParentsYes) -> Response:
        if order.months is None:
            raise InvalidInput("Choose one of the values that are offered.").at("months")
        shown = replace(order, promises=order.promises or [], words=order.words or "")  # a page sends those chosen
        await say_yes.run(self._context, caller, name, shown)
        return self._done(request, message("Your yes to the rules of %(name)s is recorded."), name=name)

    @form(set_next_look)
    async def next_look(self, request: Request, caller: Caller, name: str, order: NextLook) -> Response:
        await set_next_look.run(self._context, caller, name, order)
        return self._done(request, message("The day of the next look is on both pages."))

    @post("/agreement/{name}/wait", MANAGE, page="/agreement/{name}")
    async def parent_waits(self, request: Request, name: PersonName) -> Response:
        """Put the next look off as a parent."""
        person = self._person(name).name
        await run_in_threadpool(self._context.part(agreements_of).wait, Side.PARENT, person)
        return self._done(request, message("The day of the next look is on both pages."), name=person)

    @post("/agreement/{name}/reason", MANAGE, page="/agreement/{name}")
    async def give_reason(
        self,
        request: Request,
        name: PersonName,
        change: Annotated[str, Form(max_length=20)] = "",
        reason: FormText = "",
    ) -> Response:
        """Say to the child why a rule has changed."""
        person = self._person(name).name
        number = int(change) if change.isascii() and change.isdigit() and len(change) < 19 else 0
        await run_in_threadpool(self._context.part(changes_of).give_reason, person, number, plain_note(reason))
        return self._done(request, message("The reason is on the page of %(name)s."), name=person)

    def _shown(self, request: Request, name: str, side: Side) -> AgreementPage:
        policy, reader, now = self._context.policy(), language_of(request), self._context.clock()
        standing = self._context.part(agreements_of).standing(name)
        person = policy.people[name]
        rules = rules_text(policy, person.profile, name, None, reader, now, for_child=True)
        return AgreementPage(standing, side, reading_level(person), rules, reader)


def reading_level(person: Person) -> str:
    """Return how the agreement speaks to a child: `young`, `child` or `teen`. Its own page is `young` under eight."""
    if is_young(person.age, person.profile) or (person.age is not None and person.age < _EASY_UNDER):
        return "young"
    return "child" if age_of(person) < OLDER_FROM else "teen"


def _child_at(context: PageContext, view: DeviceView) -> str | None:
    """Return the child of the family whose device this is for sure, or None."""
    is_sure = view.person is not None and is_enough(view.grade, Use.KEPT)
    return view.person if is_sure and tone_of(view, context.policy()) else None


def _standing(context: PageContext, person: str) -> Standing | None:
    policy = context.policy()
    if person not in policy.people or not is_child(policy, policy.people[person]):
        return None
    return context.part(agreements_of).standing(person)


def _of_device(context: PageContext, view: DeviceView) -> OwnCard | None:
    person = _child_at(context, view)
    if person is None or (standing := _standing(context, person)) is None:
        return None
    level, announced = standing.terms.rules.privacy, context.part(guard_of).announced(person)
    return OwnCard(
        is_due=standing.is_due,
        is_agreed=standing.is_agreed,
        is_changed=standing.is_changed,
        has_said_yes=standing.has_said_yes(Side.CHILD),
        other_has_said_yes=standing.has_said_yes(Side.PARENT),
        look_at=standing.agreement.look_at,
        changes=context.part(changes_of).of_child(person),
        seen=SEEN[level] if is_more(level, Privacy.CATEGORY) else "",
        raised=announced.raised if announced is not None else None,
        begins_at=announced.begins_at if announced is not None else 0.0,
    )


def _of_person(context: PageContext, person: Person) -> tuple[Standing, tuple[RuleChange, ...]] | None:
    standing = _standing(context, person.name)
    return None if standing is None else (standing, context.part(changes_of).of_child(person.name))


def _of_raised(context: PageContext, person: Person) -> RecordingLevel | None:
    return context.part(guard_of).announced(person.name) if is_child(context.policy(), person) else None


def _of_today(context: PageContext, _subject: object) -> list[Standing] | None:
    """Return the agreements that wait for a parent."""
    known = context.part(agreements_of).store.all()
    found = (_standing(context, agreement.person) for agreement in known)
    waiting = (each for each in found if each is not None and not each.has_said_yes(Side.PARENT))
    return [each for each in waiting if each.is_due or each.has_said_yes(Side.CHILD)] or None


EXTENSIONS = Extensions(
    actions=AGREEMENT_ACTIONS,
    api_routes=(add_agreement_routes,),
    cards=(
        Card(place=Place.TODAY, template="agreement/templates/today.html", read=_of_today),
        Card(place=Place.PERSON, template="agreement/templates/raised.html", read=_of_raised),
        Card(place=Place.PERSON, template="agreement/templates/person.html", read=_of_person),
        Card(place=Place.OWN_PAGE, template="agreement/templates/own_card.html", read=_of_device),
        GOAL_CARD,
    ),
    page_groups=(AgreementPages, GoalPages),
)
