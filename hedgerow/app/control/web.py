"""The operations of the web pages, the API and the command line on the running Hedgerow."""

from __future__ import annotations

import asyncio
import ipaddress
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from hedgerow import __version__
from hedgerow.app.control.access import AccessControl, dangers_for
from hedgerow.app.control.access_rule import AccessRule
from hedgerow.app.control.health import WorkerMonitor
from hedgerow.app.control.lists.list_sources import recommended_for_profiles
from hedgerow.app.control.lists.updater import coverage_of
from hedgerow.app.control.snapshots.publisher import SnapshotPublisher
from hedgerow.app.control.upkeep.certificates import WebCertificates
from hedgerow.app.gateway.config import config_file
from hedgerow.app.settings import WILDCARD_HOSTS, Endpoint, Settings
from hedgerow.app.snapshot import LoadedSnapshot
from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.client_classes import ClassedClient, address_key, named_client, outside_client, unnamed_client
from hedgerow.dashboards.control import (
    Certificate,
    DeviceView,
    EncryptedDns,
    Enforcement,
    ExplanationView,
    InvalidInput,
    Status,
    WebNames,
)
from hedgerow.journal.recorder import Recorder
from hedgerow.network.neighbours import Neighbours
from hedgerow.network.own_addresses import lan_address, own_addresses
from hedgerow.policies.access_subject import AccessSubject
from hedgerow.policies.decide import WELCOME_REASONS
from hedgerow.policies.expiry import PersonTimes, person_times
from hedgerow.policies.explain import explain, find_device
from hedgerow.policies.host_facts import HostFactIndex, Lifelines
from hedgerow.policies.identity import Use, grade_at, is_enough, may_resume_setup, networks_of
from hedgerow.policies.model import Grant, Policy, Reason
from hedgerow.policies.network import ListSelection
from hedgerow.policies.person_access import PersonAccess, is_open_by_default, opened_too, person_access
from hedgerow.policies.text.addresses import parse_client_address
from hedgerow.policies.unlisted import may_be_remembered
from hedgerow.proxy.certificate_authority import (
    CertificateAuthority,
    CertificateAuthorityError,
    CertificateFormat,
    export_certificate,
    load_ca,
)
from hedgerow.proxy.http_head import Authority as HttpAuthority
from hedgerow.proxy.own_pages import pac_response, web_host_names
from hedgerow.task_state import StatusRow


class EnforcedRules(AccessControl):
    """The rules of the snapshot in force as the pages show them."""

    def person_access(self, person: str) -> PersonAccess:
        return access_of(self._view(), person, time.time())

    def is_open_by_default(self, person: str, subject: str) -> bool:
        return default_of(self._publisher.policy, self._view().catalogue, person, subject, time.time())

    def opens_too(self, grant: Grant) -> tuple[str, ...]:
        view = self._view()
        device = find_device(view.rulesets, grant.device) if grant.device is not None else None
        return opened_too(view.rulesets, view.catalogue, grant, device, time.time())

    def dangers(self, subject: AccessSubject) -> tuple[str, ...]:
        return dangers_for(self._view(), subject)

    def person_times(self, people: Iterable[str]) -> dict[str, PersonTimes]:
        view, now = self._view(), time.time()
        known = (view.policy.people[name] for name in people if name in view.policy.people)
        return {person.name: person_times(view.rulesets, person, now) for person in known}

    def client_at(self, address: str) -> ClassedClient:
        """Return the client at an address for limits. A device of the policy that is a whole network has many."""
        view = self._publisher.view
        device = view.rulesets.devices.find(address, self._mac_of(address)) if view is not None else None
        if view is None or device is None:
            return outside_client(address)
        if device.id not in view.policy.devices:
            return unnamed_client(address, device.id)
        is_network = any(network.num_addresses > 1 for network in networks_of(device))
        return named_client(address_key(address) if is_network else device.id, device.id)

    def enforcement(self) -> Enforcement:
        publisher = self._publisher
        return Enforcement(publisher.applied.points_behind(), publisher.problem, is_written=publisher.is_enforced)

    async def settle(self) -> None:
        await self._publisher.applied.settle()


