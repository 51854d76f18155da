"""`hedgerow gateway`: force the traffic of children's devices through Hedgerow, on the machine that is their router."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from hedgerow.app.commands.options import JsonOption, StateOption, fail, print_json, print_result, state_directory
from hedgerow.app.gateway.config import GatewayConfig
from hedgerow.app.gateway.controller import (
    build_gateway,
    delete_config,
    device_states_of,
    installing,
    is_unmodified,
    record_ruleset,
)
from hedgerow.app.logs import start_logs
from hedgerow.app.privileges import keep_role_capabilities
from hedgerow.app.settings import Settings
from hedgerow.app.snapshot import LoadedSnapshot, Snapshot
from hedgerow.network import gateway as nftables
from hedgerow.network import interfaces
from hedgerow.network.access_state import AccessState, DeviceStates
from hedgerow.network.gateway_rules import Gateway, render_table
from hedgerow.network.source_rules import TUNNEL_INTERFACE

app = typer.Typer(
    help="Force devices through Hedgerow, on the machine that is their router (nftables).", no_args_is_help=True
)

Lan = Annotated[
    list[str] | None,
    typer.Option("--lan", metavar="INTERFACE", help="An interface to which devices are connected; may be repeated."),
]
Strict = Annotated[
    bool | None,
    typer.Option("--strict/--no-strict", help="Let guarded devices use DNS, the web and NTP only: no calls, no games."),
]
AllowIpsec = Annotated[
    bool | None,
    typer.Option(
        "--allow-ipsec/--refuse-ipsec", help="Allow IPsec, which Wi-Fi calling needs; IPsec VPNs then work too."
    ),
]
AllowSsh = Annotated[
    bool | None,
    typer.Option(
        "--allow-ssh/--refuse-ssh",
        help="Allow SSH from guarded devices, which can also carry a tunnel to a server outside.",
    ),
]
AnyDestination = Annotated[
    bool | None,
    typer.Option(
        "--any-destination/--named-destinations",
        help=(
            "Let guarded devices open connections to any address, not only to those that Hedgerow's DNS gave them and"
            " to network.flows."
        ),
    ),
]


STILL_CHOSEN = (
    "The gateway is removed, but a running Hedgerow will put it back, so stop it: systemctl stop hedgerow-gateway.path"
    " hedgerow-gateway. The configuration can't be deleted"
)


@app.command()
def plan(
    lan: Lan = None,
    strict: Strict = None,
    allow_ipsec: AllowIpsec = None,
    allow_ssh: AllowSsh = None,
    any_destination: AnyDestination = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what `apply` would do, without changing anything. With --json: the commands, as input for `nft -j -f -`."""
    folder = state_directory(state)
    with _plain_errors():
        config = _configuration(
            folder, lan, strict=strict, allow_ipsec=allow_ipsec, allow_ssh=allow_ssh, any_destination=any_destination
        )
        gateway, device_states = _load_gateway(config, folder)
    if as_json:
        print_json({"nftables": render_table(gateway, device_states)})
        return
    for line in _description(gateway, device_states):
        print(line)


