"""Parts of control that are too small for a module each."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.exc import DatabaseError

from hedgerow.app.control.snapshots.publisher import SnapshotPublisher
from hedgerow.features.contract import ControlService
from hedgerow.files import error_text, write_atomically
from hedgerow.journal.store import cause_of

if TYPE_CHECKING:
    from hedgerow.dashboards.deferred_app import DeferredApp
    from hedgerow.dashboards.reports import Report
    from hedgerow.dashboards.words.languages import Language

log = logging.getLogger("hedgerow.control")

LOAD_PAGES_AFTER_S = 20.0
PRUNE_INTERVAL_S = 3600.0


async def prune_hourly(services: Callable[[], Iterable[ControlService]]) -> None:
    """Have all services delete what is out of date, once an hour, until cancelled."""
    while True:
        await asyncio.sleep(PRUNE_INTERVAL_S)
        for service in services():
            if service.prune is not None:
                try:
                    await service.prune(time.time())
                except DatabaseError as error:
                    log.warning("Can't delete old entries of the journal: %s", cause_of(error))


async def load_later(app: DeferredApp) -> None:
    """Load the application after the filtering processes have started, before anybody has to wait for it."""
    await asyncio.sleep(LOAD_PAGES_AFTER_S)
    await app.load()


def make_token(path: Path) -> str:
    """Make the token by which scripts on this machine use the API, in a file that only its owner can read.

    If the disk is full, there is no such file until the next start.
    """
    token = secrets.token_urlsafe(32)
    try:
        write_atomically(path, token.encode())
    except OSError as error:
        log.warning("Can't write %s, so scripts need tokens of their own: %s", path, error_text(error))
    return token


async def if_possible(work: Awaitable[object]) -> None:
    """Await work for a person, who will try again if the journal can't be used."""
    try:
        await work
    except DatabaseError as error:
        log.warning("What somebody typed or accepted on a page has no effect: %s", cause_of(error))


def report_of_week(publisher: SnapshotPublisher, reader: Language) -> Report:
    """Return the report of the last week in a language."""
    from hedgerow.dashboards.reports import weekly_report  # with the templates

    return weekly_report(publisher.reader, publisher.policy, time.time(), reader)