def default_of(policy: Policy, catalogue: Catalogue, person: str, subject: str, now: float) -> bool:
    """Return whether a subject would be open to a person without a rule of their own that names it."""
    return is_open_by_default(policy, catalogue, policy.people[person], subject, now)


def access_of(view: LoadedSnapshot, person: str, now: float) -> PersonAccess:
    """Return a person's access under a snapshot. Raises `InvalidInput` for an unknown person."""
    known = view.policy.people.get(person)
    if known is None:
        raise InvalidInput("The policy has no person called '%(person)s'.", person=person)
    devices = [
        find_device(view.rulesets, device.id) for device in view.policy.devices.values() if device.person == person
    ]
    return person_access(
        view.rulesets, view.catalogue, known, [device for device in devices if device is not None], now
    )


class WebControl(EnforcedRules):
    """The implementation of `dashboards.control.Control` over the snapshot in force."""

    def __init__(
        self,
        settings: Settings,
        publisher: SnapshotPublisher,
        workers: WorkerMonitor,
        recorder: Recorder,
        neighbours: Neighbours,
        tls: WebCertificates,
        rule: Callable[[], AccessRule],
        status_rows: Callable[[], Iterable[StatusRow]] = tuple,
    ) -> None:
        super().__init__(publisher, rule, neighbours.mac_of)
        self._status_rows = status_rows
        self._settings, self._workers, self._recorder = settings, workers, recorder
        self._neighbours, self._tls = neighbours, tls
        self._started = time.time()
        self._lifelines = Lifelines.load()

    def status(self) -> Status:
        policy, lists = self._publisher.policy_file, self._publisher.lists
        health = tuple(lists.health(policy.policy))
        return Status(
            version=__version__,
            started=self._started,
            timezone=policy.policy.network.timezone,
            people=tuple(policy.policy.people),
            policy=str(policy.path or ""),
            policy_loaded=policy.loaded,
            policy_problems=policy.current_problems(),
            list_problems=lists.problems(policy.policy),
            lists=health,
            coverage=coverage_of(lists.report, policy.policy, health),
            recommended=tuple(source.name for source in recommended_for_profiles(policy.policy)),
            starter_only=policy.policy.network.lists is ListSelection.STARTER,
            workers=self._workers.health,
            journal_problem=self._recorder.problem,
            dropped=self._recorder.dropped,
            free_bytes=shutil.disk_usage(self._settings.state).free,
            certificates=_expiry(self._settings.authority) | self._tls.expires,
            state=str(self._settings.state),
            lists_problem=lists.problem or (lists.bundled.problem if policy.policy.network.bundle is not None else ""),
            publish_problem=self._publisher.problem,
            rules_in_force=self._publisher.is_enforced,
            clock_is_behind=self._publisher.clock.is_behind,
            has_gateway=config_file(self._settings.state).exists(),
            block_page=next(iter(self._settings.page_addresses), ""),
            policy_hash=self._publisher.policy_hash,
            features=tuple(self._status_rows()),
            tasks=self._workers.tasks.troubles,
        )

    def names(self) -> WebNames:
        network = self.policy().network
        return WebNames(
            frozenset(web_host_names(network)), network.server_name if network.certificate is not None else None
        )

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

    def encrypted_dns(self) -> EncryptedDns | None:
        network, ports = self.policy().network, {name: place.port for name, place in self._settings.encrypted.items()}
        if network.server_name is None or not {"dot", "doh"} & ports.keys():
            return None
        root = self._authority().der if network.certificate is None else None
        return EncryptedDns(network.server_name, ports.get("doh"), ports.get("dot"), root)

    def signed_profile(self, profile: bytes) -> bytes:
        return self._tls.sign(profile)

    def reached_at(self, address: str) -> str:
        return str(Endpoint(self._reachable_host(address, self._settings.web), self._settings.web.port))

    def proxy_config(self, address: str) -> tuple[str, bytes]:
        answer = pac_response(
            HttpAuthority(self._reachable_host(address, self._settings.proxy), self._settings.proxy.port)
        )
        return dict(answer.headers)["Content-Type"], answer.body

    def _reachable_host(self, address: str, listening: Endpoint) -> str:
        """The host by which devices reach a listener: its own address or, if it listens everywhere, `address` unless
        that is loopback.
        """
        if listening.host not in WILDCARD_HOSTS:
            return listening.host
        if not ipaddress.ip_address(address).is_loopback:
            return address
        return lan_address(own_addresses(), self.policy().network) or address

    async def accept_list(self, name: str) -> None:
        try:
            is_taken = await asyncio.to_thread(self._publisher.lists.accept, self.policy(), name)
        except BlockingIOError:
            raise InvalidInput("The lists are being updated at the moment. Try again in a minute.") from None
        except OSError as error:
            raise InvalidInput("The list can't be added: %(why)s.", why=error.strerror) from None
        if not is_taken:
            raise InvalidInput("No newer copy of '%(name)s' is being held back.", name=name)

    def is_unlisted(self, host: str) -> bool:
        """Return whether a host is one that may be remembered for its pages."""
        return may_be_remembered(HostFactIndex.load(), self._view().catalogue, host)

    def device_at(self, address: str) -> DeviceView | None:
        view = self._view()
        mac = self._neighbours.mac_of(address)
        device = view.rulesets.devices.find(address, mac)
        if device is None:
            return None
        grade = grade_at(device, mac, parse_client_address(address))
        ruleset = view.rulesets.ruleset(device, time.time())
        closed = ruleset.closed
        is_captive = closed is not None and closed.reason in WELCOME_REASONS
        conduct = view.policy.conduct if closed is not None and closed.reason is Reason.CONDUCT else None
        session = view.rulesets.session_at(device, time.time())
        return DeviceView(
            device=device.id,
            person=device.person or (session.person if session is not None else None),
            profile=ruleset.profile,
            lifelines=self._lifelines.for_country(view.policy.network.country),
            held=closed.what or closed.reason.value if closed and not is_captive else "",
            held_until=closed.until if closed else None,
            held_by=closed.reason if closed else None,
            by_wrong_clock=closed is not None and closed.by_wrong_clock,
            may_sign_in=ruleset.profile == "adult"
            and (is_enough(grade, Use.SIGN_IN) or view.policy.network.unknown_devices == "adult"),
            may_resume=may_resume_setup(view.policy, device, address),
            conduct=conduct.text if conduct is not None else "",
            session=session.id if session is not None else "",
            is_seat=device.is_seat,
            is_captive=is_captive,
            session_ends=session.ends if session is not None else None,
            grade=grade,
            limited_as=ruleset.limited_as(device.id),
        )

    async def explain(self, device: str, target: str, at: float | None = None) -> tuple[ExplanationView, ...]:
        view, now = self._view(), time.time()
        if at is not None:  # the clock that is behind now says nothing about another instant
            view = LoadedSnapshot(view.snapshot, asks_past=True, before=view)
        return explain_views(view, device, target, now if at is None else at, self._neighbours.entries())

    def _authority(self) -> CertificateAuthority:
        """Load the CA again, since `hedgerow ca rotate` may have replaced it."""
        return load_ca(self._settings.authority)


def _expiry(authority: Path) -> dict[str, float]:
    """The CA's expiry; empty if the CA can't be used, which `hedgerow doctor` reports."""
    try:
        return {"ca": load_ca(authority).expires.timestamp()}
    except (OSError, CertificateAuthorityError):
        return {}


def explain_views(
    view: LoadedSnapshot, device: str, target: str, at: float, neighbours: Mapping[str, str] = MappingProxyType({})
) -> tuple[ExplanationView, ...]:
    """The decision of each enforcement point for a host or URL at `at`. Raises `InvalidInput`."""
    found = find_device(view.rulesets, device, neighbours)
    if found is None:
        raise InvalidInput("There is no device '%(device)s', and it is not an address of this network.", device=device)
    try:
        explanation = explain(view.rulesets, view.catalogue, found, target, at)
    except ValueError as error:
        raise InvalidInput(f"{error}.") from None
    return tuple(
        ExplanationView(
            *(found.id, found.person, explanation.profile, explanation.at),
            *(point.request.kind, point.request.host, point.request.url, point.decision),
        )
        for point in explanation.points
    )
