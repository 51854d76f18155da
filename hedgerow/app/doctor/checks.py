"""`hedgerow doctor`: looks at everything that has to be right on the server, and says of each how to mend it.

Each check is a function that yields findings and changes nothing. Whether a child's device is held is seen from that device only:
`docs/install/check.md` tells how.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from ipaddress import ip_address
from pathlib import Path

import httpx

from hedgerow.app.control.discovery import unreadable_lease_files
from hedgerow.app.control.gateway import GatewayConfig, is_unmodified
from hedgerow.app.control.safe_search import safe_search_hosts, unresolved_hosts
from hedgerow.app.control_client import control_client
from hedgerow.app.doctor.probes import PROBE_TIMEOUT_S, accepts_connections, query_resolver, try_encrypted_dns, try_upstream
from hedgerow.app.files import error_text
from hedgerow.app.settings import Settings
from hedgerow.app.snapshot import Snapshot
from hedgerow.app.workers.upstreams import open_policy_upstreams
from hedgerow.dns.upstreams.pool import UpstreamPool
from hedgerow.network import gateway as nftables
from hedgerow.network import interfaces
from hedgerow.policies.model import Policy
from hedgerow.policies.reading.load import PolicyError, load_policy
from hedgerow.policies.review import FEW_ADULT_SITES
from hedgerow.proxy.certificate_authority import CertificateAuthorityError, load_ca

MAX_LIST_AGE_S = 3 * 24 * 3600.0
MIN_FREE_BYTES = 200 * 1024 * 1024


class Health(StrEnum):
    GOOD = "good"
    UNSURE = "unsure"  # works, or can't be looked at from here; somebody should know
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, how it is, and what to do about it; `mend` is empty where nothing has to be done."""

    what: str
    health: Health
    found: str
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Installation:
    """The Hedgerow that is looked at. `snapshot` None: it has never got as far as filtering."""

    state: Path
    settings: Settings | None
    snapshot: Snapshot | None

    @staticmethod
    def of(state: Path) -> Installation:
        try:
            settings = Settings.load(state)
        except (OSError, ValueError):
            settings = None
        try:
            snapshot = Snapshot.load(state)
        except (OSError, ValueError):
            snapshot = None
        return Installation(state, settings, snapshot)

    @property
    def policy(self) -> Policy | None:
        return self.snapshot.policy if self.snapshot else None


def run_checks(state: Path) -> list[Finding]:
    """All findings, in the order in which a person should read them. Takes a few seconds where things do not answer."""
    installation = Installation.of(state)
    findings: list[Finding] = []
    for check in CHECKS:
        try:
            findings += check(installation)
        except (OSError, ValueError) as error:
            findings.append(Finding(check.__name__.removeprefix("check_"), Health.UNSURE, f"can't be looked at: {error_text(error)}"))
    return findings


def good_finding(what: str, found: str) -> Finding:
    return Finding(what, Health.GOOD, found)


def check_running(installation: Installation) -> Iterator[Finding]:
    """Whether the ports answer, as a device would see it."""
    settings = installation.settings
    if settings is None:
        if _is_unreadable(installation.state):
            yield Finding("running", Health.BAD, f"the state directory {installation.state} may not be read", "run hedgerow doctor as root")
        else:
            mend = "hedgerow up, or systemctl start hedgerow; where a service does it, run hedgerow doctor as root"
            yield Finding("running", Health.BAD, f"no Hedgerow has run with the state directory {installation.state}", mend)
        return
    restart = "see the log (journalctl -u hedgerow) and start it again: systemctl restart hedgerow, or hedgerow up"
    for kind, how in ((socket.SOCK_DGRAM, "UDP"), (socket.SOCK_STREAM, "TCP")):
        answers = query_resolver(settings.dns, kind)
        found = f"answers at {settings.dns}" if answers else f"no answer at {settings.dns}"
        yield Finding(f"dns over {how}", Health.GOOD if answers else Health.BAD, found, "" if answers else restart)
    for name, endpoint in (("proxy", settings.proxy), ("web", settings.web)):
        opens = accepts_connections(endpoint)
        yield Finding(
            name, Health.GOOD if opens else Health.BAD, f"{'takes' if opens else 'no'} connections at {endpoint}", "" if opens else restart
        )


def _is_unreadable(folder: Path) -> bool:
    try:
        os.scandir(folder).close()
    except OSError as error:
        return isinstance(error, PermissionError)
    return False


def check_encrypted(installation: Installation) -> Iterator[Finding]:
    """Our own DNS over TLS, HTTPS and QUIC, with its certificate."""
    if installation.settings is None or installation.policy is None:
        return
    mend = "see the log (journalctl -u hedgerow) for its certificate, and network.server_name and network.certificate in the policy"
    for what, endpoint, error in try_encrypted_dns(installation.settings, installation.policy.network):
        yield (
            Finding(what, Health.BAD, f"at {endpoint}: {error}", mend) if error else good_finding(what, f"takes connections at {endpoint}")
        )


