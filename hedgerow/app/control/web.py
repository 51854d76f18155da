"""The operations of the web pages, the API and the command line on the running Hedgerow."""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
import shutil
import time
from dataclasses import replace
from zoneinfo import ZoneInfo

from hedgerow import __version__
from hedgerow.app.control.certificates import WebCertificates, web_host_names
from hedgerow.app.control.health import WorkerMonitor
from hedgerow.app.control.publisher import SnapshotPublisher
from hedgerow.app.ipc import WorkerRow, is_alive
from hedgerow.app.settings import WILDCARD_HOSTS, Endpoint, Settings
from hedgerow.app.snapshot import LoadedSnapshot
from hedgerow.blocklists.rules import Origin
from hedgerow.dashboards.control import (
    Certificate,
    DeviceView,
    ExplanationView,
    InvalidInput,
    ServiceAccess,
    Status,
    WebNames,
    WorkerHealth,
)
from hedgerow.journal.recorder import Recorder
from hedgerow.network.neighbours import Neighbours
from hedgerow.network.own_addresses import lan_address, own_addresses
from hedgerow.policies.decide import WELCOME_REASONS, decide
from hedgerow.policies.explain import explain, find_device
from hedgerow.policies.host_facts import Lifelines, Service, Services
from hedgerow.policies.model import (
    Decision,
    Device,
    DeviceId,
    Grant,
    GrantDuration,
    Pause,
    Person,
    Policy,
    Reason,
    Request,
    RequestKind,
    TargetKind,
)
from hedgerow.policies.ruleset import Ruleset, Rulesets
from hedgerow.policies.targets import ILLEGAL, check_allowable, parse_target
from hedgerow.proxy.certificate_authority import (
    CertificateAuthority,
    CertificateAuthorityError,
    CertificateFormat,
    export_certificate,
    load_ca,
)
from hedgerow.proxy.http_head import Authority as HttpAuthority
from hedgerow.proxy.pac import pac_response


