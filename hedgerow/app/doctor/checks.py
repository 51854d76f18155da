"""`hedgerow doctor`: checks of everything that must be right on the server, with a remedy for each problem.

Each check is a function that yields findings and changes nothing. To test the filter on a child's device, see
`docs/install/check.md`.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx

from hedgerow.app.control.devices.discovery import unreadable_lease_files
from hedgerow.app.control.upkeep.safe_search import safe_search_hosts, unresolved_hosts
from hedgerow.app.doctor.findings import Finding, Health, Installation, good_finding
from hedgerow.app.doctor.gateway import check_gateway
from hedgerow.app.doctor.line import check_exposure
from hedgerow.app.doctor.probes import PROBE_TIMEOUT_S, answers_http, query_resolver, try_encrypted_dns, try_upstream
from hedgerow.app.identities import JOBS, SIGNER, obstacle, obstacle_of_jobs
from hedgerow.app.ipc import control_client, problem_of_control
from hedgerow.app.settings import Settings
from hedgerow.app.workers.upstreams import open_policy_upstreams
from hedgerow.blocklists.recognition import piece_table
from hedgerow.codec import decode, encode
from hedgerow.confinement import LACKING_TEXT, Limit, missing_limits
from hedgerow.dashboards.coverage import CategoryCoverage, CoverageState, coverage_text
from hedgerow.dns.upstreams.pool import UpstreamPool
from hedgerow.features import FEATURES
from hedgerow.files import error_text
from hedgerow.network import interfaces
from hedgerow.policies.reading.load import PolicyError, load_policy
from hedgerow.policies.review import FEW_ADULT_SITES
from hedgerow.proxy.certificate_authority import CertificateAuthorityError, load_ca
from hedgerow.task_state import TaskState

MAX_LIST_AGE_S = 3 * 24 * 3600.0
MIN_FREE_BYTES = 200 * 1024 * 1024


def run_checks(state: Path) -> list[Finding]:
    """Run all checks.

    Returns the findings in the order in which a person should read them. Time-outs may take several seconds.
    """
    installation = Installation.of(state)
    findings: list[Finding] = []
    for check in (*CHECKS, *(check for feature in FEATURES for check in feature.checks())):
        try:
            findings += check(installation)
        except (OSError, ValueError) as error:
            findings.append(
                Finding(check.__name__.removeprefix("check_"), Health.UNSURE, f"can't be checked: {error_text(error)}")
            )
    return findings


def check_running(installation: Installation) -> Iterator[Finding]:
    """Check that the ports answer."""
    settings = installation.settings
    if settings is None:
        if _is_unreadable(installation.state):
            yield Finding(
                "running",
                Health.BAD,
                f"can't read the state directory {installation.state}",
                "run hedgerow doctor as root",
            )
        else:
            mend = "hedgerow up, or systemctl start hedgerow; if it runs as a service, run hedgerow doctor as root"
            yield Finding(
                "running", Health.BAD, f"no Hedgerow has run with the state directory {installation.state}", mend
            )
        return
    if settings.problem:
        yield Finding(
            "state directory", Health.BAD, settings.problem, "remove the cause, then systemctl restart hedgerow"
        )
    restart = "see the log (journalctl -u hedgerow) and restart it: systemctl restart hedgerow, or hedgerow up"
    for kind, how in ((socket.SOCK_DGRAM, "UDP"), (socket.SOCK_STREAM, "TCP")):
        answers = query_resolver(settings.dns, kind)
        found = f"answers at {settings.dns}" if answers else f"no answer at {settings.dns}"
        yield Finding(f"dns over {how}", Health.GOOD if answers else Health.BAD, found, "" if answers else restart)
    for name, endpoint in (("proxy", settings.proxy), ("web", settings.web)):
        answers = answers_http(endpoint)
        yield Finding(
            name,
            Health.GOOD if answers else Health.BAD,
            f"{'answers' if answers else 'no answer'} at {endpoint}",
            "" if answers else restart,
        )


def _is_unreadable(folder: Path) -> bool:
    try:
        os.scandir(folder).close()
    except OSError as error:
        return isinstance(error, PermissionError)
    return False


def check_encrypted(installation: Installation) -> Iterator[Finding]:
    """Check our encrypted DNS and its certificate."""
    if installation.settings is None or installation.policy is None:
        return
    mend = "see the log (journalctl -u hedgerow), and network.server_name and network.certificate in the policy"
    for what, endpoint, error in try_encrypted_dns(installation.settings, installation.policy.network):
        yield (
            Finding(what, Health.BAD, f"at {endpoint}: {error}", mend)
            if error
            else good_finding(what, f"accepts connections at {endpoint}")
        )


def check_status(installation: Installation) -> Iterator[Finding]:
    """Check the status that control reports: workers, journal, policy, lists."""
    settings = installation.settings
    if settings is None:
        return
    try:
        status = _status(settings)
    except httpx.HTTPError:
        problem = problem_of_control(settings)
        found = f"does not run: {problem}; filtering goes on with the last snapshot" if problem else "does not answer"
        yield Finding("control", Health.BAD, found, "remove the cause" if problem else "systemctl restart hedgerow")
        return
    late = [str(row["name"]) for row in status["workers"] if row["state"] != "running"]
    if late:
        yield Finding("workers", Health.BAD, f"not serving: {', '.join(late)}", "see the log (journalctl -u hedgerow)")
    else:
        yield good_finding("workers", f"{len(status['workers'])} running")
    yield from task_findings(status)
    if status["journal_problem"]:
        mend = "free space on the disk, or move the state directory; with a server as the store: hedgerow store check"
        yield Finding("journal", Health.BAD, str(status["journal_problem"]), mend)
    if status["publish_problem"]:
        outcome = "in force until the next restart" if status["rules_in_force"] else "not in force"
        found = f"the newest rules are {outcome}, since they can't be saved: {status['publish_problem']}"
        yield Finding("rules", Health.BAD, found, "free space on the disk, or move the state directory")
    if status["policy_problems"]:
        path = status["policy"]
        yield Finding(
            "policy", Health.BAD, f"{path} has mistakes; the last good policy stays in force", f"hedgerow check {path}"
        )
    for row in status["features"]:
        yield Finding(str(row["about"]), Health.UNSURE, str(row["problem"]), str(row["remedy"]))
    yield from list_findings(status, time.time())


def task_findings(status: dict[str, Any]) -> Iterator[Finding]:
    """Report parts of processes that fail, and those that have failed in the last minutes."""
    mend = (
        "if it does not end by itself: systemctl restart hedgerow; please report the line of the log to Hedgerow's"
        " makers"
    )
    for state in decode(tuple[TaskState, ...], encode(status["tasks"])):
        health = Health.BAD if state.is_failing and state.area.is_for_filtering else Health.UNSURE
        yield Finding("tasks", health, state.text, mend if state.is_failing else "")


def list_findings(status: dict[str, Any], now: float) -> Iterator[Finding]:
    """Report the coverage of each category, and lists that are waited for, dead, failing or old.

    `now` is a Unix timestamp.
    """
    lists, update = status["lists"], "hedgerow lists update, and hedgerow lists status to see why"
    waiting = [str(row["source"]) for row in lists if row["waiting"]]
    dead = [str(row["source"]) for row in lists if row["dead"]]
    failing = [str(row["source"]) for row in lists if row["problem"] and not row["dead"]]
    fetched = ((str(row["source"]), float(str(row["fetched"]))) for row in lists if row["is_remote"] and row["fetched"])
    old = [name for name, when in fetched if now - when > MAX_LIST_AGE_S and name not in (*dead, *failing)]
    yield from _coverage(status, now)
    if waiting:
        public = sum(bool(row["is_remote"]) for row in lists)
        yield Finding(
            "lists",
            Health.UNSURE,
            f"{len(waiting)} of {public} public lists are still being fetched",
            "wait a few minutes",
        )
    if dead:
        mend = f"{update}; a list that its publisher has given up can be replaced by another: hedgerow lists public"
        yield Finding(
            "lists",
            Health.UNSURE,
            f"dead, not sent for a week: {', '.join(dead)}; {_copies(lists, dead)}",
            mend,
        )
    if failing:
        yield Finding("lists", Health.UNSURE, f"problems with {', '.join(failing)}; {_copies(lists, failing)}", update)
    if old:
        yield Finding("lists", Health.UNSURE, f"not updated for three days: {', '.join(old)}", update)
    if newest := status.get("lists_problem"):
        mend = "see the room on this disk, and the server of a bundle; Hedgerow tries again by itself"
        yield Finding("lists", Health.UNSURE, f"those from before stay in force: {newest}", mend)
    if not waiting and not dead and not failing and not old and not newest:
        yield good_finding("lists", f"{len(lists)} in force")


def _copies(lists: Iterable[Mapping[str, object]], names: Collection[str]) -> str:
    """Return what is in use of the named lists: their last good copies, if there are any."""
    found = [row for row in lists if row["source"] in names]
    without = [str(row["source"]) for row in found if not (row["domains"] or row["url_rules"])]
    if not without:
        return "their last good copies stay in use"
    rest = "" if len(without) == len(found) else "; the last good copies of the others stay in use"
    return f"there is no copy of {', '.join(without)} to use{rest}"


def _coverage(status: dict[str, list[dict[str, object]]], now: float) -> Iterator[Finding]:
    """Report each category for which public lists are recommended. Only the starter list is not good enough for any."""
    for coverage in decode(tuple[CategoryCoverage, ...], encode(status["coverage"])):
        if not coverage.wanted:
            continue
        what, found = f"{coverage.category} lists", coverage_text(coverage, now)
        if coverage.category == "adult" and coverage.is_thin:
            found = f"{found}: {FEW_ADULT_SITES}"
        match coverage.state:
            case CoverageState.FULL:
                yield good_finding(what, found)
            case CoverageState.FETCHING:
                yield Finding(what, Health.UNSURE, found, "wait a few minutes")
            case CoverageState.STARTER if status["starter_only"]:
                yield Finding(
                    what, Health.UNSURE, found, "remove `lists: starter` from the policy to use the public lists"
                )
            case CoverageState.STARTER | CoverageState.MISSING | CoverageState.DEAD:
                health = Health.BAD if coverage.category == "adult" and coverage.is_thin else Health.UNSURE
                yield Finding(what, health, found, "hedgerow lists update, and hedgerow lists status to see why")


def check_policy(installation: Installation) -> Iterator[Finding]:
    """Check the policy file, and that `network.lan` covers this machine's networks."""
    policy = installation.policy
    if policy is None:
        return
    path = Path(policy.path) if policy.path else None
    try:
        load_policy(path)
        yield good_finding(
            "policy file", f"{path} is valid" if path else "none: every device has the rules of a child aged 8 to 12"
        )
    except PolicyError as error:
        yield Finding("policy file", Health.BAD, f"{len(error.problems)} mistakes in {path}", f"hedgerow check {path}")
    served = (*policy.network.lan, *(policy.network.tunnel.subnets if policy.network.tunnel is not None else ()))
    outside = [
        text for text in interfaces.lan_addresses() if not any(ip_address(text) in network for network in served)
    ]
    if outside:
        found = f"devices in the networks of these addresses are refused: {', '.join(outside)}"
        yield Finding("lan", Health.BAD, found, "add their networks to network.lan in the policy")
    else:
        yield good_finding("lan", "network.lan contains every local network of this machine")


