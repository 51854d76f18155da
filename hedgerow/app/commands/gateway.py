"""`hedgerow gateway`: keeps the traffic of children's devices on the path through Hedgerow, on the machine that is their router."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from hedgerow.app.commands.options import JsonOption, StateOption, fail, print_result
from hedgerow.app.control.gateway import GatewayConfig, build_gateway, delete_config, device_states_of, is_unmodified, record_ruleset
from hedgerow.app.settings import Settings, default_state
from hedgerow.app.snapshot import LoadedSnapshot, Snapshot
from hedgerow.network import gateway as nftables
from hedgerow.network import interfaces
from hedgerow.network.access_state import AccessState, DeviceStates
from hedgerow.network.gateway_rules import Gateway, render_table

app = typer.Typer(help="Keep devices on the path, on the machine that is their router (nftables).", no_args_is_help=True)

Lan = Annotated[list[str] | None, typer.Option("--lan", metavar="INTERFACE", help="An interface with devices on it; may be repeated.")]
Strict = Annotated[
    bool | None,
    typer.Option("--strict/--no-strict", help="Guarded devices get names, pages and the time, and nothing else (no calls, no games)."),
]
AllowIpsec = Annotated[
    bool | None,
    typer.Option("--allow-ipsec/--refuse-ipsec", help="Let phones call over Wi-Fi, which is IPsec; VPNs of that kind then work too."),
]
AllowSsh = Annotated[
    bool | None,
    typer.Option("--allow-ssh/--refuse-ssh", help="Let guarded devices use SSH; whoever has a server outside can tunnel through it."),
]


STILL_CHOSEN = (
    "The gateway is gone, but a Hedgerow that runs or starts puts it back, so stop it: systemctl stop hedgerow. "
    "That the gateway was chosen can't be forgotten"
)


@app.command()
def plan(
    lan: Lan = None,
    strict: Strict = None,
    allow_ipsec: AllowIpsec = None,
    allow_ssh: AllowSsh = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what `apply` would do, and change nothing. With --json: the commands, as `nft -j -f -` takes them."""
    folder = (state or default_state()).absolute()
    with _plain_errors():
        gateway, device_states = _load_gateway(_choice(folder, lan, strict=strict, allow_ipsec=allow_ipsec, allow_ssh=allow_ssh), folder)
    if as_json:
        print(json.dumps({"nftables": render_table(gateway, device_states)}, indent=1))
        return
    for line in _described(gateway, device_states):
        print(line)


@app.command()
def apply(
    lan: Lan = None,
    strict: Strict = None,
    allow_ipsec: AllowIpsec = None,
    allow_ssh: AllowSsh = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put the gateway in place; a running Hedgerow then keeps it so. Without options: as it was chosen the last time."""
    folder = (state or default_state()).absolute()
    with _plain_errors():
        choice = _choice(folder, lan, strict=strict, allow_ipsec=allow_ipsec, allow_ssh=allow_ssh)
        gateway, device_states = _load_gateway(choice, folder)
        nftables.check(gateway, device_states)  # raises where nftables refuses it, before anything is changed
        choice.save(folder)  # before the table comes: one that nobody chose would be kept by nobody, and be gone after a boot
        nftables.install(gateway, device_states)
        record_ruleset(folder)
    warnings = list(_warnings(gateway))
    place = f"The gateway is in place on {', '.join(choice.lan)}. To take it away: hedgerow gateway remove"
    print_result(as_json, {"in_place": True, "lan": choice.lan, "warnings": warnings}, place, *(f"warning: {each}" for each in warnings))


@app.command()
def remove(state: StateOption = None, as_json: JsonOption = False) -> None:
    """Take the gateway away, in an emergency too: at once and without a trace, whether or not Hedgerow runs."""
    folder = (state or default_state()).absolute()
    with _plain_errors():
        nftables.is_installed()  # raises where nftables is closed to us, before anything is changed
        try:
            delete_config(folder)  # before the table goes, so that control does not put it back
        except OSError as error:
            if isinstance(error, PermissionError):
                raise
            nftables.remove()
            fail(f"{STILL_CHOSEN} ({error.strerror}: {error.filename}).")
        nftables.remove()
    print_result(as_json, {"in_place": False}, "The gateway is gone: devices reach the internet as the machine's other rules let them.")


@app.command()
def status(state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show whether the gateway is in place, for whom, and what it did. The exit status is 1 where it is chosen but not as it was put."""
    folder = (state or default_state()).absolute()
    with _plain_errors():
        choice, found = GatewayConfig.load(folder), nftables.installed_table()
        device_states = device_states_of(_view(folder), time.time()) if choice else None
        is_changed = found is not None and choice is not None and not is_unmodified(folder, found)
    if as_json:
        chosen = asdict(choice) if choice else None
        facts = {"in_place": found is not None, "changed": is_changed, "chosen": chosen, "packets": found.counters if found else {}}
        print(json.dumps(facts | ({"devices": _by_standing(device_states)} if device_states else {}), indent=1))
    else:
        print(_place(found is not None, is_changed))
        for line in _standings(device_states) if device_states else ():
            print(line)
        for what, packets in sorted((found.counters if found else {}).items()):
            print(f"{packets:8}  {what}")
    if choice is not None and (found is None or is_changed):
        raise typer.Exit(1)


def _place(is_there: bool, is_changed: bool) -> str:
    if is_changed:
        return "The gateway's table is there, but something else has changed its rules. To put them back: hedgerow gateway apply"
    return "The gateway is in place." if is_there else "The gateway is not in place."


@contextmanager
def _plain_errors() -> Iterator[None]:
    try:
        yield
    except (nftables.GatewayError, ValueError) as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}.")


