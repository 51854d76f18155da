"""Notices from control's events and status, and their sending, each in a process of its own.

The process is killed if the service hangs, and its end frees the 60 MB that apprise takes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict

from hedgerow.app.control.jobs import NOTICE, SENDER, ForkError, JobError, fork_job
from hedgerow.app.control.notices.sender import GONE, INSIDE, REFUSED, UNKNOWN
from hedgerow.dashboards.control import BudgetRow, Status
from hedgerow.dashboards.notices import LocalizedText, Notice, OutgoingMessage, localized, request_key
from hedgerow.dashboards.words.labels import device_name, ending_text, title_of, unread_request_text
from hedgerow.dashboards.words.languages import Language, message
from hedgerow.dashboards.words.reasons import reason_sentence
from hedgerow.journal.messages import DeviceSeen, WorkerMessage
from hedgerow.journal.reader import DeviceRow, JournalReader
from hedgerow.journal.recorder import SystemEvent
from hedgerow.network.discovery import VendorLookup
from hedgerow.policies.access_subject import service_or_address
from hedgerow.policies.effective_users import ALL_UNNAMED
from hedgerow.policies.expiry import UpcomingEnd
from hedgerow.policies.model import AccessRequest, Observation, Policy, Reason, RequestKind, Verdict
from hedgerow.policies.notices import NoticeTopic

CHECK_INTERVAL_S = 15.0
SEND_TIMEOUT_S = 60.0
STALE_LIST_S = 25 * 3600.0
"""Age from which a failing list is worth a notice. Shorter outages are common, and the download is retried."""

_PROBLEMS = {
    0: "",
    UNKNOWN: message("The address does not belong to a supported service."),
    REFUSED: message("The service could not be reached or did not accept it."),
    INSIDE: message(
        "Nothing was sent: the service leads inside this network. Write its address itself or its encrypted form, or "
        "put its name under records or forward."
    ),
    GONE: message("This browser no longer takes notices. Switch them on again there."),
}
_NOTIFIED_REASONS = frozenset({Reason.RULE, Reason.SERVICE, Reason.CATEGORY, Reason.RECOGNISED, Reason.SAFE_SEARCH})
"""Reasons worth a notice among connections refused without a page. Time limits and pauses are known to everybody."""

_TIMED_OUT = message("The service did not answer in time.")
_FAILED = message("Sending it failed.")


async def send_in_subprocess(
    outgoing: OutgoingMessage,
    limit: float = SEND_TIMEOUT_S,
    local: Iterable[str] = (),
    zygote: socket.socket | None = None,
) -> str:
    """Send a message. `local` are the policy's own names and networks. `zygote` starts the process under a user id of
    its own.

    Returns the problem in one sentence without any part of the address; empty if the service accepted it.
    """
    order = json.dumps({**asdict(outgoing), "local": [*local]}).encode()
    try:
        async with asyncio.timeout(limit):
            if zygote is not None:
                with contextlib.suppress(ForkError):
                    return _PROBLEMS.get(int(await fork_job(zygote, NOTICE, order)), _FAILED)
            return _PROBLEMS.get(await _status_of_program(order), _FAILED)
    except TimeoutError:
        return _TIMED_OUT
    except (JobError, ValueError):
        return _FAILED
    except OSError as error:
        return f"No process could be started to send it: {error.strerror}."


async def _status_of_program(order: bytes) -> int:
    """Return the exit status of a process that sends a message. Raises OSError."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", SENDER),
        stdin=asyncio.subprocess.PIPE,  # not an argument, since every user can read command lines
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,  # it may contain the address
    )
    try:
        await process.communicate(order)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0


type FindLikely = Callable[[DeviceSeen], tuple[str, ...]]
"""Return the names of the devices that a new one may be, with a new address.

May read the disk: notices are written in a thread.
"""


def likely_finder(reader: JournalReader, policy: Callable[[], Policy]) -> FindLikely:
    """Return a function that compares a new device with those in the journal."""
    vendors = VendorLookup()

    def find(device: DeviceSeen) -> tuple[str, ...]:
        from hedgerow.dashboards.pages.device_cards import likely_names  # with the editor of the policy file

        facts = (device.device, device.address, device.mac, device.name, device.person, device.profile)
        new = DeviceRow(*facts, first_seen=device.when, last_seen=device.when)
        return likely_names(policy(), reader.devices(device.when), new, vendors)

    return find


def event_notices(
    messages: Iterable[WorkerMessage | SystemEvent], policy: Policy, likely: FindLikely = lambda _device: ()
) -> Iterator[Notice]:
    """Make notices from messages for the journal, to which privacy has been applied; helplines are not among them."""
    for each in messages:
        match each:
            case Observation(reason=Reason.BYPASS, verdict=Verdict.BLOCK):
                yield Notice(NoticeTopic.BYPASS, each.device, _stopped(each))
            case Observation(kind=RequestKind.TUNNEL, verdict=Verdict.BLOCK) if each.reason in _NOTIFIED_REASONS:
                yield Notice(NoticeTopic.REFUSED, f"{each.device} {each.reason.value} {_topic(each)}", _refused(each))
            case AccessRequest():
                yield Notice(NoticeTopic.REQUEST, request_key(each.device, each.chore or _subject(each)), _asked(each))
            case SystemEvent(about=UpcomingEnd() as ending):
                yield Notice(NoticeTopic.BUDGET, f"{ending.whose} {each.detail}", _ends(ending))
            case SystemEvent(about=DeviceSeen() as device):
                yield Notice(NoticeTopic.NEW_DEVICE, device.device, _new(device, policy, likely))


