"""The command line. Each command is a few lines over the parts; what it prints is for people, and with `--json` for scripts."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import ssl
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn
from zoneinfo import ZoneInfo

import typer
from pydantic import TypeAdapter
from rich.console import Console
from rich.markup import escape

from hedgerow import __version__
from hedgerow.app.commands import ca as cli_ca
from hedgerow.app.commands import doctor as cli_doctor
from hedgerow.app.commands import family as cli_family
from hedgerow.app.commands import gateway as cli_gateway
from hedgerow.app.commands import lists as cli_lists
from hedgerow.app.commands import notices as cli_notices
from hedgerow.app.commands import policy as cli_policy
from hedgerow.app.commands import time as cli_time
from hedgerow.app.commands.options import AsJson, PolicyFile, StateDir, fail, find_policy
from hedgerow.app.control.compile_job import CompileError
from hedgerow.app.control.lists import place_of, prepare_generation
from hedgerow.app.logs import start_logs
from hedgerow.app.settings import Endpoint, Settings, default_state, may_use_low_ports, parse_endpoint
from hedgerow.app.snapshot import Snapshot, View
from hedgerow.app.supervisor import StartError, become_supervisor, prepare
from hedgerow.policies.explain import Explanation, find_device
from hedgerow.policies.explain import explain as explain_request
from hedgerow.policies.model import Device, Policy, Verdict
from hedgerow.policies.reading.load import PolicyError, load_policy
from hedgerow.policies.reading.suggestions import suggest
from hedgerow.policies.resolver_settings import BlockedAnswer, ResolverSettings

app = typer.Typer(
    name="hedgerow",
    help="Filters DNS and HTTP(S) for a home or a café, under one policy file.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(cli_lists.app, name="lists")
app.add_typer(cli_ca.app, name="ca")
app.add_typer(cli_time.seat, name="seat")
app.add_typer(cli_gateway.app, name="gateway")
app.add_typer(cli_notices.app, name="notices")
COMMANDS: tuple[Callable[..., None], ...] = (cli_doctor.doctor, *cli_family.COMMANDS, *cli_time.COMMANDS, *cli_policy.COMMANDS)
for command in COMMANDS:
    app.command()(command)

DEFAULTS = {"dns": (53, 5300), "proxy": (3128, 3128), "web": (8053, 8053)}
"""The port with the right to those below 1024, and without."""


class Profile(StrEnum):
    STANDARD = "standard"
    SMALL = "small"


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"hedgerow {__version__}")
        raise typer.Exit


@app.callback()
def root(
    _version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Filters DNS and HTTP(S) for a home or a café, under one policy file."""


