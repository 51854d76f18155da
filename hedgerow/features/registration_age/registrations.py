"""The days on which new sites were registered, asked for by RDAP where the policy names whom to ask
(`network.registration_age`).

Workers report the names of sites that they closed as new, without the device. Each is asked about after a random delay,
in random order, one at a time, and then forgotten; the day stays in the table of sites seen, by the site's hash.
Failures change nothing: the site is new for as long as it would be otherwise.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from hedgerow.app.control.jobs import JobError
from hedgerow.app.control.snapshots.sites_seen import SitesSeenFile
from hedgerow.backoff import pause_after
from hedgerow.blocklists.names import parse_host
from hedgerow.dashboards.metrics import Metrics
from hedgerow.features.contract import ControlService, Core
from hedgerow.features.registration_age.metrics import QUESTIONS
from hedgerow.features.registration_age.rdap import Question, Registration, look_up_in_subprocess
from hedgerow.features.registration_age.settings import REGISTRIES, RegistrationAge
from hedgerow.files import error_text
from hedgerow.journal.event_receiver import MessageBatch
from hedgerow.journal.messages import SiteSeen
from hedgerow.policies.model import Policy
from hedgerow.policies.sites_seen import MAX_DAY, can_be_new
from hedgerow.task_state import Area, StatusRow

log = logging.getLogger("hedgerow.control")

QUESTIONS_PER_HOUR = 30
MAX_WAITING = 100
MAX_ATTEMPTS = 8
SILENT_S = 86400.0
"""Seconds for which a site is not asked about again after an answer without a date."""
LASTING_S = 6 * 3600.0
"""Seconds without any answer after which the doctor tells."""

_DELAY_S = (1.0, 3.0)
_TIMEOUT_S = 40.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 60.0, 6 * 3600.0
_MAX_SILENT = 1000
_HOUR_S = 3600.0


class RegistrationAges:
    """The queue of questions. `sites` keeps the answers, and `publish` asks for a snapshot with each.

    `clock` returns seconds of any origin that never go back. `ask` is for tests.
    """

    def __init__(
        self,
        folder: Path,
        *,
        policy: Callable[[], Policy],
        sites: SitesSeenFile,
        publish: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        ask: Callable[[Question], Awaitable[Registration]] = look_up_in_subprocess,
    ) -> None:
        self._folder, self._policy, self._sites, self._publish = folder, policy, sites, publish
        self._clock, self._ask = clock, ask
        self._waiting: dict[str, int] = {}
        self._silent: OrderedDict[str, float] = OrderedDict()
        self._asked: deque[float] = deque(maxlen=QUESTIONS_PER_HOUR)
        self._pauses: dict[str, tuple[float, int]] = {}  # until when, and after how many failures in a row
        self._failing: tuple[float, str] | None = None

    @property
    def lasting_problem(self) -> str:
        """The reason why no question has been answered for hours, empty if any was or none was asked."""
        since, problem = self._failing or (self._clock(), "")
        return problem if self._clock() - since >= LASTING_S else ""

    def status(self) -> tuple[StatusRow, ...]:
        """Return the reason why no age has been learnt for hours."""
        if not self.lasting_problem:
            return ()
        problem = f"not learnt for hours, so new sites count by when they were first seen here: {self.lasting_problem}"
        remedy = "see network.registration_age in the policy, and the internet connection"
        return (StatusRow("age of new sites", problem, remedy),)

    def take(self, _batch: MessageBatch, seen: SiteSeen) -> None:
        """Put the site of a worker's message into the queue."""
        self.want(seen.name)

    def want(self, site: str) -> None:
        """Put a site into the queue, if it is one of the internet, its age is not known, and there is room."""
        if (
            site in self._waiting
            or len(self._waiting) >= MAX_WAITING
            or parse_host(site) != site
            or not can_be_new(site)
        ):
            return
        if self._sites.lacks_date(site) and self._clock() - self._silent.get(site, -SILENT_S) >= SILENT_S:
            self._waiting[site] = 0

    async def run(self, metrics: Metrics) -> None:
        """Ask until cancelled."""
        while True:
            await asyncio.sleep(random.uniform(*_DELAY_S))  # noqa: S311 (no secret)
            if self._waiting and (outcome := await self.step()):
                metrics.add(QUESTIONS, (outcome,))

    async def step(self) -> str:
        """Ask about one site, if one may be asked about now. Returns the outcome: answered, unknown or failed; empty if
        none was asked.
        """
        now, settings = self._clock(), self._policy().settings(RegistrationAge)
        whom = settings.whom if settings is not None else ""
        self._waiting = {site: tries for site, tries in self._waiting.items() if whom and self._sites.lacks_date(site)}
        ready = [site for site in self._waiting if self._pauses.get(_zone(site, whom), (0.0, 0))[0] <= now]
        if not ready or (len(self._asked) == QUESTIONS_PER_HOUR and self._asked[0] > now - _HOUR_S):
            return ""
        site = random.choice(ready)  # noqa: S311 (no secret)
        self._asked.append(now)
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                answer = await self._ask(Question(site, whom, self._folder))
        except TimeoutError:
            answer = Registration(problem="no answer in time", wait_s=0.0)
        except (JobError, OSError, ValueError) as error:
            answer = Registration(problem=error_text(error) if isinstance(error, OSError) else str(error), wait_s=0.0)
        return self._take(site, whom, answer)

    def _take(self, site: str, whom: str, answer: Registration) -> str:
        now, zone = self._clock(), _zone(site, whom)
        tries = self._waiting.pop(site, 0) + 1
        if answer.problem:
            if self._failing is None or self._failing[1] != answer.problem:
                log.warning("A new site's age is not known: %s", answer.problem)
            self._failing = (self._failing[0] if self._failing else now, answer.problem)
        else:
            self._failing = None
        if answer.wait_s is not None:
            failures = self._pauses[zone][1] + 1 if zone in self._pauses else 1
            pause = pause_after(failures, first=_FIRST_PAUSE_S, longest=_LONGEST_PAUSE_S)
            self._pauses[zone] = (now + max(pause, answer.wait_s), failures)
            if tries < MAX_ATTEMPTS:
                self._waiting[site] = tries
            return "failed"
        self._pauses.pop(zone, None)
        if answer.day is None or not 0 <= answer.day <= MAX_DAY:
            self._silent[site] = now
            if len(self._silent) > _MAX_SILENT:
                self._silent.popitem(last=False)
            return "failed" if answer.problem else "unknown"
        self._sites.date(site, answer.day)
        self._publish()
        return "answered"


def _zone(site: str, whom: str) -> str:
    """Return the part of the internet that shares a server with a site, which is spared after a failure."""
    return site.rpartition(".")[2] if whom == REGISTRIES else whom


def registrations_service(core: Core) -> ControlService:
    """Return the service that asks when sites were registered."""
    ages = RegistrationAges(
        core.settings.state / "registrations",
        policy=lambda: core.snapshots.policy,
        sites=core.snapshots.sites_seen,
        publish=core.snapshots.request,
    )
    return ControlService(
        name="registrations",
        area=Area.CONNECTIONS,
        run=partial(ages.run, core.metrics),
        handles={SiteSeen: ages.take},
        status=ages.status,
    )
