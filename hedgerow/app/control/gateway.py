"""The gateway as the people in charge chose it, and control's part in it: the table follows the rulesets.

The choice lies in the state directory as `gateway.json`; where there is none, nothing of nftables is touched. Hedgerow's end leaves the
table in place: children stay on the path, which then leads nowhere, and whoever is open is not concerned.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from hedgerow.app.files import write_atomically
from hedgerow.app.settings import WILDCARD_HOSTS, Settings
from hedgerow.app.snapshot import LoadedSnapshot
from hedgerow.network import gateway as nftables
from hedgerow.network.access_state import DeviceStates, compute_device_states
from hedgerow.network.gateway_rules import Gateway, RedirectPorts
from hedgerow.policies.model import DeviceId

log = logging.getLogger("hedgerow.gateway")

RECONCILE_INTERVAL_S = 0.5
VERIFY_INTERVAL_S = 2.0  # a reload of the machine's own firewall may flush everything, and people try things by hand


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """What `hedgerow gateway apply` was told. `lan` are interfaces."""

    lan: Annotated[tuple[str, ...], Field(min_length=1)]
    strict: bool = False
    allow_ipsec: bool = False
    allow_ssh: bool = False

    def save(self, state: Path) -> None:
        write_atomically(config_file(state), _ADAPTER.dump_json(self, indent=1), 0o644)  # root chooses, the service reads

    @staticmethod
    def load(state: Path) -> GatewayConfig | None:
        """None where nobody chose a gateway; raises OSError or ValueError where it can't be read."""
        try:
            return _ADAPTER.validate_json(config_file(state).read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise ValueError(f"{config_file(state)} can't be read: choose again, with hedgerow gateway apply --lan") from error


_ADAPTER = TypeAdapter(GatewayConfig)


def config_file(state: Path) -> Path:
    return state / "gateway.json"


def record_ruleset(state: Path) -> str:
    """Writes down in what form the table was put in place, for `is_unmodified`, and returns it; empty for none.

    A disk that takes nothing is no reason to do without the gateway: then nobody can tell later.
    """
    form = _ruleset_form()
    with contextlib.suppress(OSError):
        _record_file(state).unlink(missing_ok=True)
        write_atomically(_record_file(state), _digest(form), 0o644)
    return form


def is_unmodified(state: Path, found: nftables.InstalledTable) -> bool:
    """Whether the table is as Hedgerow put it in place, as far as that is known: an emptied one lets everything pass."""
    if _matches_record(state, found):
        return True
    time.sleep(RECONCILE_INTERVAL_S)  # control may just be putting it anew, and writes it down afterwards
    now = nftables.installed_table()
    return now is not None and _matches_record(state, now)


def _matches_record(state: Path, found: nftables.InstalledTable) -> bool:
    try:
        return _record_file(state).read_bytes() == _digest(found.fingerprint)
    except FileNotFoundError:
        return True


def delete_config(state: Path) -> None:
    """Forgets the choice: control then leaves nftables alone. Raises OSError."""
    config_file(state).unlink(missing_ok=True)
    _record_file(state).unlink(missing_ok=True)


def _record_file(state: Path) -> Path:
    return state / "gateway-form"


def _digest(form: str) -> bytes:
    return hashlib.sha256(form.encode("utf-8")).hexdigest().encode("ascii")


def build_gateway(choice: GatewayConfig, settings: Settings, ports: tuple[int, ...]) -> Gateway:
    """What the table is made for, on this machine as it is now; `ports` are those that the proxy serves.

    Raises OSError, and GatewayError where DNS listens elsewhere.
    """
    from hedgerow.network import interfaces  # here and not above: most machines have no gateway to carry its weight for

    if settings.dns.host not in WILDCARD_HOSTS:
        raise nftables.GatewayError(
            f"DNS is served at {settings.dns} only: the gateway needs it at every address, such as --dns 0.0.0.0:53."
        )
    one_armed = bool(interfaces.uplinks() & set(choice.lan))
    pages = settings.transparent.port if settings.transparent and settings.transparent.host in WILDCARD_HOSTS else None
    return Gateway(
        choice.lan, RedirectPorts(settings.dns.port, pages, ports), one_armed, choice.strict, choice.allow_ipsec, choice.allow_ssh
    )


def device_states_of(view: LoadedSnapshot, now: float) -> DeviceStates:
    """Who stands how, a budget of a device without a name included."""
    accounts = (spent.account.partition(":") for spent in view.snapshot.spent)
    return compute_device_states(view.rulesets, now, [DeviceId(id) for kind, _, id in accounts if kind == "device"])


class GatewayController:
    """Keeps the table in place and in step, from the control process. `view` tells what is in force, None before the start is over."""

    def __init__(self, settings: Settings, view: Callable[[], LoadedSnapshot | None]) -> None:
        self._settings = settings
        self._view = view
        self._in_force: tuple[Gateway, DeviceStates] | None = None
        self._ruleset_form = ""
        self._choice: GatewayConfig | None = None
        self._looked = 0.0
        self._logged = ""

    async def run(self) -> None:
        """Runs until cancelled."""
        while True:
            try:
                await self._step()
                self._logged = ""
            except (nftables.GatewayError, OSError, ValueError) as error:
                self._in_force = None
                if str(error) != self._logged:
                    log.error("The gateway is not as it should be: %s", error)
                self._logged = str(error)
            await asyncio.sleep(RECONCILE_INTERVAL_S)

    async def _step(self) -> None:
        choice, view = GatewayConfig.load(self._settings.state), self._view()
        if choice is None or view is None:
            self._in_force = None
            return
        device_states, in_force = device_states_of(view, time.time()), self._in_force
        # Looked at before it follows another census too: what somebody else did meanwhile must not count as ours afterwards.
        is_same = in_force is not None and choice == self._choice and device_states.is_same(in_force[1])
        if in_force is None or not is_same or self._is_time_to_look():
            in_force = await asyncio.to_thread(self._make_sure, choice, device_states, view.policy.network.ports)
        if not device_states.is_same(in_force[1]):
            await asyncio.to_thread(self._follow, device_states)
        self._in_force, self._choice = (in_force[0], device_states), choice

    def _is_time_to_look(self) -> bool:
        return time.monotonic() - self._looked > VERIFY_INTERVAL_S

    def _make_sure(self, choice: GatewayConfig, device_states: DeviceStates, ports: tuple[int, ...]) -> tuple[Gateway, DeviceStates]:
        """Puts the table in place where it is not, is not as we left it, or is made for something else, such as another way to the
        internet."""
        gateway = build_gateway(choice, self._settings, ports)
        if self._in_force is None or self._in_force[0] != gateway or _ruleset_form() != self._ruleset_form:
            nftables.install(gateway, device_states)
            self._ruleset_form = record_ruleset(self._settings.state)
            log.info("gateway in place on %s", ", ".join(choice.lan))
            if not config_file(self._settings.state).exists():
                nftables.remove()  # somebody removed the gateway at this very moment
            self._in_force = (gateway, device_states)
        self._looked = time.monotonic()
        return self._in_force

    def _follow(self, device_states: DeviceStates) -> None:
        nftables.update_states(device_states)
        self._ruleset_form = record_ruleset(self._settings.state)


def _ruleset_form() -> str:
    """The form of the table in place; empty for none."""
    found = nftables.installed_table()
    return found.fingerprint if found else ""