@app.command()
def apply(
    lan: Lan = None,
    strict: Strict = None,
    allow_ipsec: AllowIpsec = None,
    allow_ssh: AllowSsh = None,
    any_destination: AnyDestination = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put the gateway in place; a running Hedgerow keeps it there. Without options it uses the last configuration."""
    folder = state_directory(state)
    with _plain_errors():
        config = _configuration(
            folder, lan, strict=strict, allow_ipsec=allow_ipsec, allow_ssh=allow_ssh, any_destination=any_destination
        )
        gateway, device_states = _load_gateway(config, folder)
        nftables.check(gateway, device_states)  # raises if nftables refuses it, before anything changes
        with installing(folder):
            config.save(folder)  # before the table: without its configuration, nothing would restore it after a boot
            nftables.install(gateway, device_states)
            record_ruleset(folder)
    warnings = list(_warnings(gateway))
    place = f"The gateway is in place on {', '.join(config.lan)}. To remove it: hedgerow gateway remove"
    print_result(
        as_json,
        {"in_place": True, "lan": config.lan, "warnings": warnings},
        place,
        *(f"warning: {each}" for each in warnings),
    )


@app.command()
def run(state: StateOption = None) -> None:
    """Put the configured gateway in place and keep it there, as a service of its own along with `hedgerow up
    --no-gateway`.

    It ends when the gateway is removed or Hedgerow was started with other settings; a service manager then starts it
    again.
    """
    from hedgerow.app.gateway.process import keep_gateway

    folder = state_directory(state)
    apply(state=state)
    settings = Settings.load(folder)
    start_logs("gateway", settings.log_level, settings.log_json)
    keep_role_capabilities("gateway", folder)
    asyncio.run(keep_gateway(settings))


@app.command()
def remove(state: StateOption = None, as_json: JsonOption = False) -> None:
    """Take the gateway away at once and without a trace, whether or not Hedgerow runs."""
    folder = state_directory(state)
    with _plain_errors():
        nftables.is_installed()  # raises if we may not use nftables, before anything changes
        try:
            with installing(folder) if folder.is_dir() else nullcontext():
                delete_config(folder)
                nftables.remove()
        except OSError as error:
            if isinstance(error, PermissionError):
                raise
            nftables.remove()
            fail(f"{STILL_CHOSEN} ({error.strerror}: {error.filename}).")
    print_result(
        as_json, {"in_place": False}, "The gateway is removed: only the machine's other rules apply to devices."
    )


@app.command()
def status(state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show the state of the gateway, its devices and packet counts.

    The exit status is 1 if it is configured but missing or changed.
    """
    folder = state_directory(state)
    with _plain_errors():
        config, table = GatewayConfig.load(folder), nftables.installed_table()
        device_states = device_states_of(_view(folder), time.time()) if config else None
        is_changed = table is not None and config is not None and not is_unmodified(folder, table)
    if as_json:
        chosen = asdict(config) if config else None
        facts = {
            "in_place": table is not None,
            "changed": is_changed,
            "chosen": chosen,
            "packets": table.counters if table else {},
        }
        print_json(facts | ({"devices": _by_access(device_states)} if device_states else {}))
    else:
        print(_state_sentence(table is not None, is_changed))
        for line in _access_lines(device_states) if device_states else ():
            print(line)
        for what, packets in sorted((table.counters if table else {}).items()):
            print(f"{packets:8}  {what}")
    if config is not None and (table is None or is_changed):
        raise typer.Exit(1)


def _state_sentence(is_there: bool, is_changed: bool) -> str:
    if is_changed:
        return (
            "The gateway's table is there, but something else has changed its rules. To restore them: hedgerow gateway"
            " apply"
        )
    return "The gateway is in place." if is_there else "The gateway is not in place."


@contextmanager
def _plain_errors() -> Iterator[None]:
    try:
        yield
    except (nftables.GatewayError, ValueError) as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}.")


def _configuration(state: Path, lan: list[str] | None, **options: bool | None) -> GatewayConfig:
    """The last configuration with the given options on top. Raises GatewayError, OSError, ValueError."""
    try:
        before = GatewayConfig.load(state)
    except ValueError:
        if not lan:
            raise
        before = None  # the options replace the unreadable file
    names = tuple(dict.fromkeys(lan)) if lan else before.lan if before else _only_lan()
    # A configured interface may appear later: at boot the gateway is in place before the network.
    missing = [name for name in names if name not in interfaces.interface_names()] if lan else []
    if missing:
        raise nftables.GatewayError(
            f"There is no interface {missing[0]}: there are {', '.join(interfaces.interface_names()) or 'none'}."
        )
    changes = {name: value for name, value in options.items() if value is not None}
    return replace(before or GatewayConfig(names), lan=names, **changes)


def _only_lan() -> tuple[str, ...]:
    """The only interface that does not lead to the internet. With several, a guess could guard the wrong side."""
    inner = [name for name in interfaces.interface_names() if name not in {*interfaces.uplinks(), TUNNEL_INTERFACE}]
    if len(inner) != 1:
        names = ", ".join(interfaces.interface_names()) or "none"
        raise nftables.GatewayError(f"Name the interface of the devices with --lan. There are {names}.")
    return tuple(inner)


