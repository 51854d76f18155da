"""The control process: follows the policy file and the lists, writes the journal, serves the web pages, publishes
snapshots.

Workers run without it: they read the last snapshot, and count the events that they could not report.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time

from sqlalchemy.exc import DatabaseError

from hedgerow.app.control.pages_server import PagesServer
from hedgerow.app.control.parts import Parts
from hedgerow.app.control.services import core_services
from hedgerow.app.control.worker_messages import WorkerMessages
from hedgerow.app.ipc import InheritedSockets, StartProblem
from hedgerow.app.settings import Settings
from hedgerow.blocklists.outgoing_guard import OWN_PORTS
from hedgerow.features.contract import ControlService
from hedgerow.files import error_text
from hedgerow.journal.store import cause_of
from hedgerow.proxy.certificate_authority import CertificateAuthorityError, ensure_ca
from hedgerow.task_state import Area
from hedgerow.watched_tasks import WatchedTasks

log = logging.getLogger("hedgerow.control")

PRUNE_INTERVAL_S = 3600.0


class ControlProcess:
    """The services of control. All of them start after the first snapshot, and run until the process ends."""

    def __init__(self, settings: Settings, sockets: InheritedSockets, tasks: WatchedTasks) -> None:
        self._tasks = tasks
        os.environ[OWN_PORTS] = " ".join(str(each.port) for each in (*settings.listeners.values(), *settings.page))
        self._parts = parts = Parts(settings, sockets, tasks)
        self._pages = PagesServer(parts)
        self._messages = WorkerMessages(
            parts.events, services=self.services, record=parts.remember, end=parts.reports.end, tasks=tasks
        )
        self._services = (*core_services(parts, self._pages), *self._own_services())

    def services(self) -> tuple[ControlService, ...]:
        """Return the services that run now: the core's, and those of the features in use."""
        return (*self._services, *self._parts.features.made)

    def _own_services(self) -> tuple[ControlService, ...]:
        """Return the services that go through all services, and those that follow the use of features."""
        parts = self._parts
        return (
            ControlService(
                name="messages",
                run=self._messages.run,
                area=Area.MINUTES,
                handles=parts.reports.handles,
                prune=lambda _now: asyncio.to_thread(parts.publisher.usage.prune),
            ),
            ControlService(name="expiry", run=self._prune_hourly, area=Area.UPKEEP),
            *parts.features.followers(parts.core),
        )

    async def start(self) -> None:
        """Publish the first snapshot, start all services, and wait until the pages answer.

        Raises OSError, CompileError if there are no lists to filter with, and StartProblem for an unusable CA.
        """
        parts = self._parts
        try:
            ensure_ca(parts.settings.authority)
        except (CertificateAuthorityError, OSError) as error:
            raise StartProblem(f"can't use the certificate authority: {error_text(error)}") from error
        await parts.events.start()
        await parts.follower.follow()
        parts.dns_certificate.issue_if_due()
        await parts.publisher.lists.load_first_generation(parts.policy(), parts.publisher.last_generation())
        await parts.publisher.publish_first()
        self._pages.listen()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, parts.follower.request)
        for service in self._services:
            self._tasks.start(service.name, service.run, service.area, may_end=service.may_end)
        await self._pages.serving.wait()

    async def close(self) -> None:
        """Stop all services, and save what they have not saved."""
        parts = self._parts
        await self._tasks.stop(*(service.name for service in self._services))
        await parts.events.close()
        await asyncio.to_thread(parts.publisher.budgets.save)
        parts.recorder.add(parts.publisher.budgets.unsaved)
        await asyncio.to_thread(parts.recorder.flush)
        await asyncio.to_thread(parts.recorder.put_aside)
        await parts.features.close()
        await asyncio.to_thread(parts.publisher.sites_seen.prepare, parts.policy())

    async def _prune_hourly(self) -> None:
        """Have all services delete what is out of date, once an hour, until cancelled."""
        while True:
            await asyncio.sleep(PRUNE_INTERVAL_S)
            for service in self.services():
                if service.prune is not None:
                    with self._tasks.going_on(service.name, service.area):
                        try:
                            await service.prune(time.time())
                        except DatabaseError as error:
                            log.warning("Can't delete old entries of the journal: %s", cause_of(error))