def check_upstreams(installation: Installation) -> Iterator[Finding]:
    """Check each upstream, and the host names of safe search."""
    policy, settings = installation.policy, installation.settings
    if policy is None or settings is None:
        return
    network = policy.network
    names = open_policy_upstreams(network, settings).names
    mend = "name others in the policy, such as network: {upstream: [9.9.9.9]}, or repair the internet connection"
    if not names:
        yield Finding("upstreams", Health.BAD, "none are configured", mend)
    answering = []
    own = [replace(network, upstream=texts) for texts in sorted(policy.own_upstreams)]
    named = {name: each for each in (*own, network) for name in open_policy_upstreams(each, settings).names}
    for name in dict.fromkeys((*names, *named)):
        error, seconds = asyncio.run(try_upstream(partial(open_policy_upstreams, named[name], settings, only=name)))
        answering += [name] if not error and name in names else []
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
        mend = "none: these search engines stay blocked for people with safe search until their names resolve"
        yield Finding("safe search", Health.UNSURE, f"host names that do not resolve: {', '.join(failed)}", mend)
    else:
        yield good_finding("safe search", f"all {len(targets)} host names of safe search resolve")


def check_files(installation: Installation) -> Iterator[Finding]:
    """Check the certificate authority, the secrets, and the disk space."""
    settings, state = installation.settings, installation.state
    if settings is None:
        return
    try:
        authority = load_ca(settings.authority)
        days = (authority.expires.timestamp() - time.time()) / 86400
        health = Health.GOOD if days > 60 else Health.UNSURE
        yield Finding(
            "certificate authority",
            health,
            f"valid for {days:.0f} days",
            "" if days > 60 else "renew it: hedgerow ca rotate",
        )
    except (OSError, CertificateAuthorityError) as error:
        yield Finding(
            "certificate authority",
            Health.BAD,
            str(error),
            f"chmod 600 the files in {settings.authority}, or move them away and restart",
        )
    for path in (settings.admin_token, settings.pass_key):
        if path.exists() and path.stat().st_mode & 0o077:
            yield Finding("secrets", Health.BAD, f"{path} can be read by others", f"chmod 600 {path}")
    free = shutil.disk_usage(state).free
    mend = "" if free > MIN_FREE_BYTES else f"free space on the disk of {state}"
    yield Finding("disk", Health.BAD if mend else Health.GOOD, f"{free // 1024**2} MB free for {state}", mend)


