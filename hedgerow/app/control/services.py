"""The services of control, by the subject that they are about."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from functools import partial

from sqlalchemy.exc import DatabaseError

from hedgerow.app.control.devices.discovery import DeviceDiscovery
from hedgerow.app.control.notices.event_notices import watch_status
from hedgerow.app.control.pages_server import PagesServer
from hedgerow.app.control.parts import Parts
from hedgerow.app.control.snapshots.budgets import EndingNotifier
from hedgerow.app.control.store_follower import StoreFollower
from hedgerow.app.control.upkeep.calendars import CalendarUpdater
from hedgerow.app.control.upkeep.safe_search import SafeSearchMonitor
from hedgerow.app.resolv_conf import ResolvConfCopy
from hedgerow.features.contract import ControlService
from hedgerow.journal.messages import DeviceSeen, SiteSeen
from hedgerow.journal.retention import forget_decisions
from hedgerow.journal.store import cause_of
from hedgerow.policies.effective_users import retention_days
from hedgerow.policies.model import AccessRequest, CodeEntered, Observation
from hedgerow.policies.remembered import PageRecognised
from hedgerow.policies.seats import ConductAccepted
from hedgerow.task_state import Area
from hedgerow.ticks import next_tick

log = logging.getLogger("hedgerow.control")

LIST_CHECK_INTERVAL_S = 2.0


def core_services(parts: Parts, pages: PagesServer) -> tuple[ControlService, ...]:
    """Return the services of the core, apart from the reception of messages."""
    return (
        page_service(parts, pages),
        *journal_services(parts),
        *rule_services(parts),
        *list_services(parts),
        *device_services(parts),
        *machine_services(parts),
        *notice_services(parts),
        *connection_services(parts),
    )


def page_service(parts: Parts, pages: PagesServer) -> ControlService:
    """Return the service of the pages, which also takes what people typed on a page of a worker."""

    async def prune(_now: float) -> None:
        await asyncio.to_thread(parts.codes.prune)

    return ControlService(
        name="pages",
        run=pages.run,
        area=Area.PAGES,
        handles={
            CodeEntered: lambda _batch, entered: if_possible(parts.codes.take(entered)),
            ConductAccepted: lambda _batch, accepted: if_possible(parts.time.accept(accepted.session)),
        },
        prune=prune,
    )


async def if_possible(work: Awaitable[object]) -> None:
    """Await work for a person, who will try again if the journal can't be used."""
    try:
        await work
    except DatabaseError as error:
        log.warning("What somebody typed or accepted on a page has no effect: %s", cause_of(error))


def journal_services(parts: Parts) -> tuple[ControlService, ...]:
    """Return what writes the journal, and looks after it."""

    async def prune_decisions(now: float) -> None:
        people, profiles = retention_days(parts.policy())
        await asyncio.to_thread(forget_decisions, parts.store, people, profiles, now)

    return (
        ControlService(name="journal", run=parts.recorder.run, area=Area.LOG, prune=prune_decisions),
        ControlService(name="journal check", run=parts.journal.run, area=Area.UPKEEP),
        ControlService(name="backups", run=parts.backups.run, area=Area.UPKEEP),
    )


def rule_services(parts: Parts) -> tuple[ControlService, ...]:
    """Return what follows the policy, and publishes the snapshots that workers decide by."""
    publisher = parts.publisher
    names = SafeSearchMonitor(parts.settings, network=lambda: parts.policy().network, record=parts.remember)
    calendars = CalendarUpdater(
        parts.settings.calendars,
        urls=lambda: parts.policy().calendars,
        local=lambda: parts.policy().network.own_places,
    )
    return (
        ControlService(name="policy", run=parts.follower.run, area=Area.RULES),
        ControlService(
            name="snapshots",
            run=publisher.publish_on_request,
            area=Area.RULES,
            handles={PageRecognised: lambda _batch, page: parts.sites.take(page)},
            prune=lambda _now: parts.sites.prune(),
        ),
        ControlService(name="snapshot check", run=parts.repair.run, area=Area.RULES),
        ControlService(
            name="new sites",
            run=partial(publisher.sites_seen.run, policy=parts.policy, want_snapshot=publisher.request),
            area=Area.RULES,
            handles={SiteSeen: lambda _batch, seen: publisher.sites_seen.note(seen.site)},
        ),
        ControlService(name="calendars", run=calendars.run, area=Area.RULES),
        ControlService(name="safe search", run=names.run, area=Area.RULES),
    )