class WebControl:
    """Implements `dashboards.control.Control` over the snapshot in force."""

    def __init__(
        self,
        settings: Settings,
        publisher: SnapshotPublisher,
        workers: WorkerMonitor,
        recorder: Recorder,
        neighbours: Neighbours,
        tls: WebCertificates,
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
            workers=tuple(_worker_health(row) for row in self._workers.rows),
            journal_problem=self._recorder.problem,
            dropped=self._recorder.dropped,
            free_bytes=shutil.disk_usage(self._settings.state).free,
            certificates=self._authority_end() | self._tls.expires,
        )

    def names(self) -> WebNames:
        network = self.policy().network
        return WebNames(frozenset(web_host_names(network)), network.server_name if network.certificate is not None else None)

    def policy(self) -> Policy:
        return self._publisher.policy

    def certificate(self) -> Certificate:
        authority = self._authority()
        files = [export_certificate(authority, form) for form in CertificateFormat]
        return Certificate(
            authority.name,
            authority.fingerprint,
            f"{authority.expires:%Y-%m-%d}",
            {file.name: (file.content_type, file.data) for file in files},
        )

    def reached_at(self, address: str) -> str:
        return str(Endpoint(self._reachable_host(address, self._settings.web), self._settings.web.port))

    def proxy_config(self, address: str) -> tuple[str, bytes]:
        answer = pac_response(HttpAuthority(self._reachable_host(address, self._settings.proxy), self._settings.proxy.port))
        return dict(answer.headers)["Content-Type"], answer.body

    def _reachable_host(self, address: str, listening: Endpoint) -> str:
        """The host by which devices reach a listener: its own address or, if it listens everywhere, `address` unless that is loopback."""
        if listening.host not in WILDCARD_HOSTS:
            return listening.host
        if not ipaddress.ip_address(address).is_loopback:
            return address
        return lan_address(own_addresses(), self.policy().network.lan) or address

    def service_access(self, person: str) -> dict[str, ServiceAccess]:
        view = self._view()
        known = view.policy.people.get(person)
        if known is None:
            raise InvalidInput("The policy has no person called '%(person)s'.", person=person)
        return access_by_service(view, known, self._services)

    async def accept_list(self, name: str) -> None:
        try:
            is_taken = await asyncio.to_thread(self._publisher.lists.accept, self.policy(), name)
        except BlockingIOError:
            raise InvalidInput("The lists are being updated at the moment. Try again in a minute.") from None
        except OSError as error:
            raise InvalidInput("The list can't be added: %(why)s.", why=error.strerror) from None
        if not is_taken:
            raise InvalidInput("No newer copy of '%(name)s' is being held back.", name=name)

    def device_at(self, address: str) -> DeviceView | None:
        view = self._view()
        device = view.rulesets.devices.find(address, self._neighbours.mac_of(address))
        if device is None:
            return None
        ruleset = view.rulesets.ruleset(device, time.time())
        closed = ruleset.closed
        is_captive = closed is not None and closed.reason in WELCOME_REASONS
        conduct = view.policy.conduct if closed is not None and closed.reason is Reason.CONDUCT else None
        session = next((each for each in view.rulesets.sessions if each.id == ruleset.session), None)
        return DeviceView(
            device=device.id,
            person=device.person,
            profile=ruleset.profile,
            lifelines=self._lifelines.for_country(view.policy.network.country),
            held=closed.what or closed.reason.value if closed and not is_captive else "",
            held_until=closed.until if closed else None,
            # A claimed host name is not enough: anybody could claim one and try passwords.
            may_sign_in=ruleset.profile == "adult" and (device.claims is None or view.policy.network.unknown_devices == "adult"),
            conduct=conduct.text if conduct is not None else "",
            session=ruleset.session,
            is_seat=device.is_seat,
            is_captive=is_captive,
            session_ends=session.ends if session is not None else None,
        )

    async def approve(self, request_id: int, how_long: GrantDuration, giver: str) -> Grant:
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
        """Make a grant without a request. Raises `InvalidInput` for an unknown name or subject."""
        self.check_target(device, person)
        subject, ends = self.check_subject(subject), self.within_session(device, ends)
        grant = Grant(secrets.token_hex(6), subject, giver, time.time(), ends, DeviceId(device) if device else None, person, note)
        await asyncio.to_thread(self._publisher.ledger.give, grant)
        await self._publisher.publish()
        return grant

    async def revoke(self, grant_id: str, giver: str) -> None:
        await asyncio.to_thread(self._publisher.ledger.revoke, grant_id, giver)
        await self._publisher.publish()

    async def pause(self, giver: str, *, device: str | None = None, person: str | None = None, ends: float | None = None) -> Pause:
        self.check_target(device, person)
        if ends is not None and ends <= time.time():
            raise InvalidInput("The end of the pause is in the past.")
        device_id = DeviceId(device) if device else None
        pause = await asyncio.to_thread(lambda: self._publisher.ledger.pause(giver, device=device_id, person=person, ends=ends))
        await self._publisher.publish()
        return pause

    async def resume(self, giver: str, *, device: str | None = None, person: str | None = None) -> None:
        self.check_target(device, person)
        device_id = DeviceId(device) if device else None
        await asyncio.to_thread(lambda: self._publisher.ledger.resume(giver, device=device_id, person=person))
        await self._publisher.publish()

    async def explain(self, device: str, target: str, at: float | None = None) -> tuple[ExplanationView, ...]:
        view = self._view()
        found = find_device(view.rulesets, device)
        if found is None:
            raise InvalidInput("There is no device '%(device)s', and it is not an address of this network.", device=device)
        try:
            explanation = explain(view.rulesets, view.catalogue, found, target, time.time() if at is None else at)
        except ValueError as error:
            raise InvalidInput(f"{error}.") from None
        return tuple(
            ExplanationView(
                *(found.id, found.person, explanation.profile, explanation.at),
                *(point.request.kind, point.request.host, point.request.url, point.decision),
            )
            for point in explanation.points
        )

    def _authority_end(self) -> dict[str, float]:
        """The CA's expiry; empty if the CA can't be used, which `hedgerow doctor` reports."""
        try:
            return {"ca": self._authority().expires.timestamp()}
        except (OSError, CertificateAuthorityError):
            return {}

    def _authority(self) -> CertificateAuthority:
        """Load the CA anew, since `hedgerow ca rotate` may have replaced it."""
        return load_ca(self._settings.authority)

    def _view(self) -> LoadedSnapshot:
        view = self._publisher.view
        if view is None:
            raise InvalidInput("Hedgerow is still starting.")
        return view

    def end_of(self, now: float, how_long: GrantDuration) -> float | None:
        return how_long.end(now, ZoneInfo(self._view().policy.network.timezone))

    def within_session(self, device: str | None, ends: float | None) -> float | None:
        """Limit the end of a grant to the session at a seat: a guest's grant is not for the next guest."""
        known, now = self._view().policy.devices.get(device or ""), time.time()
        if known is None or not known.is_seat:
            return ends
        limits = [each.ends for each in self._view().rulesets.sessions if each.device == known.id and each.starts <= now]
        return min((each for each in (ends, *limits) if each is not None and each > now), default=None)

    def check_target(self, device: str | None, person: str | None) -> None:
        policy = self._view().policy
        if person is not None and person not in policy.people:
            raise InvalidInput("The policy has no person called '%(person)s'.", person=person)
        if device is not None and find_device(self._view().rulesets, device) is None:
            raise InvalidInput("There is no device '%(device)s', and it is not an address of this network.", device=device)

    def check_subject(self, subject: str) -> str:
        try:
            target = parse_target(subject, self._services.by_id, self._view().policy.categories, Origin("grant", text=subject))
            check_allowable(target)
        except ValueError as error:
            raise InvalidInput(str(error)) from None
        self._refuse_illegal(target.name.partition("/")[0])
        return target.name

    def _refuse_illegal(self, host: str) -> None:
        """Raise `InvalidInput` for a host on a list of illegal material, which no grant opens."""
        catalogue = self._view().catalogue
        if catalogue.host_mask(host) & catalogue.mask_of([ILLEGAL]):
            raise InvalidInput("%(host)s is on a list of illegal material and can't be opened.", host=host)


