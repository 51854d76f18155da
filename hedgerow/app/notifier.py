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

from hedgerow.app.notice_job import REFUSED, UNKNOWN
from hedgerow.dashboards.api.control import Status
from hedgerow.dashboards.api.time_routes import BudgetRow
from hedgerow.dashboards.notices import Message, Notice
from hedgerow.journal.messages import Message as Told
from hedgerow.journal.record import Event
from hedgerow.policies.model import AccessRequest, Observation, Reason, Verdict
from hedgerow.policies.notices import Topic

LOOK_EVERY_S = 15.0
SEND_LIMIT_S = 60.0
OLD_LIST_S = 25 * 3600.0
"""A list whose server fails for an hour is no news: it is asked again every quarter of an hour, a day after its last copy."""

_PROBLEMS = {
    0: "",
    UNKNOWN: "The address is not one of a service that is known here.",
    REFUSED: "The service could not be reached, or did not take it.",
}


async def send_apart(message: Message, limit: float = SEND_LIMIT_S) -> str:
    """What went wrong in one sentence, which never holds any part of the address; empty where the service took the message."""
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "hedgerow.app.notice_job"),
            stdin=asyncio.subprocess.PIPE,  # not by argument: command lines can be read by everybody on the machine
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,  # it may speak of the address
        )
    except OSError as error:
        return f"No process could be started to send it: {error.strerror}."
    try:
        async with asyncio.timeout(limit):
            await process.communicate(json.dumps(asdict(message)).encode())
    except TimeoutError:
        return f"The service did not answer within {limit:g} seconds."
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return _PROBLEMS.get(process.returncode or 0, "Sending it failed.")


def notices_of(messages: Iterable[Told | Event]) -> Iterator[Notice]:
    """What is worth a notice among what goes to the journal: privacy has been applied, and helplines are not there."""
    for message in messages:
        match message:
            case Observation(reason=Reason.BYPASS, verdict=Verdict.BLOCK):
                who = f"{message.person} ({message.device})" if message.person else message.device
                yield Notice(Topic.BYPASS, message.device, f"{who}: something tried a way round the filter, and was stopped.")
            case AccessRequest():
                note = f" “{message.note}”" if message.note else ""
                whose = message.person or message.device
                yield Notice(Topic.REQUEST, f"{message.device} {message.host}", f"{whose} asks for {message.host}.{note}")
            case Event(kind="ending"):
                yield Notice(Topic.BUDGET, f"{message.subject} {message.detail}", f"{message.subject}: {message.detail}.")
            case Event(kind="device"):
                yield Notice(Topic.NEW_DEVICE, message.subject, f"New on the network: {message.detail}.")


def troubles(status: Status, now: float) -> Iterator[Notice]:
    """What is wrong now."""
    for item in status.lists:
        if item.held:
            yield Notice(Topic.LIST_HELD, item.source, f"The list {item.source} changed so much that its new copy is held back.")
        elif item.failed and (item.fetched is None or now - item.fetched > OLD_LIST_S):
            yield Notice(Topic.UPDATE_FAILED, item.source, f"The list {item.source} can't be updated: {item.problem}.")
    if status.policy_problems:
        first = status.policy_problems[0]
        yield Notice(Topic.TROUBLE, "policy", f"The policy file has mistakes, and the one before stays in force: {first}")
    if status.journal_problem:
        yield Notice(Topic.TROUBLE, "journal", f"Not everything is remembered: {status.journal_problem}.")


def budget_warnings(rows: Iterable[BudgetRow]) -> Iterator[Notice]:
    """Budgets that are used up; that they soon will be is told by events."""
    for row in rows:
        if row.limit is None or row.left != 0 or row.used == 0:
            continue
        of = f" of {row.subject}" if row.subject else ""
        yield Notice(Topic.BUDGET, f"{row.whose} {row.subject} {row.until:.0f}", f"{row.whose} has used up the time{of}.")


async def watch(status: Callable[[], Status], budgets: Callable[[], tuple[BudgetRow, ...]], tell: Callable[[list[Notice]], None]) -> None:
    """Looks for trouble and budgets every now and then, until cancelled."""
    since = time.monotonic()
    while True:
        await asyncio.sleep(LOOK_EVERY_S if time.monotonic() - since > 60 else 2)
        tell([*troubles(status(), time.time()), *budget_warnings(budgets())])