def check_status(installation: Installation) -> Iterator[Finding]:
    """What control says of itself: workers, journal, newer policy, lists."""
    settings = installation.settings
    if settings is None:
        return
    try:
        status = _status(settings)
    except httpx.HTTPError:
        yield Finding("control", Health.BAD, "does not answer", "systemctl restart hedgerow")
        return
    late = [str(row["name"]) for row in status["workers"] if row["state"] != "running"]
    if late:
        yield Finding("workers", Health.BAD, f"not serving: {', '.join(late)}", "see the log (journalctl -u hedgerow)")
    else:
        yield good_finding("workers", f"{len(status['workers'])} run")
    if status["journal_problem"]:
        yield Finding("journal", Health.BAD, str(status["journal_problem"]), "make room on the disk, or move the state directory")
    if status["policy_problems"]:
        path = status["policy"]
        yield Finding("policy", Health.BAD, f"{path} has mistakes; the one before it stays in force", f"hedgerow check {path}")
    yield from _lists(status)


def _lists(status: dict[str, list[dict[str, object]]]) -> Iterator[Finding]:
    lists, update = status["lists"], "hedgerow lists update, and hedgerow lists status to see why"
    ill = [str(row["source"]) for row in lists if row["problem"]]
    fetched = ((str(row["source"]), float(str(row["fetched"]))) for row in lists if row.get("fetched"))
    old = [name for name, when in fetched if name.startswith("http") and time.time() - when > MAX_LIST_AGE_S]
    if not any(row["category"] == "adult" and row["domains"] and not str(row["source"]).startswith("starter/") for row in lists):
        mend = "hedgerow lists update; a policy with network: lists: starter needs an adult list of its own"
        yield Finding("adult lists", Health.UNSURE, FEW_ADULT_SITES, mend)
    if ill:
        yield Finding("lists", Health.UNSURE, f"with problems, their last good copies filter: {', '.join(ill)}", update)
    if old:
        yield Finding("lists", Health.UNSURE, f"not heard of for three days: {', '.join(old)}", update)
    if not ill and not old:
        yield good_finding("lists", f"{len(lists)} in force, {sum(int(str(row['domains'])) for row in lists)} domains")


def check_policy(installation: Installation) -> Iterator[Finding]:
    """The file as it lies there, and whether it names the network that this machine is in."""
    policy = installation.policy
    if policy is None:
        return
    path = Path(policy.path) if policy.path else None
    try:
        load_policy(path)
        yield good_finding("policy file", f"{path} is good" if path else "none: everybody is filtered as a child of eight to twelve")
    except PolicyError as error:
        yield Finding("policy file", Health.BAD, f"{len(error.problems)} mistakes in {path}", f"hedgerow check {path}")
    lan = policy.network.lan
    outside = [text for text in interfaces.lan_addresses() if not any(ip_address(text) in network for network in lan)]
    if outside:
        found = f"devices beside these addresses of this machine are refused: {', '.join(outside)}"
        yield Finding("lan", Health.BAD, found, "add their networks to network.lan in the policy")
    else:
        yield good_finding("lan", "network.lan holds every network of this machine that does not lead to the internet")


def check_upstreams(installation: Installation) -> Iterator[Finding]:
    """Each upstream by itself, and the names that safe search needs."""
    policy, settings = installation.policy, installation.settings
    if policy is None or settings is None:
        return
    network = policy.network
    names = open_policy_upstreams(network, settings).names
    mend = "name others in the policy, such as network: {upstream: [9.9.9.9]}, or mend the way to the internet"
    if not names:
        yield Finding("upstreams", Health.BAD, "there is nobody to ask", mend)
    answering = []
    for name in names:
        error, seconds = asyncio.run(try_upstream(partial(open_policy_upstreams, network, settings, only=name)))
        answering += [] if error else [name]
        yield (
            Finding(f"upstream {name}", Health.BAD, error, mend)
            if error
            else good_finding(f"upstream {name}", f"answers in {seconds * 1000:.0f} ms")
        )
    if answering:
        yield from _safe_search_targets(partial(open_policy_upstreams, network, settings, only=answering[0]))


def _safe_search_targets(open_upstreams: Callable[[], UpstreamPool]) -> Iterator[Finding]:
    targets = safe_search_hosts()
    failed = asyncio.run(unresolved_hosts(open_upstreams, targets))
    if failed:
        mend = "nothing: these engines are closed where safe search is on, until their safe names resolve again"
        yield Finding("safe search", Health.UNSURE, f"safe names that do not resolve: {', '.join(failed)}", mend)
    else:
        yield good_finding("safe search", f"all {len(targets)} safe names of search engines resolve")