def _choice(state: Path, lan: list[str] | None, **wishes: bool | None) -> GatewayConfig:
    """What was asked for now over what was chosen before. Raises GatewayError, OSError, ValueError."""
    try:
        before = GatewayConfig.load(state)
    except ValueError:
        if not lan:
            raise
        before = None  # what is said now takes the place of what can't be read
    names = tuple(dict.fromkeys(lan)) if lan else before.lan if before else _only_lan()
    # One that was chosen before may come later: at boot the gateway is in place before the network.
    missing = [name for name in names if name not in interfaces.interface_names()] if lan else []
    if missing:
        raise nftables.GatewayError(f"There is no interface {missing[0]}: there are {', '.join(interfaces.interface_names()) or 'none'}.")
    said = {wish: value for wish, value in wishes.items() if value is not None}
    return replace(before or GatewayConfig(names), lan=names, **said)


def _only_lan() -> tuple[str, ...]:
    """The one interface that does not lead to the internet; a guess among several would guard the wrong side."""
    inner = [name for name in interfaces.interface_names() if name not in interfaces.uplinks()]
    if len(inner) != 1:
        found = ", ".join(interfaces.interface_names()) or "none"
        raise nftables.GatewayError(f"Say on which interface the devices are, with --lan. There are {found}.")
    return tuple(inner)


def _load_gateway(choice: GatewayConfig, state: Path) -> tuple[Gateway, DeviceStates]:
    try:
        settings = Settings.load(state)
    except OSError:
        raise nftables.GatewayError(f"No Hedgerow has run with the state directory {state}: start it with `hedgerow up` first.") from None
    view = _view(state)
    return build_gateway(choice, settings, view.policy.network.ports), device_states_of(view, time.time())


def _view(state: Path) -> LoadedSnapshot:
    return LoadedSnapshot(Snapshot.load(state))


def _described(gateway: Gateway, device_states: DeviceStates) -> Iterator[str]:
    ports = ", ".join(map(str, gateway.redirect_ports.redirected_ports))
    pages = f"names and pages (ports {ports})" if ports else "names"
    yield f"On {', '.join(gateway.lan)}{' (which leads to the internet as well)' if gateway.one_armed else ''}, in the table inet hedgerow:"
    yield f"  guarded and closed devices: {pages} come to Hedgerow, whoever they were meant for"
    yield "  guarded devices: other resolvers, encrypted DNS (ports 853, known addresses) and QUIC are refused, web proxies and tunnels too"
    if gateway.allow_ipsec:
        yield "  guarded devices: IPsec passes, for calls over Wi-Fi"
    if gateway.allow_ssh:
        yield "  guarded devices: SSH passes, whatever it is used for"
    if gateway.strict:
        yield "  guarded devices: anything that is no name, no page and not the time is refused"
    yield "  closed devices: nothing leaves, and what was open is cut"
    yield "  open devices: untouched"
    yield from _standings(device_states)
    for warning in _warnings(gateway):
        yield f"warning: {warning}"


def _warnings(gateway: Gateway) -> Iterator[str]:
    if gateway.redirect_ports.pages is None:
        yield "pages come to Hedgerow only where a device names it as its proxy: start it with `hedgerow up --transparent 0.0.0.0:3129`"
    others = sorted({*interfaces.interface_names()} - {*gateway.lan} - interfaces.uplinks())
    if others:
        yield f"devices on {', '.join(others)} are not kept on the path: if there are any, name it with --lan too"
    yield from _path_warnings(gateway)


def _path_warnings(gateway: Gateway) -> Iterator[str]:
    """Whether packets of devices come by at all."""
    if interfaces.uplink_bridges() & set(gateway.lan):
        for family, looks in interfaces.bridge_filtering().items():
            if not looks:
                yield f"{family} that crosses the bridge is not looked at: {interfaces.BRIDGE_FILTERING_COMMANDS}"
        return
    for family, passes_on in interfaces.ip_forwarding().items():
        if not passes_on:
            yield f"this machine does not forward {family}, so devices have another router for it and are not kept on the path"
    if gateway.one_armed:
        yield "devices on the same wire as the internet's router can use that router instead: see docs/install/beside-a-router.md"


def _standings(device_states: DeviceStates) -> Iterator[str]:
    for access, names in _by_standing(device_states).items():
        yield f"{access}: {', '.join(names) or 'nobody'}"


def _by_standing(device_states: DeviceStates) -> dict[str, list[str]]:
    found = {access.value: list(device_states.macs_in(access)) for access in AccessState}
    for access in AccessState:
        found[access.value] += [str(network) for version in (4, 6) for network in device_states.networks_in(access, version)]
    found[device_states.others.value].append("all others")
    return found