@app.command()
def up(
    policy: PolicyFile = None,
    state: StateDir = None,
    dns: Annotated[str | None, typer.Option(metavar="ADDR:PORT", help="Where to answer DNS.")] = None,
    proxy: Annotated[str | None, typer.Option(metavar="ADDR:PORT", help="Where to serve the proxy.")] = None,
    web: Annotated[str | None, typer.Option(metavar="ADDR:PORT", help="Where to serve the pages.")] = None,
    transparent: Annotated[
        str | None, typer.Option(metavar="ADDR:PORT", help="Where the network redirects web connections to (default: nowhere).")
    ] = None,
    dot: Annotated[str | None, typer.Option(metavar="ADDR:PORT", help="Where to answer DNS over TLS (default: nowhere).")] = None,
    doh: Annotated[str | None, typer.Option(metavar="ADDR:PORT", help="Where to answer DNS over HTTPS (default: nowhere).")] = None,
    doq: Annotated[str | None, typer.Option(metavar="ADDR:PORT", help="Where to answer DNS over QUIC (default: nowhere).")] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes for DNS, and as many for the proxy.")] = 1,
    inspectors: Annotated[int, typer.Option(min=1, max=64, help="Processes that inspect pages.")] = 1,
    profile: Annotated[Profile, typer.Option(help="`small` for machines with little memory: one process of each kind, small caches.")] = (
        Profile.STANDARD
    ),
    log_level: Annotated[LogLevel, typer.Option(help="What is logged to standard error.")] = LogLevel.INFO,
    log_json: Annotated[bool, typer.Option("--log-json", help="Log one JSON object a line.")] = False,
    upstream_ca: Annotated[
        Path | None, typer.Option(help="A file of CAs to trust for web sites and encrypted resolvers, beside the usual ones.")
    ] = None,
) -> None:
    """Run the filter until told to stop. SIGHUP reloads the policy file; so does changing it."""
    state = (state or default_state()).absolute()
    policy = find_policy(policy)
    start_logs("supervisor", log_level.value, log_json)
    os.umask(0o077)
    network = _policy_in_force(policy, state).network
    listen = network.listen
    if profile is Profile.SMALL and max(workers, inspectors) > 1:
        fail("--profile small runs one process of each kind: leave out --workers and --inspectors, or the profile.")
    try:
        chosen = {name: _endpoint(name, option or getattr(listen, name)) for name, option in (("dns", dns), ("proxy", proxy), ("web", web))}
        settings = Settings(
            state=state,
            policy=policy,
            workers=workers,
            inspectors=inspectors,
            profile=profile.value,
            log_level=log_level.value,
            log_json=log_json,
            upstream_ca=_authorities(upstream_ca) if upstream_ca else None,
            transparent=parse_endpoint(found) if (found := transparent or listen.transparent) else None,
            dot=parse_endpoint(found) if (found := dot or listen.dot) else None,
            doh=parse_endpoint(found) if (found := doh or listen.doh) else None,
            doq=parse_endpoint(found) if (found := doq or listen.doq) else None,
            page=_page_places(network.resolver),
            **chosen,
        )
        settings, lock = prepare(settings)
    except (StartError, ValueError) as error:
        fail(str(error))
    become_supervisor(settings, lock)


def _endpoint(name: str, text: str | None) -> Endpoint:
    """Raises ValueError."""
    if text is not None:
        return parse_endpoint(text)
    privileged, otherwise = DEFAULTS[name]
    return Endpoint("0.0.0.0", privileged if may_use_low_ports() else otherwise)  # noqa: S104 (clients outside the LAN are refused)


def _page_places(resolver: ResolverSettings) -> tuple[Endpoint, ...]:
    """Where devices look for blocked sites: at the block page's addresses, by HTTP and by HTTPS."""
    addresses = resolver.block_page if resolver.blocked_answer is BlockedAnswer.PAGE else ()
    return tuple(Endpoint(address, port) for address in addresses for port in (80, 443))


def _authorities(path: Path) -> Path:
    """Raises ValueError for a file that holds no certificates of CAs."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except OSError as error:
        raise ValueError(f"{path} can't be used as --upstream-ca: {error.strerror or error}.") from None
    return path.absolute()


def _policy_in_force(path: Path | None, state: Path) -> Policy:
    """The file's policy; where it is broken, the one that was in force before, which goes on protecting; else the end."""
    try:
        return load_policy(path)
    except PolicyError as error:
        _print_problems(error)
        try:
            last = Snapshot.load(state).policy
        except (OSError, ValueError):
            fail(f"{path} has mistakes, and there is no earlier policy to go on with. Nothing was started.")
        if last.path != (str(path) if path else None):
            fail(f"{path} has mistakes. Nothing was started.")
        print(f"{path} has mistakes: the last good policy stays in force.", file=sys.stderr)
        return last


def _print_problems(error: PolicyError) -> None:
    for problem in error.problems:
        print(problem, file=sys.stderr)


@app.command()
def explain(
    device: Annotated[str, typer.Argument(metavar="DEVICE", help="A device's name, address or MAC; or whose it is.")],
    target: Annotated[str, typer.Argument(metavar="HOST-OR-URL", help="What it wants.")],
    policy: PolicyFile = None,
    state: StateDir = None,
    at: Annotated[str | None, typer.Option(metavar="TIME", help="When, such as 20:45 or 2026-01-31T20:45 (default: now).")] = None,
    as_json: AsJson = False,
) -> None:
    """Explain why a device may or may not have something: every step that was considered, with file and line."""
    with _view_to_explain(find_policy(policy), (state or default_state()).absolute()) as view:
        _explain(view, device, target, at, as_json)


