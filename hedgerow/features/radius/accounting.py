"""The server for RADIUS accounting: it lets the person who signed in to the network be the user of the device.

The user of a device is kept as its session, so that all nodes of a site know it, also after a restart. Devices that
the policy gives to somebody stay theirs. An access point repeats what is not answered, and an answer means that the
session is kept, or that the report is too old to change anything.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address

from sqlalchemy.exc import DatabaseError

from hedgerow.features.contract import ControlService, Core
from hedgerow.features.radius.protocol import Accounting, AccountingStatus, accounting_response, parse_accounting
from hedgerow.features.radius.report_order import OldReport, ReportOrder, has_wrong_clock, time_of
from hedgerow.features.radius.settings import RadiusSettings
from hedgerow.files import error_text
from hedgerow.journal.access_store import NoSuchEntry
from hedgerow.journal.store import cause_of
from hedgerow.journal.usage import UsageStore
from hedgerow.policies.model import DeviceId, Session
from hedgerow.task_state import Area, StatusRow
from hedgerow.ticks import next_tick
from hedgerow.values import BoundedDict

log = logging.getLogger("hedgerow.radius")

SECRET_NAME = "radius-secret"  # noqa: S105  (a file in the state directory)
ACTOR = "RADIUS"
KEPT_S = 24 * 3600.0
"""Seconds for which a report counts. Access points repeat it meanwhile (Acct-Interim-Interval), or the user left."""
_RENEWED_S = KEPT_S / 2
_CLOCKS_DIFFER_S = 30.0
_LOOK_EVERY_S = 1.0
_QUEUE, _TOLD = 1000, 1000
_SHORTEST_SECRET = 8


@dataclass(frozen=True, slots=True)
class _Datagram:
    data: bytes
    source: tuple[str, int]


class RadiusAccounting:
    """`run` serves at the address of the policy in force."""

    def __init__(self, core: Core) -> None:
        self._snapshots, self._usage = core.snapshots, UsageStore(core.store)
        self._secret_file = core.settings.state / SECRET_NAME
        self._queue = asyncio.Queue[_Datagram](_QUEUE)
        self._told: set[str] = set()
        self._transport: asyncio.DatagramTransport | None = None
        self._order = ReportOrder()
        self._has_wrong_clock = BoundedDict[str, bool](_TOLD)

    async def run(self) -> None:
        """Serve until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._work())
                tasks.create_task(self._follow_policy())
        finally:
            self._close()

    def status(self) -> tuple[StatusRow, ...]:
        """Return the access points whose last report had a time that is hours from this machine's clock."""
        wrong = [source for source, is_wrong in self._has_wrong_clock.items() if is_wrong]
        if not wrong:
            return ()
        problem = f"nothing is taken from {', '.join(wrong[:5])}, whose clock is hours from this machine's"
        return (StatusRow("users by RADIUS", problem, "let access points and this machine set their clocks by NTP"),)

    async def _follow_policy(self) -> None:
        served: RadiusSettings | None = None
        problem = ""
        while True:
            wanted = self._snapshots.policy.settings(RadiusSettings)
            if wanted != served or problem:
                self._close()
                served, before = wanted, problem
                problem = await self._listen(wanted)
                if problem and problem != before:
                    log.error("RADIUS accounting isn't taken: %s", problem)
            await next_tick(_LOOK_EVERY_S)

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()
        self._transport = None

    async def _listen(self, settings: RadiusSettings | None) -> str:
        """Open the socket if the policy wants one. Returns a problem in one sentence, else an empty text."""
        if settings is None:
            return ""
        try:
            self._secret()
            loop, address = asyncio.get_running_loop(), (settings.host, settings.port)
            self._transport, _ = await loop.create_datagram_endpoint(
                lambda: _Receiver(self._queue, settings), local_addr=address
            )
        except (OSError, ValueError) as error:
            return error_text(error)
        log.info("RADIUS accounting is taken at %s, port %d", *address)
        return ""

    def _secret(self) -> bytes:
        """Read the secret shared with the access points. Raises OSError and ValueError."""
        secret = self._secret_file.read_bytes().strip(b"\r\n")
        if len(secret) < _SHORTEST_SECRET:
            raise ValueError(f"the secret in {self._secret_file} has fewer than {_SHORTEST_SECRET} characters")
        return secret

    async def _work(self) -> None:
        while True:
            datagram = await self._queue.get()
            try:
                secret = self._secret()
                report = parse_accounting(datagram.data, secret)
                await self._apply(report, datagram.source[0])
            except DatabaseError as error:
                log.warning("RADIUS accounting has to wait for the journal: %s", cause_of(error))
            except (OSError, ValueError) as error:
                self._tell_once(f"a request of {datagram.source[0]} isn't taken: {error_text(error)}")
            else:
                if self._transport is not None:
                    self._transport.sendto(accounting_response(datagram.data, secret), datagram.source)

    async def _apply(self, report: Accounting, source: str) -> None:
        """Begin, renew or end the sessions of a device. An old report changes nothing. Raises DatabaseError."""
        policy = self._snapshots.policy
        settings = policy.settings(RadiusSettings)
        if report.status is None or settings is None:
            return
        now, has_changed = time.time(), False
        self._has_wrong_clock[source] = has_wrong_clock(report, now)
        person = person_of(report, settings, policy.people)
        if person is None:
            self._tell_once(f"the policy has no person for the user {identity_of(report, settings)[:80]!r}")
            return
        devices = self._devices(report, person)
        try:
            self._order.check(report, source, now)
        except OldReport as old:
            self._tell_once(f"a report of {source} changes nothing: {old}")
            return
        if report.status is AccountingStatus.STOP and self._order.is_superseded(report, source):
            devices.clear()  # the device went to another access point, which has said so
        for device in devices:
            has_changed |= await asyncio.to_thread(self._set_user, device, person, report)
        self._order.note(report, source, now)
        if has_changed:
            self._snapshots.request()

    def _devices(self, report: Accounting, person: str) -> set[DeviceId]:
        """Return the ids by which the device may be seen: by its MAC address, or by its IP address beyond a router."""
        view = self._snapshots.view
        if view is None:
            return set()
        lookup = view.rulesets.devices
        found = [lookup.find(report.address), lookup.find(report.address, report.mac)] if report.address else []
        found += [lookup.find_mac(report.mac)] if report.mac else []
        return {each.id for each in found if each is not None and (not each.known or person in each.sharers)}

    def _set_user(self, device: DeviceId, person: str, report: Accounting) -> bool:
        """Return True if the user of a device is another one than before. Raises DatabaseError."""
        usage, now = self._usage, time.time()
        here = next((each for each in reversed(usage.sessions(now)) if each.device == device), None)
        is_theirs = here is not None and here.person == person
        if here is not None and not is_theirs and 0 < time_of(report) < here.starts - _CLOCKS_DIFFER_S:
            return False  # somebody else has signed in since
        if report.status is AccountingStatus.STOP:
            if not is_theirs:
                return False
            try:
                usage.end_session(device)
            except NoSuchEntry:
                return False
            return True
        if is_theirs and here is not None and (here.ends is None or here.ends > now + KEPT_S - _RENEWED_S):
            return False
        usage.start_session(Session(secrets.token_hex(6), device, ACTOR, now, now + KEPT_S, person))
        return True

    def _tell_once(self, text: str) -> None:
        if text not in self._told and len(self._told) < _TOLD:
            self._told.add(text)
            log.warning("RADIUS accounting: %s", text)