def list_services(parts: Parts) -> tuple[ControlService, ...]:
    """Return what fetches and compiles lists."""
    publisher, lists = parts.publisher, parts.publisher.lists

    async def compile_lists() -> None:
        """Compile changed lists. A new policy is in force with the old lists until its own are compiled."""
        while True:
            policy = parts.policy()
            if lists.is_worth_compiling(policy) and await lists.compile(policy):
                await publisher.publish_with_retry()
            await next_tick(LIST_CHECK_INTERVAL_S)

    async def fetch_lists() -> None:
        """Fetch lists that are due. Those of a bundle come first."""
        while True:
            policy = parts.policy()
            await lists.bundled.take(parts.bundle.seen, parts.policy().network.own_places)
            bundle = policy.network.bundle
            if bundle is None or not bundle.lists or parts.bundle.has_looked:
                await lists.fetch_if_due(policy)
            await next_tick(LIST_CHECK_INTERVAL_S)

    return (
        ControlService(name="compiling", run=compile_lists, area=Area.LISTS),
        ControlService(name="downloads", run=fetch_lists, area=Area.LISTS),
    )


def device_services(parts: Parts) -> tuple[ControlService, ...]:
    """Return what finds devices."""
    discovery = DeviceDiscovery(
        parts.publisher.reader,
        record=parts.remember,
        neighbours=parts.neighbours,
        view=parts.view,
        update_names=parts.publisher.update_host_names,
    )
    return (
        ControlService(name="neighbours", run=parts.neighbours.keep_fresh, area=Area.DEVICES),
        ControlService(name="discovery", run=discovery.run, area=Area.DEVICES),
    )


def machine_services(parts: Parts) -> tuple[ControlService, ...]:
    """Return what keeps this machine in step with others, and looks after its processes."""
    shared = parts.follower.shared
    followed = StoreFollower(
        parts.store,
        publisher=parts.publisher,
        accounts=parts.accounts,
        policy=shared,
        refresh_features=parts.features.refresh,
    )
    return (
        ControlService(name="store", run=followed.run, area=Area.MACHINES, may_end=True),
        ControlService(name="shared policy", run=shared.run, area=Area.MACHINES),
        ControlService(name="processes", run=parts.workers.run, area=Area.UPKEEP),
    )


def notice_services(parts: Parts) -> tuple[ControlService, ...]:
    """Return what warns people, and sends notices."""
    endings = EndingNotifier(
        view=parts.view, balances=parts.publisher.budgets.balances, emit=lambda event: parts.remember([event])
    )
    return (
        ControlService(
            name="warnings",
            run=endings.run,
            area=Area.NOTICES,
            handles=dict.fromkeys((Observation, AccessRequest, DeviceSeen), endings.take),
        ),
        ControlService(
            name="notices",
            run=parts.notices.run,
            area=Area.NOTICES,
            prune=lambda _now: asyncio.to_thread(parts.notices.outbox.prune),
        ),
        ControlService(
            name="status",
            run=partial(
                watch_status, status=parts.web.status, budgets=parts.time.budgets, enqueue=parts.notices.enqueue
            ),
            area=Area.NOTICES,
        ),
    )


def connection_services(parts: Parts) -> tuple[ControlService, ...]:
    """Return what connects this machine: the workers' socket, certificates and resolv.conf."""
    return (
        ControlService(name="connections", run=parts.events.keep_listening, area=Area.MINUTES),
        ControlService(name="certificates", run=parts.dns_certificate.run, area=Area.CONNECTIONS),
        ControlService(name="resolv.conf", run=ResolvConfCopy(parts.settings.resolv_conf).run, area=Area.CONNECTIONS),
    )