def _load_gateway(config: GatewayConfig, state: Path) -> tuple[Gateway, DeviceStates]:
    try:
        settings = Settings.load(state)
    except OSError:
        raise nftables.GatewayError(
            f"No Hedgerow has run with the state directory {state}: start it with `hedgerow up` first."
        ) from None
    view = _view(state)
    return build_gateway(config, settings, view.policy.network), device_states_of(view, time.time())


def _view(state: Path) -> LoadedSnapshot:
    return LoadedSnapshot(Snapshot.in_force(state))


def _description(gateway: Gateway, device_states: DeviceStates) -> Iterator[str]:
    ports = ", ".join(map(str, gateway.redirect_ports.redirected_ports))
    traffic = f"DNS and web (ports {ports})" if ports else "DNS"
    places = ", ".join(gateway.guarded)
    yield (
        f"On {places}{' (which also leads to the internet)' if gateway.one_armed else ''}, in the table inet hedgerow:"
    )
    yield f"  guarded, held and closed devices: {traffic} is redirected to Hedgerow, whatever its destination"
    yield (
        "  guarded devices: other resolvers, encrypted DNS (port 853, known addresses), QUIC, web proxies and tunnels"
        " are refused"
    )
    if gateway.allow_ipsec:
        yield "  guarded devices: IPsec is allowed, for Wi-Fi calling"
    if gateway.allow_ssh:
        yield "  guarded devices: SSH is allowed, tunnels included"
    if gateway.any_destination and not gateway.strict:
        yield "  guarded devices: connections to any address are allowed"
    elif not gateway.strict:
        yield (
            "  guarded devices: new connections only to addresses that DNS lately gave the device, and as network.flows"
            " says"
        )
    if gateway.strict:
        yield "  guarded devices: everything but DNS, the web and NTP is refused"
    yield "  held devices (nobody has named them): everything but DNS, the web and NTP is refused"
    yield "  closed devices: nothing passes, and open connections are cut"
    yield "  open devices: untouched"
    yield from _access_lines(device_states)
    for warning in _warnings(gateway):
        yield f"warning: {warning}"


def _warnings(gateway: Gateway) -> Iterator[str]:
    if gateway.redirect_ports.pages is None:
        yield (
            "only devices that use Hedgerow as their proxy send it web traffic: start it with `hedgerow up"
            " --transparent 0.0.0.0:3129`"
        )
    others = sorted({*interfaces.interface_names()} - {*gateway.guarded} - interfaces.uplinks())
    if others:
        yield (
            f"devices on {', '.join(others)} are not forced through Hedgerow: if there are any, name the interface with"
            " --lan too"
        )
    yield from _path_warnings(gateway)


def _path_warnings(gateway: Gateway) -> Iterator[str]:
    """Warnings about packets that never pass this machine."""
    if interfaces.uplink_bridges() & set(gateway.lan):
        for family, looks in interfaces.bridge_filtering().items():
            if not looks:
                yield f"{family} that crosses the bridge is not filtered: {interfaces.BRIDGE_FILTERING_COMMANDS}"
        return
    for family, passes_on in interfaces.ip_forwarding().items():
        if not passes_on:
            yield f"this machine does not forward {family}, so devices have another router for it and bypass the filter"
    if gateway.one_armed:
        yield (
            "devices on the same network as the internet router can use that router instead: see"
            " docs/install/beside-a-router.md"
        )


def _access_lines(device_states: DeviceStates) -> Iterator[str]:
    for access, names in _by_access(device_states).items():
        yield f"{access}: {', '.join(names) or 'nobody'}"


def _by_access(device_states: DeviceStates) -> dict[str, list[str]]:
    found = {access.value: list(device_states.macs_in(access)) for access in AccessState}
    for access in AccessState:
        found[access.value] += [
            str(network) for version in (4, 6) for network in device_states.networks_in(access, version)
        ]
    found[device_states.others.value].append("all others")
    return found
