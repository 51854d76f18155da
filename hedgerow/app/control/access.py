"""Grants, requests and pauses on behalf of the people in charge."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from zoneinfo import ZoneInfo

from hedgerow.app.control.access_rule import AccessChange, AccessRule, ChangeKind
from hedgerow.app.control.snapshots.publisher import SnapshotPublisher
from hedgerow.app.snapshot import LoadedSnapshot
from hedgerow.blocklists.names import is_address
from hedgerow.blocklists.rules import Origin
from hedgerow.dashboards.control import DangerousOpening, InvalidInput, PauseExemption
from hedgerow.features import FEATURES
from hedgerow.features.contract import Confirmation
from hedgerow.journal.access_store import NoSuchEntry
from hedgerow.journal.reader import RequestRow
from hedgerow.journal.store import JournalEntry
from hedgerow.policies.access_subject import AccessSubject
from hedgerow.policies.effective_users import EffectiveUsers
from hedgerow.policies.expiry import person_times
from hedgerow.policies.explain import find_device
from hedgerow.policies.host_facts import Services
from hedgerow.policies.model import Device, DeviceId, Grant, GrantDuration, Pause
from hedgerow.policies.person_access import dangers_of
from hedgerow.policies.rule_index import BYPASS
from hedgerow.policies.ruleset import Rulesets
from hedgerow.policies.targets import ILLEGAL, check_grantable, parse_target
from hedgerow.policies.text.addresses import parse_mac
from hedgerow.policies.time_model import LATER_BEDTIME, Bonus, PauseKind

_NOBODY = PauseExemption()


class AccessControl:
    """Changes of what people may access.

    Each one is written to the journal and published. `mac_of` returns the MAC of an IP address.

    Each of them passes the rule that `rule` returns.
    """

    def __init__(
        self,
        publisher: SnapshotPublisher,
        rule: Callable[[], AccessRule],
        mac_of: Callable[[str], str | None] = lambda _address: None,
    ) -> None:
        self._publisher, self._rule, self._mac_of = publisher, rule, mac_of
        self._services = Services.load()

    async def approve(
        self,
        request_id: int,
        how_long: GrantDuration,
        actor: str,
        *,
        only_address: bool = False,
        only_device: bool = False,
        sure: bool = False,
    ) -> Grant | Bonus:
        request = await asyncio.to_thread(self._publisher.ledger.request, request_id)
        if request.chore:
            return await self._confirm(request, actor)
        refuse_illegal(self._view(), request.host)
        now, policy = time.time(), self._view().policy
        subject = request.access_subject(policy, only_address=only_address, only_device=only_device)
        self.check_subject(subject.what)
        ends = self.within_session(request.device, how_long.end(now, ZoneInfo(policy.network.timezone)))
        grant = _grant(subject, actor, starts=now, ends=ends, note=request.note)
        also = [] if only_address or only_device else await same_requests(self._publisher, request)
        wanted = self.access_change(
            ChangeKind.ALLOW, actor, subject.device, subject.what, person=subject.person, address=request.host
        )
        await self.check_dangers(subject, wanted, sure=sure)
        await self._rule().change(
            wanted, lambda *entries: self._publisher.ledger.approve(request_id, grant, *entries, also=also)
        )
        await self._publisher.put_in_force()
        return grant

    async def _confirm(self, request: RequestRow, actor: str) -> Bonus:
        report = Confirmation(
            request=request, actor=actor, policy=self._view().policy, store=self._publisher.reader.store
        )
        for confirm in (feature.confirm for feature in FEATURES if feature.confirm is not None):
            if (earned := await asyncio.to_thread(confirm, report)) is not None:
                wanted = self.access_change(
                    ChangeKind.ALLOW,
                    actor,
                    person=request.person,
                    subject=request.chore,
                    minutes=earned.bonus.minutes,
                )
                await self._rule().change(wanted, earned.write)
                await self._publisher.put_in_force()
                return earned.bonus
        raise NoSuchEntry(f"there is no open request {request.id}")

    async def deny(self, request_id: int, actor: str, why: str = "") -> None:
        request = await asyncio.to_thread(self._publisher.ledger.request, request_id)
        also = await same_requests(self._publisher, request)
        await asyncio.to_thread(self._publisher.ledger.deny, request_id, actor, why, also)
        await self._publisher.put_in_force()  # a block page may be waiting for the answer

    async def give(
        self,
        subject: AccessSubject,
        actor: str,
        *,
        ends: float | None,
        note: str = "",
        sure: bool = False,
        answers: Sequence[int] = (),
    ) -> Grant:
        """Make a grant that answers these requests. Raises `InvalidInput` for an unknown name or subject."""
        device, ledger = subject.device, self._publisher.ledger
        self.check_target(device, subject.person)
        what, ends = self.check_subject(subject.what), self.within_session(device, ends)
        known = replace(subject, what=what, device=identify_device(self._view().rulesets, device, self._mac_of))
        grant = _grant(known, actor, starts=time.time(), ends=ends, note=note)
        wanted = self.access_change(
            ChangeKind.ALLOW, actor, device, what, person=subject.person, address=subject.address
        )
        await self.check_dangers(known, wanted, sure=sure)
        write = partial(ledger.approve, answers[0], also=answers[1:]) if answers else ledger.give
        await self._rule().change(wanted, partial(write, grant))
        await self._publisher.put_in_force()
        return grant

    async def revoke(self, grant_id: str, actor: str) -> None:
        await asyncio.to_thread(self._publisher.ledger.revoke, grant_id, actor)
        await self._publisher.put_in_force()

    async def pause(
        self,
        actor: str,
        *,
        device: str | None = None,
        person: str | None = None,
        ends: float | None = None,
        spared: PauseExemption = _NOBODY,
        kind: PauseKind = PauseKind.ALL,
    ) -> Pause:
        self.check_target(device, person)
        self.check_target(spared.device, spared.person)
        if spared != _NOBODY and (device or person):
            raise InvalidInput("Only a pause for everybody can leave somebody out.")
        if ends is not None and ends <= time.time():
            raise InvalidInput("The end of the pause is in the past.")
        device_id, spared_id = (
            identify_device(self._view().rulesets, each, self._mac_of) for each in (device, spared.device)
        )
        wanted = self.access_change(ChangeKind.PAUSE, actor, device, person=person)

        def write(*entries: JournalEntry) -> Pause:
            return self._publisher.ledger.pause(
                actor,
                *entries,
                device=device_id,
                person=person,
                ends=ends,
                spared_person=spared.person,
                spared_device=spared_id,
                kind=kind,
            )

        pause = await self._rule().change(wanted, write)
        await self._publisher.put_in_force()
        return pause

    async def postpone_bedtime(self, person: str, minutes: int, actor: str) -> Grant:
        """Grant the time until the bedtime in force now and `minutes` more.

        It takes the place of an earlier such grant.
        """
        self.check_target(None, person)
        view, now = self._view(), time.time()
        bedtime = person_times(view.rulesets, view.policy.people[person], now).bedtime
        if bedtime is None:
            raise InvalidInput("%(name)s has no bedtime tonight.", name=person)
        grant = Grant(secrets.token_hex(6), LATER_BEDTIME, actor, now, max(bedtime, now) + minutes * 60, person=person)
        wanted = self.access_change(ChangeKind.ALLOW, actor, person=person, subject=LATER_BEDTIME, minutes=minutes)
        await self._rule().change(wanted, lambda *entries: self._publisher.ledger.give(grant, *entries))
        await self._publisher.put_in_force()
        return grant

    async def resume(self, actor: str, *, device: str | None = None, person: str | None = None) -> None:
        device_id = identify_device(self._view().rulesets, device, self._mac_of)
        wanted = self.access_change(ChangeKind.RESUME, actor, device, person=person)

        ended = await self._rule().change(
            wanted, lambda *entries: self._publisher.ledger.resume(actor, *entries, device=device_id, person=person)
        )
        if not ended:  # whoever was paused may have been renamed or removed since
            self.check_target(device, person)
        await self._publisher.put_in_force()

    def access_change(
        self,
        kind: ChangeKind,
        actor: str,
        device: str | None = None,
        subject: str = "",
        minutes: int = 0,
        *,
        person: str | None = None,
        address: str = "",
    ) -> AccessChange | None:
        """Return a change of a device, a person, or else of everybody, as rules judge it.

        None for a person without a device at a seat. `address` is that from which `subject` follows.
        """
        view = self._view()
        known = identify_device(view.rulesets, device, self._mac_of)
        found = EffectiveUsers(view.policy).seat_of(person) if person and known is None else None
        if person and known is None and found is None:
            return None
        if known is not None:  # not for everybody, even if the network does not have the device any more
            found = find_device(view.rulesets, known) or Device(known, view.policy.network.unknown_devices, known=False)
        names = dict.fromkeys((subject, address or subject)) if not minutes else ()
        dangers = tuple(
            dict.fromkeys(each for name in names for each in dangers_of(name, view.catalogue, for_child=True))
        )
        host = subject.partition("/")[0]
        if is_address(host):  # whatever is there, no list of names judges it
            dangers = (*dangers, BYPASS)
        return AccessChange(
            kind=kind,
            actor=actor,
            device=found,
            person=person if known is None else None,
            subject=subject,
            dangers=dangers,
            minutes=minutes,
        )

    async def check_dangers(self, subject: AccessSubject, wanted: AccessChange | None, *, sure: bool) -> None:
        """Raise `DangerousOpening` for something dangerous unless `sure`, or `InvalidInput` if a rule refuses it."""
        if not sure and (dangers := dangers_for(self._view(), subject)):
            await self._rule().check(wanted)
            raise DangerousOpening(subject, dangers)

    def within_session(self, device: str | None, ends: float | None) -> float | None:
        """Limit the end of a grant to the session at a seat: a guest's grant is not for the next guest."""
        known, now = self._view().policy.devices.get(device or ""), time.time()
        if known is None or not known.is_seat:
            return ends
        limits = [
            each.ends for each in self._view().rulesets.sessions if each.device == known.id and each.starts <= now
        ]
        return min((each for each in (ends, *limits) if each is not None and each > now), default=None)

    def check_target(self, device: str | None, person: str | None) -> None:
        policy = self._view().policy
        if person is not None and person not in policy.people:
            raise InvalidInput("The policy has no person called '%(person)s'.", person=person)
        if device is not None and find_device(self._view().rulesets, device) is None:
            raise InvalidInput(
                "There is no device '%(device)s', and it is not an address of this network.", device=device
            )

    def check_subject(self, subject: str) -> str:
        try:
            target = parse_target(
                subject, self._services.by_id, self._view().policy.categories, Origin("grant", text=subject)
            )
            check_grantable(target)
        except ValueError as error:
            raise InvalidInput(str(error)) from None
        refuse_illegal(self._view(), target.name.partition("/")[0])
        return target.name

    def _view(self) -> LoadedSnapshot:
        view = self._publisher.view
        if view is None:
            raise InvalidInput("Hedgerow is still starting.")
        return view


