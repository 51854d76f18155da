"""What there is to tell, found in what control sees anyway; and the sending, each message in a process of its own.

A service that hangs is killed with its process, and so are the 60 MB that apprise takes.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict

from hedgerow.app.control.notice_sender import REFUSED, UNKNOWN
from hedgerow.dashboards.api.time import BudgetRow
from hedgerow.dashboards.control import Status
from hedgerow.dashboards.notices import LocalizedText, Notice, OutgoingMessage, localized
from hedgerow.dashboards.words.labels import ending_text, reason_text, title_of
from hedgerow.dashboards.words.languages import Language, message
from hedgerow.journal.messages import DeviceSeen
from hedgerow.journal.messages import WorkerMessage as Told
from hedgerow.journal.recorder import SystemEvent
from hedgerow.policies.expiry import UpcomingEnd
from hedgerow.policies.model import AccessRequest, Observation, Policy, Reason, RequestKind, Verdict
from hedgerow.policies.notices import NoticeTopic

CHECK_INTERVAL_S = 15.0
SEND_TIMEOUT_S = 60.0
STALE_LIST_S = 25 * 3600.0
"""A list whose server fails for an hour is no news: it is asked again every quarter of an hour, a day after its last copy."""

_PROBLEMS = {
    0: "",
    UNKNOWN: message("The address does not belong to a supported service."),
    REFUSED: message("The service could not be reached or did not accept it."),
}
_NOTIFIED_REASONS = frozenset({Reason.RULE, Reason.SERVICE, Reason.CATEGORY, Reason.SAFE_SEARCH})
"""Of what is refused without a page. When time is up or the network is paused, everybody knows why."""

_TIMED_OUT = message("The service did not answer in time.")
_FAILED = message("Sending it failed.")


async def send_in_subprocess(what: OutgoingMessage, limit: float = SEND_TIMEOUT_S) -> str:
    """What went wrong in one sentence, which never holds any part of the address; empty where the service took the message."""
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "hedgerow.app.control.notice_sender"),
            stdin=asyncio.subprocess.PIPE,  # not by argument: command lines can be read by everybody on the machine
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,  # it may speak of the address
        )
    except OSError as error:
        return f"No process could be started to send it: {error.strerror}."
    try:
        async with asyncio.timeout(limit):
            await process.communicate(json.dumps(asdict(what)).encode())
    except TimeoutError:
        return _TIMED_OUT
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return _PROBLEMS.get(process.returncode or 0, _FAILED)


def event_notices(messages: Iterable[Told | SystemEvent], policy: Policy) -> Iterator[Notice]:
    """What is worth a notice among what goes to the journal: privacy has been applied, and helplines are not there."""
    for told in messages:
        match told:
            case Observation(reason=Reason.BYPASS, verdict=Verdict.BLOCK):
                text = message("%(who)s: something tried to get round the filter and was stopped.")
                yield Notice(NoticeTopic.BYPASS, told.device, localized(text, who=_whose(told)))
            case Observation(kind=RequestKind.TUNNEL, verdict=Verdict.BLOCK) if told.reason in _NOTIFIED_REASONS:
                yield Notice(NoticeTopic.REFUSED, f"{told.device} {told.reason.value} {_topic(told)}", _refused(told))
            case AccessRequest():
                yield Notice(NoticeTopic.REQUEST, f"{told.device} {told.host}", _asked(told))
            case SystemEvent(about=UpcomingEnd() as ending):
                yield Notice(NoticeTopic.BUDGET, f"{ending.whose} {told.detail}", _ends(ending))
            case SystemEvent(about=DeviceSeen() as device):
                yield Notice(NoticeTopic.NEW_DEVICE, device.device, _new(device, policy))


def _whose(seen: Observation) -> str:
    return f"{seen.person} ({seen.device})" if seen.person else seen.device


def _topic(seen: Observation) -> str:
    """What was decided on, where that is a topic or a service: a notice names no site."""
    return seen.what if seen.reason in {Reason.CATEGORY, Reason.SERVICE} else ""


def _refused(seen: Observation) -> LocalizedText:
    text = message("%(who)s: a site was blocked without a page to say why: %(why)s.")
    return lambda reader: reader.gettext(text, who=_whose(seen), why=reason_text(seen.reason, _topic(seen), reader))


def _asked(request: AccessRequest) -> LocalizedText:
    asks = localized("%(who)s asks for %(what)s.", who=request.person or request.device, what=request.host)
    return lambda reader: f"{asks(reader)}{f' “{request.note}”' if request.note else ''}"


def _ends(ending: UpcomingEnd) -> LocalizedText:
    return lambda reader: f"{ending.whose}: {ending_text(ending, reader)}"


def _new(device: DeviceSeen, policy: Policy) -> LocalizedText:
    profile = policy.profiles.get(device.profile)
    title = profile.title if profile is not None else device.profile

    def say(reader: Language) -> str:
        name = device.name or reader.gettext("a device without a name")
        text = message("New on the network: %(name)s at %(address)s. It follows the rules of %(profile)s.")
        return reader.gettext(text, name=name, address=device.address, profile=reader.gettext(title))

    return say


def status_notices(status: Status, now: float) -> Iterator[Notice]:
    """What is wrong now."""
    for item in status.lists:
        if item.held:
            text = message("The list %(name)s changed so much that its new copy is being held back.")
            yield Notice(NoticeTopic.LIST_HELD, item.source, localized(text, name=item.source))
        elif item.failed and (item.fetched is None or now - item.fetched > STALE_LIST_S):
            text = message("The list %(name)s can't be updated: %(problem)s.")
            yield Notice(NoticeTopic.UPDATE_FAILED, item.source, localized(text, name=item.source, problem=item.problem))
    if status.policy_problems:
        first = status.policy_problems[0]
        text = message("The policy file has mistakes, so the previous one stays in force: %(problem)s")
        yield Notice(NoticeTopic.TROUBLE, "policy", localized(text, problem=first))
    if status.journal_problem:
        yield Notice(
            NoticeTopic.TROUBLE, "journal", localized("Not everything is being recorded: %(problem)s.", problem=status.journal_problem)
        )


def budget_notices(rows: Iterable[BudgetRow]) -> Iterator[Notice]:
    """Budgets that are used up; that they soon will be is told by events."""
    for row in rows:
        if row.limit is None or row.left != 0 or row.used == 0:
            continue
        yield Notice(NoticeTopic.BUDGET, f"{row.whose} {row.subject} {row.until:.0f}", _used_up(row))


def _used_up(row: BudgetRow) -> LocalizedText:
    text = message("%(who)s has used up the time for: %(what)s.") if row.subject else message("%(who)s has used up today's time.")
    return lambda reader: reader.gettext(text, who=row.whose, what=title_of(row.subject, reader))


async def watch_status(
    status: Callable[[], Status], budgets: Callable[[], tuple[BudgetRow, ...]], enqueue: Callable[[list[Notice]], None]
) -> None:
    """Looks for trouble and budgets every now and then, until cancelled."""
    since = time.monotonic()
    while True:
        await asyncio.sleep(CHECK_INTERVAL_S if time.monotonic() - since > 60 else 2)
        enqueue([*status_notices(status(), time.time()), *budget_notices(budgets())])
