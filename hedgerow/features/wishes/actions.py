"""Answers to children's wishes, and their undo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le, MaxLen

from hedgerow.dashboards.actions.action import Caller, CommandOf, FormOf, Order, Shown, action
from hedgerow.dashboards.actions.operations import Operations
from hedgerow.dashboards.actions.orders import JournalId
from hedgerow.features.wishes.answers import Given, wishes_of
from hedgerow.features.wishes.own_words import MOST_DAYS, MOST_MINUTES
from hedgerow.features.wishes.records import Wish, WishState
from hedgerow.policies.text.notes import NOTE_LIMIT, plain_note

WishId = Annotated[JournalId, Shown("The number of the wish, as `hedgerow wishes list` shows it.", "WISH")]


@dataclass(frozen=True, slots=True, kw_only=True)
class WishGrant(Order):
    """Minutes to give, if other than asked for, or for how long a rule is open, if not for good."""

    minutes: Annotated[
        int | None, Ge(1), Le(MOST_MINUTES), Shown("Give so many minutes, rather than all.", option="--minutes")
    ] = None
    days: Annotated[
        int | None, Ge(1), Le(MOST_DAYS), Shown("Open it for so many days, rather than for good.", option="--days")
    ] = None
    until: Annotated[
        str, MaxLen(10), Shown("The last day on which it is open, such as 2026-12-24.", "DAY", "--until")
    ] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WishAnswer(Order):
    """A sentence that the child reads with the answer."""

    why: Annotated[str, MaxLen(NOTE_LIMIT), Shown("A sentence to the child.", option="--why")] = ""


def given_by(order: WishGrant) -> Given:
    """Return what a yes gives."""
    return Given(minutes=order.minutes, days=order.days, last_day=order.until)


_AS_ASKED, _NO_WORDS = WishGrant(), WishAnswer()


@action(
    "POST",
    "/wishes/{wish_id}/grant",
    status=200,
    form=FormOf("/wishes/{wish_id}/grant"),
    command=CommandOf(lambda wish_id: f"Yes to wish {wish_id}.", facts={"granted": "wish_id"}),
)
async def grant_wish(core: Operations, caller: Caller, wish_id: WishId, order: WishGrant = _AS_ASKED) -> Wish:
    """Say yes to a wish, in force at once: to the minutes or the bedtime asked for or to fewer, or to another rule, for
    good or for a while.
    """
    return await core.part(wishes_of).grant(wish_id, caller.principal, caller.actor, given_by(order))


@action(
    "POST",
    "/wishes/{wish_id}/deny",
    form=FormOf("/wishes/{wish_id}/deny"),
    command=CommandOf(lambda wish_id: f"No to wish {wish_id}.", facts={"denied": "wish_id"}),
)
async def deny_wish(core: Operations, caller: Caller, wish_id: WishId, order: WishAnswer = _NO_WORDS) -> None:
    """Say no to a wish, if you like with a reason."""
    await core.part(wishes_of).say(wish_id, WishState.DENIED, caller.name, plain_note(order.why))


@action(
    "POST",
    "/wishes/{wish_id}/talk",
    form=FormOf("/wishes/{wish_id}/talk"),
    command=CommandOf(lambda wish_id: f"Wish {wish_id} stays open to talk about.", facts={"talk": "wish_id"}),
)
async def talk_about_wish(core: Operations, caller: Caller, wish_id: WishId, order: WishAnswer = _NO_WORDS) -> None:
    """Offer to talk about a wish. It stays open for both sides until one of them closes it."""
    await core.part(wishes_of).say(wish_id, WishState.TALKING, caller.name, plain_note(order.why))


@action(
    "POST",
    "/wishes/{wish_id}/close",
    form=FormOf("/wishes/{wish_id}/close"),
    command=CommandOf(lambda wish_id: f"Wish {wish_id} is closed.", facts={"closed": "wish_id"}),
)
async def close_wish(core: Operations, caller: Caller, wish_id: WishId) -> None:
    """Close a wish that was talked about, without a yes or a no."""
    await core.part(wishes_of).say(wish_id, WishState.CLOSED, caller.name)


@action(
    "POST",
    "/wishes/{wish_id}/undo",
    status=200,
    form=FormOf("/wishes/{wish_id}/undo"),
    command=CommandOf(lambda wish_id: f"Wish {wish_id} is open again.", facts={"undone": "wish_id"}),
)
async def undo_wish(core: Operations, caller: Caller, wish_id: WishId) -> Wish:
    """Take back an answer of the last ten minutes, with what it gave for a while. The wish is open again."""
    return await core.part(wishes_of).undo(wish_id, caller.actor)


@action("POST", "/requests/{request_id}/talk", form=FormOf("/requests/{request_id}/talk"))
async def talk_about_request(
    core: Operations, caller: Caller, request_id: JournalId, order: WishAnswer = _NO_WORDS
) -> None:
    """Offer to talk about a site or an app. It stays closed, and the question open until one of both closes it."""
    await core.part(wishes_of).talk_about(request_id, caller.name, plain_note(order.why))


WISH_ACTIONS = (talk_about_request, grant_wish, deny_wish, talk_about_wish, close_wish, undo_wish)