def _who(seen: Observation, reader: Language) -> str:
    device = device_name(seen.device, reader)
    return f"{seen.person} ({device})" if seen.person else device


def _topic(seen: Observation) -> str:
    """Return the category or service of a decision, empty for other reasons, since a notice names no site."""
    return seen.what if seen.reason in {Reason.CATEGORY, Reason.SERVICE} else ""


def _stopped(seen: Observation) -> LocalizedText:
    text = message("%(who)s: something tried to get round the filter and was stopped.")
    return lambda reader: reader.gettext(text, who=_who(seen, reader))


def _refused(seen: Observation) -> LocalizedText:
    text = message("%(who)s: a site was blocked without a page to say why. %(why)s")
    return lambda reader: reader.gettext(
        text, who=_who(seen, reader), why=reason_sentence(seen.reason, _topic(seen), reader)
    )


def _subject(request: AccessRequest) -> str:
    return service_or_address(request.host, request.reason)


def _asked(request: AccessRequest) -> LocalizedText:
    if request.chore:
        return localized(
            "%(who)s says that it is done: %(what)s.", who=request.person or request.device, what=request.chore
        )
    note, who = f" “{request.note}”" if request.note else "", request.person or request.device
    text = message("%(who)s asks for %(what)s.")
    return lambda reader: (
        unread_request_text(request.reason, request.device, request.host, reader)
        or reader.gettext(text, who=who, what=title_of(_subject(request), reader)) + note
    )


def _ends(ending: UpcomingEnd) -> LocalizedText:
    return lambda reader: f"{ending.whose}: {ending_text(ending, reader)}"


def _new(device: DeviceSeen, policy: Policy, likely: FindLikely) -> LocalizedText:
    profile = policy.profiles.get(device.profile)
    title = profile.title if profile is not None else device.profile

    def text(reader: Language) -> str:
        name = device.name or reader.gettext("a device without a name")
        text = message("New on the network: %(name)s at %(address)s. It follows the rules of %(profile)s.")
        parts = [reader.gettext(text, name=name, address=device.address, profile=reader.gettext(title))]
        if known := likely(device):
            parts.append(reader.gettext(message("It may be %(device)s, with a new address."), device=known[0]))
        return " ".join([*parts, reader.gettext(message("Say with one tap on the page Today whose it is."))])

    return text


def status_notices(status: Status, now: float) -> Iterator[Notice]:
    """Make notices of current problems."""
    for item in status.lists:
        if item.held:
            text = message("The list %(name)s changed so much that its new copy is being held back.")
            yield Notice(NoticeTopic.LIST_HELD, item.source, localized(text, name=item.source))
        elif item.failed and (item.fetched is None or now - item.fetched > STALE_LIST_S):
            text = message("The list %(name)s can't be updated: %(problem)s.")
            yield Notice(
                NoticeTopic.UPDATE_FAILED, item.source, localized(text, name=item.source, problem=item.problem)
            )
    if status.policy_problems:
        first = status.policy_problems[0].message
        text = message("The policy file has mistakes, so the previous one stays in force: %(problem)s")
        yield Notice(NoticeTopic.TROUBLE, "policy", localized(text, problem=first))
    if status.journal_problem:
        yield Notice(
            NoticeTopic.TROUBLE,
            "journal",
            localized("Not everything is being recorded: %(problem)s.", problem=status.journal_problem),
        )


def budget_notices(rows: Iterable[BudgetRow]) -> Iterator[Notice]:
    """Make notices of budgets that are used up. Events announce the end of others."""
    for row in rows:
        if row.limit is None or row.left != 0 or row.used == 0 or row.whose == ALL_UNNAMED:
            continue
        yield Notice(NoticeTopic.BUDGET, f"{row.whose} {row.subject} {row.until:.0f}", _used_up(row))


def _used_up(row: BudgetRow) -> LocalizedText:
    text = (
        message("%(who)s has used up the time for: %(what)s.")
        if row.subject
        else message("%(who)s has used up today's time.")
    )
    return lambda reader: reader.gettext(text, who=row.whose, what=title_of(row.subject, reader))


async def watch_status(
    status: Callable[[], Status], budgets: Callable[[], tuple[BudgetRow, ...]], enqueue: Callable[[list[Notice]], None]
) -> None:
    """Check status and budgets regularly, until cancelled."""
    since = time.monotonic()
    while True:
        await asyncio.sleep(CHECK_INTERVAL_S if time.monotonic() - since > 60 else 2)
        enqueue([*status_notices(status(), time.time()), *budget_notices(budgets())])