def _explain(view: View, device: str, target: str, at: str | None, as_json: bool) -> None:
    found = _device_to_explain(view, device)
    zone = view.rulesets.zone_of(found)
    try:
        moment = parse_moment(at, datetime.now(zone)) if at else datetime.now(zone)
        told = explain_request(view.rulesets, view.catalogue, found, target, moment.timestamp())
    except ValueError as error:
        fail(f"{error}.")
    if as_json:
        print(TypeAdapter(Explanation).dump_json(told, indent=1).decode())
    else:
        _print_explanation(told, view.policy, zone)


def _device_to_explain(view: View, name: str) -> Device:
    """A device, or the first that a person has; the explanation names it."""
    devices = view.policy.devices
    found = find_device(view.rulesets, name)
    found = found or next((each for each in devices.values() if name in (each.person, *each.sharers)), None)
    if found is None and name in view.policy.people:
        fail(f"{name} has no device yet.")
    if found is None:
        hint = suggest(name, [*devices, *view.policy.people])
        fail(f"There is no device '{name}', and it is not an address of this network.{hint}")
    return found


def parse_moment(text: str, now: datetime) -> datetime:
    """A time of a date, or of today, on the clocks of `now`'s zone unless it says another. Raises ValueError with a plain sentence.

    >>> now = datetime(2026, 11, 25, 8)
    >>> str(parse_moment("20:45", now)), str(parse_moment("2026-12-24 18:00", now))
    ('2026-11-25 20:45:00', '2026-12-24 18:00:00')
    """
    try:
        moment = datetime.fromisoformat(f"{now:%Y-%m-%d} {text:0>5}" if re.fullmatch(r"\d{1,2}:\d{2}", text) else text)
    except ValueError:
        raise ValueError(f"'{text}' is not a moment, such as 20:45 for today or 2026-01-31T20:45") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=now.tzinfo)


@contextlib.contextmanager
def _view_to_explain(policy: Path | None, state: Path) -> Iterator[View]:
    """What is in force in `state`; or, where another policy is asked for or nothing has run, that policy over freshly compiled lists."""
    try:
        snapshot = Snapshot.load(state)
    except (OSError, ValueError):
        snapshot = None
    if snapshot is not None and (policy is None or snapshot.policy.path == str(policy)):
        yield View(snapshot)
        return
    try:
        wanted = load_policy(policy)
        with tempfile.TemporaryDirectory(prefix="hedgerow-") as folder:
            generation = asyncio.run(prepare_generation(wanted, Path(folder)))
            yield View(Snapshot(0, 0.0, wanted, generation))
    except PolicyError as error:
        _print_problems(error)
        fail(f"{policy} has mistakes.")
    except CompileError as error:
        fail(str(error))


def _print_explanation(told: Explanation, policy: Policy, zone: ZoneInfo) -> None:
    console = Console(highlight=False)
    console.print(f"{told.device} ({told.person or 'nobody in particular'}, {told.profile}) at {_clock(told.at, zone)}")
    for point in told.points:
        console.print(f"\n[bold]{point.request.kind.value}[/] {escape(point.request.url or point.request.host)}", soft_wrap=True)
        for step in point.steps:
            mark = "[bold]→[/]" if step.decided else " "
            console.print(f" {mark} {step.name}: {escape(step.why)}", soft_wrap=True)
    decision = told.decision
    what = f" ({decision.what})" if decision.what else ""
    rule = f", rule {decision.rule}" if decision.rule else ""
    until = f", until {_clock(decision.until, zone)}" if decision.until is not None else ""
    colour = "red" if decision.verdict is Verdict.BLOCK else "green"
    console.print(f"\n[{colour}]{decision.verdict.value}[/]: {decision.reason.value}{escape(f'{what}{rule}{until}')}", soft_wrap=True)
    if decision.rule is not None and (place := place_of(decision.rule.source, policy)):
        console.print(f"in {place}" + (f": {decision.rule.text}" if decision.rule.line else ""), soft_wrap=True, markup=False)


def _clock(instant: float, zone: ZoneInfo) -> str:
    return f"{datetime.fromtimestamp(instant, zone):%a %Y-%m-%d %H:%M}"


def main() -> NoReturn:
    app()
    sys.exit(0)
