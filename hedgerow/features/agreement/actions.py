"""Actions of parents on an agreement: to say yes to it, and to set the day of the next look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Ge, Le, MaxLen
from starlette.concurrency import run_in_threadpool

from hedgerow.dashboards.actions.action import Caller, CommandOf, FormOf, Order, Shown, action
from hedgerow.dashboards.actions.operations import Operations
from hedgerow.dashboards.actions.orders import PersonName
from hedgerow.dashboards.scopes import AccessScope
from hedgerow.features.agreement.agreements import Agreements, agreements_of, parse_promises
from hedgerow.features.agreement.terms import MONTHS, Side, Standing
from hedgerow.features.agreement.terms_text import terms_text
from hedgerow.policies.text.notes import NOTE_LIMIT, plain_note

ChildName = Annotated[PersonName, Shown("The child.", "NAME")]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreementView:
    """An agreement: the terms in English, who has said yes to them, and when both look at them again.

    `seen` names the terms. `promises` are the names of ready ones, and `words` the parents' own promise.
    """

    person: str
    seen: str
    terms: tuple[str, ...]
    promises: tuple[str, ...]
    words: str
    months: int
    child_said_yes: bool
    parent_said_yes: bool
    is_agreed: bool
    is_changed: bool
    is_due: bool
    look_at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ParentsYes(Order):
    """A yes to the terms called `seen`. What is left out of the promises stays as it is."""

    seen: Annotated[str, MaxLen(16), Shown("The terms, as `hedgerow agreement show` names them.", "TERMS", "--seen")]
    promises: Annotated[
        list[str] | None,
        MaxLen(20),
        Shown("A ready promise, such as together. Repeat it for each.", "PROMISE", "--promise"),
    ] = None
    words: Annotated[str | None, MaxLen(NOTE_LIMIT), Shown("A promise in your own words.", "WORDS", "--words")] = None
    months: Annotated[
        int | None,
        Ge(min(MONTHS)),
        Le(max(MONTHS)),
        Shown("Look again after 1, 3, 6 or 12 months.", "MONTHS", "--months"),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NextLook(Order):
    """The day on which both look at the rules again."""

    day: Annotated[str, MaxLen(10), Shown("The day, such as 2027-03-01.", "DAY")]


def view_of(standing: Standing) -> AgreementView:
    """Return an agreement as programs and commands read it."""
    agreement, promises = standing.agreement, standing.terms.promises
    return AgreementView(
        person=agreement.person,
        seen=standing.terms.digest,
        terms=terms_text(standing.terms),
        promises=promises.names,
        words=promises.words,
        months=promises.months,
        child_said_yes=standing.has_said_yes(Side.CHILD),
        parent_said_yes=standing.has_said_yes(Side.PARENT),
        is_agreed=standing.is_agreed,
        is_changed=standing.is_changed,
        is_due=standing.is_due,
        look_at=agreement.look_at or None,
    )


def _said(answer: Mapping[str, Any], name: str) -> str:
    if answer["is_agreed"]:
        return f"Both have said yes to the rules of {name}."
    return f"Your yes to the rules of {name} is recorded. Now it is {name}'s turn."


@action(
    "POST",
    "/agreements/{name}/yes",
    access=AccessScope.MANAGE,
    status=200,
    form=FormOf("/agreement/{name}/yes", {"promises": "promise"}),
    command=CommandOf(_said),
)
async def say_yes(core: Operations, caller: Caller, name: ChildName, order: ParentsYes) -> AgreementView:
    """Say yes to the rules of a child as a parent. The child says yes on its own device, and nowhere else."""

    def write(agreements: Agreements) -> AgreementView:
        now = agreements.standing(name).terms.promises
        promises = parse_promises(
            now.names if order.promises is None else order.promises,
            now.words if order.words is None else plain_note(order.words),
            str(now.months if order.months is None else order.months),
        )
        agreements.say_yes(Side.PARENT, name, seen=order.seen, promises=promises, name=caller.name)
        return view_of(agreements.standing(name))

    return await run_in_threadpool(write, core.part(agreements_of))


@action(
    "POST",
    "/agreements/{name}/look",
    access=AccessScope.MANAGE,
    status=200,
    form=FormOf("/agreement/{name}/look"),
    command=CommandOf(lambda name, day: f"You look at the rules of {name} again on {day}."),
)
async def set_next_look(core: Operations, _caller: Caller, name: ChildName, order: NextLook) -> AgreementView:
    """Set the day on which both look at the agreed rules of a child again. The child's page names it."""

    def write(agreements: Agreements) -> AgreementView:
        agreements.set_next_look(name, order.day)
        return view_of(agreements.standing(name))

    return await run_in_threadpool(write, core.part(agreements_of))


AGREEMENT_ACTIONS = (say_yes, set_next_look)