class _Receiver(asyncio.DatagramProtocol):
    """Receiver of datagrams from the named clients, which send again what the queue has no room for."""

    def __init__(self, queue: asyncio.Queue[_Datagram], settings: RadiusSettings) -> None:
        self._queue, self._settings = queue, settings

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        source = ip_address(addr[0].partition("%")[0])
        source = getattr(source, "ipv4_mapped", None) or source
        if any(source in network for network in self._settings.clients) and not self._queue.full():
            self._queue.put_nowait(_Datagram(data, addr))


def person_named(user: str, people: Iterable[str]) -> str | None:
    """Return the person whose name is a user's, in any case, with or without a realm or a domain; None if nobody's is.

    >>> [person_named(user, ["mia", "tom"]) for user in ("Mia", "mia@school.example", "SCHOOL\\\\tom", "eve")]
    ['mia', 'mia', 'tom', None]
    """
    lowered = user.lower()
    names = (lowered, lowered.partition("@")[0], lowered.rpartition("\\")[2])
    by_name = {name.lower(): name for name in people}
    return next((by_name[name] for name in names if name in by_name), None)


def identity_of(report: Accounting, settings: RadiusSettings) -> str:
    """Return what names the user of a report. Without a choice in the policy it is User-Name."""
    match settings.identity:
        case "class":
            return report.class_name
        case "chargeable-user-identity":
            return report.chargeable_identity
        case _:
            return report.user


def person_of(report: Accounting, settings: RadiusSettings, people: Iterable[str]) -> str | None:
    """Return the person whom a report is about, None if it names nobody of the policy.

    What the RADIUS server has told the access point has precedence over what the device may have chosen.
    """
    people = tuple(people)
    named = identity_of(report, settings)
    if settings.identity is None and person_named(report.chargeable_identity, people) is not None:
        named = report.chargeable_identity
    return settings.users.get(named) or person_named(named, people)


def accounting_service(core: Core) -> ControlService:
    """Return the service that takes reports of users."""
    accounting = RadiusAccounting(core)
    return ControlService(name="radius", area=Area.DEVICES, run=accounting.run, status=accounting.status)