def check_gateway(installation: Installation) -> Iterator[Finding]:
    try:
        choice = GatewayConfig.load(installation.state)
        if choice is None:
            said = "not chosen: a child who changes the DNS setting of a device gets round the filter, unless your router prevents it"
            yield Finding("gateway", Health.UNSURE, said, "on the machine that is the devices' router: hedgerow gateway apply")
            return
        found = nftables.installed_table()
        if found is None or not is_unmodified(installation.state, found):
            said = "chosen, but not in place" if found is None else "in place, but its rules were changed by something else"
            yield Finding("gateway", Health.BAD, said, "hedgerow gateway apply")
            return
    except nftables.GatewayError as error:
        yield Finding("gateway", Health.UNSURE, str(error), "run hedgerow doctor as root")
        return
    if interfaces.uplink_bridges() & set(choice.lan):
        blind = [family for family, looks in interfaces.bridge_filtering().items() if not looks]
        if blind:
            said = f"in place, but {' and '.join(blind)} that crosses the bridge is not looked at"
            yield Finding("gateway", Health.BAD, said, interfaces.BRIDGE_FILTERING_COMMANDS)
            return
        idle = []
    else:
        idle = [family for family, ip_forwarding in interfaces.ip_forwarding().items() if not ip_forwarding]
    if idle:
        mend = "sysctl -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1, or mind that devices have another router for it"
        yield Finding("gateway", Health.UNSURE, f"in place, but this machine does not forward {' and '.join(idle)}", mend)
    else:
        yield good_finding("gateway", f"in place on {', '.join(choice.lan)}{', strict' if choice.strict else ''}")


def check_files(installation: Installation) -> Iterator[Finding]:
    """The certificate authority, secrets, and room to write."""
    settings, state = installation.settings, installation.state
    if settings is None:
        return
    try:
        authority = load_ca(settings.authority)
        days = (authority.expires.timestamp() - time.time()) / 86400
        health = Health.GOOD if days > 60 else Health.UNSURE
        yield Finding(
            "certificate authority", health, f"good for {days:.0f} days", "" if days > 60 else "plan for a new one on every device"
        )
    except (OSError, CertificateAuthorityError) as error:
        yield Finding(
            "certificate authority", Health.BAD, str(error), f"chmod 600 what is in {settings.authority}, or restart after moving it away"
        )
    for path in (settings.admin_token, settings.pass_key):
        if path.exists() and path.stat().st_mode & 0o077:
            yield Finding("secrets", Health.BAD, f"{path} can be read by others", f"chmod 600 {path}")
    free = shutil.disk_usage(state).free
    mend = "" if free > MIN_FREE_BYTES else f"make room on the disk of {state}"
    yield Finding("disk", Health.BAD if mend else Health.GOOD, f"{free // 1024**2} MB free for {state}", mend)


def check_leases(_installation: Installation) -> Iterator[Finding]:
    """What the DHCP server on this machine tells of devices; not everybody has one here."""
    mend = "let the user that runs Hedgerow read it, and the DHCP server keep it small; names of devices come from there"
    for said in unreadable_lease_files():
        yield Finding("leases", Health.UNSURE, said, mend)


def check_clock(installation: Installation) -> Iterator[Finding]:
    """Bedtimes are as right as this machine's clock."""
    now, mend = time.time(), "switch time synchronisation on: timedatectl set-ntp true"
    newest = max((path.stat().st_mtime for path in (Path(__file__), installation.state) if path.exists()), default=0.0)
    if now < newest - 86400:
        yield Finding("clock", Health.BAD, f"it shows {time.strftime('%Y-%m-%d %H:%M')}, before Hedgerow was installed", mend)
        return
    said = ""
    if shutil.which("timedatectl"):
        command = ["timedatectl", "show", "--property=NTPSynchronized", "--value"]
        said = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_TIMEOUT_S, check=False).stdout.strip()
    shown = time.strftime("%Y-%m-%d %H:%M %Z")
    if said == "yes":
        yield good_finding("clock", f"{shown}, synchronised")
    else:
        yield Finding(
            "clock", Health.UNSURE, f"{shown}; {'not synchronised' if said == 'no' else 'whether it is synchronised is unknown'}", mend
        )


CHECKS: tuple[Callable[[Installation], Iterator[Finding]], ...] = (
    *(check_running, check_encrypted, check_status, check_policy, check_upstreams, check_gateway, check_leases, check_clock, check_files),
)


def _status(settings: Settings) -> dict[str, list[dict[str, object]]]:
    with control_client(settings, PROBE_TIMEOUT_S * 3) as client:
        answer = client.get("/api/v1/status")
        answer.raise_for_status()
    return answer.json()  # type: ignore[no-any-return]
