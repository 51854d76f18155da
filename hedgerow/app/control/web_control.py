"""What the web pages, the API and the command line may ask of the running Hedgerow."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import secrets
import shutil
import time
from dataclasses import replace
from zoneinfo import ZoneInfo

from hedgerow import __version__
from hedgerow.app.control.publisher import Publisher
from hedgerow.app.control.web_tls import WebTls, own_names
from hedgerow.app.control.worker_watch import WorkerWatch
from hedgerow.app.own_addresses import address_for_others, own_addresses
from hedgerow.app.settings import EVERYWHERE, Endpoint, Settings
from hedgerow.app.snapshot import View
from hedgerow.app.workers_file import is_alive
from hedgerow.blocklists.rules import Origin
from hedgerow.dashboards.api.control import Certificate, DeviceView, Explanation, HowLong, OwnNames, Reach, Status, Unfit, WorkerHealth
from hedgerow.journal.record import Recorder
from hedgerow.network.neighbours import Neighbours
from hedgerow.policies.decide import WELCOMED, decide
from hedgerow.policies.explain import explain, find_device
from hedgerow.policies.lifelines import Lifelines
from hedgerow.policies.model import Decision, Device, DeviceId, Grant, Kind, Pause, Person, Policy, Reason, Request, TargetKind
from hedgerow.policies.ruleset import Ruleset, Rulesets
from hedgerow.policies.services import Service, Services
from hedgerow.policies.targets import ILLEGAL, check_allowable, parse_target
from hedgerow.proxy.authority import Authority, AuthorityError, load_authority
from hedgerow.proxy.certificate_files import CertificateForm, certificate_file
from hedgerow.proxy.gate.auto_config import auto_config
from hedgerow.proxy.http_head import Authority as HttpAuthority


class WebControl:
    """Implements `dashboards.api.control.Control` over what is in force."""

    def __init__(
        self, settings: Settings, publisher: Publisher, workers: WorkerWatch, recorder: Recorder, neighbours: Neighbours, tls: WebTls
    ) -> None:
        self._settings, self._publisher, self._workers, self._recorder = settings, publisher, workers, recorder
        self._neighbours, self._tls = neighbours, tls
        self._started = time.time()
        self._lifelines = Lifelines.load()
        self._services = Services.load()

    def status(self) -> Status:
        policy, lists = self._publisher.policy_file, self._publisher.lists
        return Status(
            version=__version__,
            started=self._started,
            timezone=policy.policy.network.timezone,
            people=tuple(policy.policy.people),
            policy=str(policy.path or ""),
            policy_loaded=policy.loaded,
            policy_problems=policy.problems,
            list_problems=lists.problems(policy.policy),
            lists=lists.health(policy.policy),
            workers=tuple(_health(row) for row in self._workers.rows),
            journal_problem=self._recorder.problem,
            dropped=self._recorder.dropped,
            free_bytes=shutil.disk_usage(self._settings.state).free,
            certificates=self._authority_end() | self._tls.expires,
        )

    def names(self) -> OwnNames:
        network = self.policy().network
        return OwnNames(frozenset(own_names(network)), network.server_name if network.certificate is not None else None)

    def policy(self) -> Policy:
        return self._publisher.policy

    def certificate(self) -> Certificate:
        authority = self._authority()
        files = [certificate_file(authority, form) for form in CertificateForm]
        return Certificate(
            authority.name,
            authority.fingerprint,
            f"{authority.expires:%Y-%m-%d}",
            {file.name: (file.content_type, file.data) for file in files},
        )

    def reached_at(self, address: str) -> str:
        return str(Endpoint(self._known_as(address, self._settings.web), self._settings.web.port))

    def proxy_config(self, address: str) -> tuple[str, bytes]:
        answer = auto_config(HttpAuthority(self._known_as(address, self._settings.proxy), self._settings.proxy.port))
        return dict(answer.headers)["Content-Type"], answer.body

    def _known_as(self, address: str, listening: Endpoint) -> str:
        """Where others find what listens there: at its one address, else at `address` unless that means this machine alone."""
        if listening.host not in EVERYWHERE:
            return listening.host
        if not ipaddress.ip_address(address).is_loopback:
            return address
        return address_for_others(own_addresses(), self.policy().network.lan) or address

    def reach(self, person: str) -> dict[str, Reach]:
        view = self._view()
        known = view.policy.people.get(person)
        if known is None:
            raise Unfit("The policy has no person called '%(person)s'.", person=person)
        return services_reach(view, known, self._services)

    async def accept_list(self, name: str) -> None:
        try:
            is_taken = await asyncio.to_thread(self._publisher.lists.accept, self.policy(), name)
        except BlockingIOError:
            raise Unfit("The lists are being updated at the moment. Try again in a minute.") from None
        except OSError as error:
            raise Unfit("The list can't be added: %(why)s.", why=error.strerror) from None
        if not is_taken:
            raise Unfit("No newer copy of '%(name)s' is being held back.", name=name)

    def device_at(self, address: str) -> DeviceView | None:
        view = self._view()
        device = view.rulesets.device_at(address, self._neighbours.mac_of(address))
        if device is None:
            return None
        ruleset = view.rulesets.ruleset(device, time.time())
        closed = ruleset.closed
        is_captive = closed is not None and closed.reason in WELCOMED
        conduct = view.policy.conduct if closed is not None and closed.reason is Reason.CONDUCT else None
        sitting = next((each for each in view.rulesets.sittings if each.id == ruleset.sitting), None)
        return DeviceView(
            device=device.id,
            person=device.person,
            profile=ruleset.profile,
            lifelines=self._lifelines.for_country(view.policy.network.country),
            held=closed.what or closed.reason.value if closed and not is_captive else "",
            held_until=closed.until if closed else None,
            # Not for a host name, by which anybody could try passwords.
            may_sign_in=ruleset.profile == "adult" and (device.claims is None or view.policy.network.unknown_devices == "adult"),
            conduct=conduct.text if conduct is not None else "",
            sitting=ruleset.sitting,
            is_seat=device.is_seat,
            is_captive=is_captive,
            session_ends=sitting.ends if sitting is not None else None,
        )

    async def approve(self, request_id: int, how_long: HowLong, giver: str) -> Grant:
        request = await asyncio.to_thread(self._publisher.ledger.request, request_id)
        self._refuse_illegal(request.host)
        now = time.time()
        grant = Grant(
            id=secrets.token_hex(6),
            subject=request.host,
            giver=giver,
            starts=now,
            ends=self.within_session(request.device, self.end_of(now, how_long)),
            device=DeviceId(request.device),
            note=request.note,
        )
        await asyncio.to_thread(self._publisher.ledger.approve, request_id, grant)
        await self._publisher.publish()
        return grant

    async def deny(self, request_id: int, giver: str) -> None:
        await asyncio.to_thread(self._publisher.ledger.deny, request_id, giver)

    async def give(
        self, subject: str, giver: str, *, device: str | None = None, person: str | None = None, ends: float | None, note: str = ""
    ) -> Grant:  # fmt: skip
        """A grant that nobody asked for. Raises `Unfit` for an unknown name or subject."""
        self.check_whose(device, person)
        subject, ends = self.check_subject(subject), self.within_session(device, ends)
        grant = Grant(secrets.token_hex(6), subject, giver, time.time(), ends, DeviceId(device) if device else None, person, note)
        await asyncio.to_thread(self._publisher.ledger.give, grant)
        await self._publisher.publish()
        return grant

    async def revoke(self, grant_id: str, giver: str) -> None:
        await asyncio.to_thread(self._publisher.ledger.revoke, grant_id, giver)
        await self._publisher.publish()

    async def pause(self, giver: str, *, device: str | None = None, person: str | None = None, ends: float | None = None) -> Pause:
        self.check_whose(device, person)
        if ends is not None and ends <= time.time():
            raise Unfit("The end of the pause is in the past.")
        device_id = DeviceId(device) if device else None
        held = await asyncio.to_thread(lambda: self._publisher.ledger.pause(giver, device=device_id, person=person, ends=ends))
        await self._publisher.publish()
        return held

    async def resume(self, giver: str, *, device: str | None = None, person: str | None = None) -> None:
        self.check_whose(device, person)
        device_id = DeviceId(device) if device else None
        await asyncio.to_thread(lambda: self._publisher.ledger.resume(giver, device=device_id, person=person))
        await self._publisher.publish()

    async def explain(self, device: str, target: str, at: float | None = None) -> tuple[Explanation, ...]:
        view = self._view()
        found = find_device(view.rulesets, device)
        if found is None:
            raise Unfit("There is no device '%(device)s', and it is not an address of this network.", device=device)
        try:
            told = explain(view.rulesets, view.catalogue, found, target, time.time() if at is None else at)
        except ValueError as error:
            raise Unfit(f"{error}.") from None
        return tuple(
            Explanation(
                *(found.id, found.person, told.profile, told.at),
                *(point.request.kind, point.request.host, point.request.url, point.decision),
            )
            for point in told.points
        )

    def _authority_end(self) -> dict[str, float]:
        """Empty where the authority is gone or open to others, which `hedgerow doctor` tells: all else goes on meanwhile."""
        try:
            return {"ca": self._authority().expires.timestamp()}
        except (OSError, AuthorityError):
            return {}

    def _authority(self) -> Authority:
        """As it is now: `hedgerow ca rotate` may have replaced it."""
        return load_authority(self._settings.authority)

    def _view(self) -> View:
        view = self._publisher.view
        if view is None:
            raise Unfit("Hedgerow is still starting.")
        return view

    def end_of(self, now: float, how_long: HowLong) -> float | None:
        match how_long:
            case HowLong.HOUR:
                return now + 3600
            case HowLong.TODAY:
                return next_midnight(now, self._view().policy.network.timezone)
            case HowLong.GOOD:
                return None

    def within_session(self, device: str | None, ends: float | None) -> float | None:
        """When a grant ends that would last until `ends`: what a guest at a seat was granted is not for the next."""
        known, now = self._view().policy.devices.get(device or ""), time.time()
        if known is None or not known.is_seat:
            return ends
        limits = [each.ends for each in self._view().rulesets.sittings if each.device == known.id and each.starts <= now]
        return min((each for each in (ends, *limits) if each is not None and each > now), default=None)

    def check_whose(self, device: str | None, person: str | None) -> None:
        policy = self._view().policy
        if person is not None and person not in policy.people:
            raise Unfit("The policy has no person called '%(person)s'.", person=person)
        if device is not None and find_device(self._view().rulesets, device) is None:
            raise Unfit("There is no device '%(device)s', and it is not an address of this network.", device=device)

    def check_subject(self, subject: str) -> str:
        try:
            target = parse_target(subject, self._services.by_id, self._view().policy.categories, Origin("grant", text=subject))
            check_allowable(target)
        except ValueError as error:
            raise Unfit(str(error)) from None
        self._refuse_illegal(target.name.partition("/")[0])
        return target.name

    def _refuse_illegal(self, host: str) -> None:
        """Raises `Unfit`: a grant would open nothing."""
        catalogue = self._view().catalogue
        if catalogue.host_mask(host) & catalogue.mask_of([ILLEGAL]):
            raise Unfit("%(host)s is on a list of illegal material and can't be opened.", host=host)


def services_reach(view: View, person: Person, services: Services) -> dict[str, Reach]:
    """What holds for each service of a person, and what would hold without the person's own rules for services."""
    halves = (person.rules.allow, person.rules.block)
    allow, block = (tuple(target for target in half if target.kind is not TargetKind.SERVICE) for half in halves)
    own = _ruleset_of(view, person)
    default = _ruleset_of(view, replace(person, rules=replace(person.rules, allow=allow, block=block)))

    def judge(ruleset: Ruleset, service: Service) -> Decision:
        if service.domains:
            return decide(ruleset, view.catalogue, Request(DeviceId(""), Kind.DNS, service.domains[0]))
        host, _, path = service.urls[0].partition("/")
        return decide(ruleset, view.catalogue, Request(DeviceId(""), Kind.HTTP, host, url=f"https://{host}/{path}"))

    return {id: Reach(judge(own, service), judge(default, service)) for id, service in services.by_id.items()}


