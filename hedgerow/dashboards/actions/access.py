"""Requests for access, grants and pauses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

from annotated_types import MaxLen

from hedgerow.dashboards.actions.action import Caller, CommandOf, FormOf, Shown, action
from hedgerow.dashboards.actions.operations import Operations
from hedgerow.dashboards.actions.orders import (
    Approval,
    GrantOrder,
    GrantTarget,
    JournalId,
    LaterBedtime,
    PauseOrder,
    Refusal,
)
from hedgerow.policies.decide import LIFTED_BY_ALWAYS, WELCOME_REASONS
from hedgerow.policies.model import Grant, GrantDuration, Pause, Reason
from hedgerow.policies.text.notes import plain_note
from hedgerow.policies.time_model import Bonus, PauseKind

if TYPE_CHECKING:
    from hedgerow.dashboards.control import Control

_NO_REASON = Refusal()
_CLOSED = LIFTED_BY_ALWAYS | WELCOME_REASONS | {Reason.PAUSE, Reason.UNNAMED}
_CLOSURES = {
    "pause": "the internet is paused",
    "bedtime": "it is bedtime",
    "schedule": "the internet is closed at this time",
    "budget": "the time is used up",
    "no-session": "the seat has no session",
    "code-of-conduct": "the guest has not accepted the code of conduct",
    "unnamed-device": "the device has no name, and the internet is closed for a child",
}
"""What a grant does not lift, for people at the command line."""


@dataclass(frozen=True, slots=True)
class GivenGrant(Grant):
    """A new grant, what else it opens, and what it does not lift: why the internet is closed, and until when."""

    opens_too: tuple[str, ...] = ()
    closed: Reason | None = None
    closed_until: float | None = None


@action(
    "POST",
    "/requests/{request_id}/approve",
    status=200,
    form=FormOf("/requests/{request_id}/approve", {"how_long": "for"}),
)
async def approve(core: Operations, caller: Caller, request_id: JournalId, order: Approval) -> Grant | Bonus:
    """Approve a request. Something dangerous is refused with 409, and approved if the order is repeated with `sure`."""
    return await core.control.approve(
        request_id,
        order.how_long,
        caller.actor,
        only_address=order.only_address,
        only_device=order.only_device,
        sure=order.sure,
    )


@action("POST", "/requests/{request_id}/deny", form=FormOf("/requests/{request_id}/deny"))
async def deny(core: Operations, caller: Caller, request_id: JournalId, order: Refusal = _NO_REASON) -> None:
    """Deny a request, if you like with a reason, which the person who asked can read."""
    await core.control.deny(request_id, caller.name, plain_note(order.why))


def opened_sentence(grant: Mapping[str, Any], clock: Callable[[float], str]) -> str:
    """Return what a grant opens, for whom and until when."""
    end = f" until {clock(grant['ends'])}" if grant["ends"] else ""
    whom = grant["person"] or grant["device"] or "everybody"
    return f"{service_title(grant['subject'])} open for {whom}{end} (grant {grant['id']})."


def service_title(subject: str) -> str:
    """Return the title of a service; another subject as it is."""
    from hedgerow.policies.host_facts import Services  # commands that do not need it start sooner

    service = Services.load().by_id.get(subject)
    return service.title if service is not None else subject


def _granted(
    answer: Mapping[str, Any],
    clock: Callable[[float], str],
) -> Iterator[str]:
    yield opened_sentence(answer, clock)
    if answer["opens_too"]:
        yield f"It also opens names that other services use: {', '.join(answer['opens_too'])}."
    if answer["closed"]:
        until = f" until {clock(answer['closed_until'])}" if answer["closed_until"] else ""
        yield f"It stays closed{until}: {_CLOSURES[answer['closed']]}."


@action(
    "POST",
    "/grants",
    status=201,
    command=CommandOf(
        _granted,
        help="Allow a site, a service or a category for a while. A site that belongs to a service means the service.",
        target=Shown("A person, a device or an address."),
        needs_target=True,
        defaults={"how_long": GrantDuration.HOUR},
    ),
)
async def give(core: Operations, caller: Caller, order: GrantOrder) -> GivenGrant:
    """Allow a site, service or topic for a while, for a device, a person or everybody.

    A site that belongs to a service means the service. `opens_too` are names of others that it opens because the
    service needs them. `closed` tells why the internet is closed there all the same, such as `bedtime`, and
    `closed_until` until when.
    """
    from hedgerow.policies.access_subject import access_subject  # with the rules

    _check_target(order)
    ends = order.how_long.end(core.clock(), ZoneInfo(core.control.status().timezone))
    subject = access_subject(
        core.control.policy(),
        order.subject,
        person=order.person,
        device=order.device,
        only_address=order.only_address,
        only_device=True,
    )
    grant = await core.control.give(subject, caller.actor, ends=ends, note=order.note, sure=order.sure)
    return GivenGrant(**asdict(grant), opens_too=core.control.opens_too(grant), **await _closure(core.control, order))


async def _closure(control: Control, target: GrantTarget) -> dict[str, Any]:
    if target.person is not None:
        times = control.person_times([target.person]).get(target.person)  # None once the person is removed
        closed = times.closed if times is not None else None
        return {} if closed is None else {"closed": closed.reason, "closed_until": closed.until}
    decision = (await control.explain(target.device, "example.com"))[0].decision if target.device is not None else None
    return (
        {"closed": decision.reason, "closed_until": decision.until}
        if decision is not None and decision.reason in _CLOSED
        else {}
    )


@action("DELETE", "/grants/{grant_id}", form=FormOf("/grants/{grant_id}/revoke"))
async def revoke(core: Operations, caller: Caller, grant_id: str) -> None:
    """End a permission now."""
    await core.control.revoke(grant_id, caller.name)


@action("POST", "/pause", status=201, form=FormOf("/pause"))
async def pause(core: Operations, caller: Caller, order: PauseOrder) -> Pause:
    """Close the internet for a person, a device or everybody; helplines stay reachable."""
    from hedgerow.dashboards.control import InvalidInput, PauseExemption, pause_exemption  # with the journal

    _check_target(order)
    if order.everybody is not (order.device is None and order.person is None):
        raise InvalidInput("Name a person or a device, or set `everybody`.")
    ends = None if order.minutes is None else core.clock() + order.minutes * 60
    spared = PauseExemption(order.except_person, order.except_device)
    if spared == PauseExemption() and order.everybody and not order.me_too:
        spared = pause_exemption(core.control, caller.name, caller.address)
    return await core.control.pause(
        caller.actor, device=order.device, person=order.person, ends=ends, spared=spared, kind=order.kind
    )


HOMEWORK = CommandOf(
    lambda name, minutes: f"Homework for {name}, for {minutes:g} minutes.",
    help="Close games, videos and chats for a while; `hedgerow resume PERSON` ends it.",
    target=Shown("Whose games, videos and chats are closed.", "PERSON"),
    needs_target=True,
    fixed={"kind": PauseKind.HOMEWORK.value},
    defaults={"minutes": 60.0},
)
"""Another command for a pause."""


@action(
    "POST",
    "/resume",
    form=FormOf("/resume"),
    command=CommandOf(
        lambda name: f"Resumed for {name or 'everybody'}.",
        facts={"resumed": "name"},
        target=Shown("A person, a device or an address (default: everybody)."),
    ),
)
async def resume(core: Operations, caller: Caller, order: GrantTarget) -> None:
    """End a pause."""
    _check_target(order)
    await core.control.resume(caller.actor, device=order.device, person=order.person)


Sleeper = Annotated[str, MaxLen(60), Shown("Whose bedtime is later tonight.", "PERSON")]


@action(
    "POST",
    "/people/{name}/bedtime/later",
    status=201,
    form=FormOf("/bedtime/later", {"name": "person"}),
    command=CommandOf(
        lambda name, answer, clock: f"{name}'s bedtime is at {clock(answer['ends'])} tonight.",
        help="Make tonight's bedtime later.",
    ),
)
async def postpone_bedtime(core: Operations, caller: Caller, name: Sleeper, order: LaterBedtime) -> Grant:
    """Make bedtime later tonight, by a permission until then."""
    return await core.control.postpone_bedtime(name, order.minutes, caller.actor)


def _check_target(target: GrantTarget) -> None:
    if target.device is not None and target.person is not None:
        from hedgerow.dashboards.control import InvalidInput

        raise InvalidInput("Name a device or a person, not both.")


ACCESS_ACTIONS = (approve, deny, give, revoke, pause, resume, postpone_bedtime)