def check_confinement(installation: Installation) -> Iterator[Finding]:
    """Check that the kernel can confine the processes that parse untrusted data, and say which ids they have."""
    missing = missing_limits()
    mend = (
        "use a kernel with Landlock (5.13 or newer, CONFIG_SECURITY_LANDLOCK, and landlock in lsm=)"
        if Limit.FILES in missing
        else ""
    )
    if missing:
        yield Finding("confinement", Health.UNSURE, f"the kernel lacks {' and '.join(missing)}: {LACKING_TEXT}", mend)
    else:
        yield good_finding("confinement", "workers can't read the CA's key, the tokens and the journal")
    if installation.settings is not None:
        reason = obstacle(installation.settings.state)
        own = f"the signer runs as {SIGNER}, all other processes as one user"
        one = f"all processes run as one user{f': {reason}' if reason else ', until Hedgerow starts again'}"
        if installation.settings.has_jobs_identity:
            jobs = f"; what judges pictures or sends notices runs as {JOBS}"
        else:
            why = obstacle_of_jobs() or "until Hedgerow starts again"
            jobs = f"; what judges pictures or sends notices has no user of its own: {why}"
        yield good_finding("user ids", f"{own if installation.settings.has_identities else one}{jobs}")


def check_speed(_installation: Installation) -> Iterator[Finding]:
    """Say if the optional extension in C is there."""
    slowly = "by Python code, which takes three times as long: this installation lacks the extension in C"
    yield good_finding("speed", f"names of new sites are judged {'by compiled code' if piece_table.add_up else slowly}")