def dangers_for(view: LoadedSnapshot, subject: AccessSubject) -> tuple[str, ...]:
    """Return the dangerous categories of a subject for a person, the users of a device, or everybody."""
    policy, person, device = view.policy, subject.person, subject.device
    profiles = {policy.people[person].profile} if person in policy.people else set[str]()
    if not profiles and device is not None and (found := find_device(view.rulesets, device)) is not None:
        profiles = {user.profile for user in view.rulesets.effective_users_of(found, time.time())}
    for_child = not profiles or any(policy.profiles[profile].is_for_children for profile in profiles)
    several = (
        dangers_of(name, view.catalogue, for_child=for_child) for name in (subject.what, subject.address) if name
    )
    return tuple(dict.fromkeys(each for dangers in several for each in dangers))


async def same_requests(publisher: SnapshotPublisher, request: RequestRow) -> list[int]:
    """Return the other open requests that an answer to this one answers."""
    return [
        row.id
        for row in await asyncio.to_thread(publisher.reader.requests)
        if row.id != request.id and row.is_answered_with(request, publisher.policy)
    ]


def _grant(subject: AccessSubject, actor: str, *, starts: float, ends: float | None, note: str) -> Grant:
    return Grant(secrets.token_hex(6), subject.what, actor, starts, ends, subject.device, subject.person, note)


def refuse_illegal(view: LoadedSnapshot, host: str) -> None:
    """Raise `InvalidInput` for a host on a list of illegal material, which no grant opens."""
    if view.catalogue.host_mask(host) & view.catalogue.mask_of([ILLEGAL]):
        raise InvalidInput("%(host)s is on a list of illegal material and can't be opened.", host=host)


def identify_device(rulesets: Rulesets, device: str | None, mac_of: Callable[[str], str | None]) -> DeviceId | None:
    """Return the id of a device that is given by its name, or by its MAC or IP address at the moment; None for none."""
    if not device:
        return None
    mac = parse_mac(device)
    if device in rulesets.policy.devices or mac is not None:
        return DeviceId(mac or device)
    found = rulesets.devices.find(device, mac_of(device))
    return found.id if found is not None else DeviceId(device)