def access_by_service(view: LoadedSnapshot, person: Person, services: Services) -> dict[str, ServiceAccess]:
    """The decision for each service of a person, and the decision without the person's own rules for services."""
    halves = (person.rules.allow, person.rules.block)
    allow, block = (tuple(target for target in half if target.kind is not TargetKind.SERVICE) for half in halves)
    own = _ruleset_of(view, person)
    default = _ruleset_of(view, replace(person, rules=replace(person.rules, allow=allow, block=block)))

    def decide_service(ruleset: Ruleset, service: Service) -> Decision:
        if service.domains:
            return decide(ruleset, view.catalogue, Request(DeviceId(""), RequestKind.DNS, service.domains[0]))
        host, _, path = service.urls[0].partition("/")
        return decide(ruleset, view.catalogue, Request(DeviceId(""), RequestKind.HTTP, host, url=f"https://{host}/{path}"))

    return {id: ServiceAccess(decide_service(own, service), decide_service(default, service)) for id, service in services.by_id.items()}


def _ruleset_of(view: LoadedSnapshot, person: Person) -> Ruleset:
    """The ruleset of a device of `person`, who may differ from the one in the policy, without pauses, bedtimes and budgets.

    It uses `Rulesets` of its own, since those in force cache rulesets by device id, and this device has none.
    """
    policy = replace(view.policy, people={**view.policy.people, person.name: person})
    rulesets = Rulesets(policy, view.rulesets.grants, (), view.catalogue)
    return replace(rulesets.ruleset(Device(DeviceId(""), person.profile, person.name), time.time()), closed=None)


def _worker_health(row: WorkerRow) -> WorkerHealth:
    state = "running" if row.ready else "starting"
    if row.ready and row.pid is not None and not is_alive(row.pid):
        state = "stopped"
    return WorkerHealth(f"{row.role}-{row.index}", row.role, state, row.since, row.pid, row.restarts)