def check_leases(_installation: Installation) -> Iterator[Finding]:
    """Check the lease files of a DHCP server on this machine, if it has one."""
    mend = "let the user that runs Hedgerow read it, and keep it small; devices get their names from it"
    for problem in unreadable_lease_files():
        yield Finding("leases", Health.UNSURE, problem, mend)


def check_clock(installation: Installation) -> Iterator[Finding]:
    """Check this machine's clock, on which bedtimes depend."""
    now, mend = time.time(), "enable time synchronisation: timedatectl set-ntp true"
    newest = max((path.stat().st_mtime for path in (Path(__file__), installation.state) if path.exists()), default=0.0)
    if installation.snapshot is not None and now < installation.snapshot.published - 60:
        shown = time.strftime("%Y-%m-%d %H:%M")
        yield Finding(
            "clock",
            Health.BAD,
            f"it shows {shown}, less than when Hedgerow ran last: everything with a bedtime or schedule stays closed",
            mend,
        )
        return
    if now < newest - 86400:
        yield Finding(
            "clock", Health.BAD, f"it shows {time.strftime('%Y-%m-%d %H:%M')}, before Hedgerow was installed", mend
        )
        return
    synchronised = ""
    if shutil.which("timedatectl"):
        command = ["timedatectl", "show", "--property=NTPSynchronized", "--value"]
        synchronised = subprocess.run(
            command, capture_output=True, text=True, timeout=PROBE_TIMEOUT_S, check=False
        ).stdout.strip()
    shown = time.strftime("%Y-%m-%d %H:%M %Z")
    if synchronised == "yes":
        yield good_finding("clock", f"{shown}, synchronised")
    else:
        yield Finding(
            "clock",
            Health.UNSURE,
            f"{shown}; {'not synchronised' if synchronised == 'no' else 'its synchronisation is unknown'}",
            mend,
        )


CHECKS: tuple[Callable[[Installation], Iterator[Finding]], ...] = (
    check_running,
    check_encrypted,
    check_status,
    check_policy,
    check_upstreams,
    check_gateway,
    check_exposure,
    check_leases,
    check_clock,
    check_files,
    check_confinement,
    check_speed,
)


def _status(settings: Settings) -> dict[str, list[dict[str, object]]]:
    with control_client(settings, PROBE_TIMEOUT_S * 3) as client:
        answer = client.get("/api/v1/status")
        answer.raise_for_status()
    return answer.json()  # type: ignore[no-any-return]