def _ruleset_of(view: View, person: Person) -> Ruleset:
    """The ruleset of any device of `person`, who may differ from the one in the policy. Pauses, bedtimes and budgets are left aside.

    It comes from `Rulesets` of its own: those in force remember rulesets by the device's id, and this device has none.
    """
    policy = replace(view.policy, people={**view.policy.people, person.name: person})
    rulesets = Rulesets(policy, view.rulesets.grants, (), view.catalogue)
    return replace(rulesets.ruleset(Device(DeviceId(""), person.profile, person.name), time.time()), closed=None)


def next_midnight(now: float, timezone: str) -> float:
    """The next midnight on the clocks of `timezone`, also on the days on which they change."""
    local = datetime.datetime.fromtimestamp(now, ZoneInfo(timezone))
    tomorrow = (local + datetime.timedelta(days=1)).date()
    return datetime.datetime.combine(tomorrow, datetime.time(), ZoneInfo(timezone)).timestamp()


def _health(row: dict[str, object]) -> WorkerHealth:
    role, pid = str(row["role"]), row.get("pid")
    state = "running" if row.get("ready") else "starting"
    if state == "running" and isinstance(pid, int) and not is_alive(pid):
        state = "stopped"
    return WorkerHealth(
        name=f"{role}-{row['index']}",
        role=role,
        state=state,
        since=float(str(row.get("since") or 0.0)),
        pid=int(str(pid)) if pid else None,
        restarts=int(str(row["restarts"])),
    )
