"""The tunnel home as control knows it: this machine's keys, each device's use, and notices.

The gateway's process keeps the interface.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, replace

from hedgerow.app.settings import Settings
from hedgerow.app.snapshot import LoadedSnapshot
from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.notices import Notice, localized
from hedgerow.dashboards.words.languages import message
from hedgerow.features.away.wireguard import LEVEL, PeerActivity, TunnelSecrets, public_key_of
from hedgerow.features.contract import ControlService, Core
from hedgerow.files import error_text, make_private_folder, write_atomically
from hedgerow.network.neighbours import answering
from hedgerow.network.own_addresses import lan_address, own_addresses
from hedgerow.policies.model import Device, DeviceId, Policy
from hedgerow.policies.network import TunnelSettings
from hedgerow.policies.notices import NoticeTopic
from hedgerow.task_state import Area
from hedgerow.ticks import next_tick

WATCH_EVERY_S, OFF_S = 60.0, 3600.0


@dataclass(frozen=True, slots=True)
class TunnelHome:
    """This machine's end of the tunnel home.

    `pages` are addresses of the block page and of a device's own page at home.
    """

    settings: TunnelSettings
    public_key: str
    pages: tuple[str, ...]
    preshared_key: Callable[[str], str]


class TunnelService:
    """This machine's keys, and the use that devices make of the tunnel."""

    def __init__(self, settings: Settings, policy: Callable[[], Policy]) -> None:
        self._settings, self._policy = settings, policy
        self._activity: dict[str, PeerActivity] = {}

    def home(self) -> TunnelHome:
        """Return this machine's end, whose keys are made first if need be.

        Raises `InvalidInput` if a tunnel is not possible.
        """
        network = self._policy().network
        if network.tunnel is None:
            raise InvalidInput(
                "There is no tunnel yet: add `tunnel` with an `endpoint` under `network` in the policy file."
            )
        if not self._settings.gateway_file.exists():
            raise InvalidInput("The tunnel needs the gateway on this machine: hedgerow gateway apply")
        try:
            secrets = self._secrets()
        except (OSError, ValueError) as error:
            raise InvalidInput("The tunnel's keys can't be used: %(why)s.", why=error_text(error)) from None
        own = lan_address(own_addresses(), network)
        pages = dict.fromkeys((*self._settings.page_addresses, *([own] if own is not None else [])))
        return TunnelHome(network.tunnel, public_key_of(secrets.private), tuple(pages), secrets.preshared_key)

    def activity(self, device: Device) -> PeerActivity:
        """Return a device's use of the tunnel."""
        return self._activity.get(device.tunnel.key, PeerActivity()) if device.tunnel is not None else PeerActivity()

    def note(self, key: str, what: str, value: float) -> None:
        """Take a level that the gateway's process reports: an attribute of `PeerActivity` for the device with a public
        key.
        """
        known = self._activity.get(key, PeerActivity())
        match what:
            case "handshake":
                self._activity[key] = replace(known, handshake=value or None)
            case "received":
                self._activity[key] = replace(known, received=int(value))
            case "sent":
                self._activity[key] = replace(known, sent=int(value))

    def _secrets(self) -> TunnelSecrets:
        """Return this machine's keys, which the first device needs to be made. Raises OSError and ValueError."""
        path = self._settings.tunnel_secrets
        secrets = TunnelSecrets.load(path)
        if secrets is None:
            secrets = TunnelSecrets.new()
            make_private_folder(path.parent)
            write_atomically(path, secrets.as_file())
        return secrets


class TunnelWatch:
    """Notices about a child's device that is neither at home nor in its tunnel for an hour, at a time when it may use
    the internet.
    """

    def __init__(
        self,
        service: TunnelService,
        view: Callable[[], LoadedSnapshot | None],
        enqueue: Callable[[list[Notice]], None],
        answering: Callable[[Collection[str], Collection[str]], Awaitable[set[str]]] = answering,
    ) -> None:
        self._service, self._view, self._enqueue, self._answering = service, view, enqueue, answering
        self._off: dict[DeviceId, float] = {}

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            await next_tick(WATCH_EVERY_S)
            with contextlib.suppress(OSError):
                self._enqueue(await self.step(time.time()))

    async def step(self, now: float) -> list[Notice]:
        """Return the notices that are due. Raises OSError."""
        view = self._view()
        devices = view.policy.devices.values() if view is not None else ()
        silent = [
            each for each in devices if each.tunnel is not None and not self._service.activity(each).is_connected(now)
        ]
        watched = [each for each in silent if view is not None and _may_use_a_filtered_internet(view, each, now)]
        macs = {mac for device in watched for mac in device.macs}
        addresses = {
            str(each.network_address) for device in watched for each in device.networks if each.num_addresses == 1
        }
        here = await self._answering(macs, addresses) if watched else set()
        away = [each for each in watched if here.isdisjoint(_home_addresses(each))]
        self._off = {each.id: self._off.get(each.id, now) for each in away}
        return [_off_notice(each) for each in away if now - self._off[each.id] >= OFF_S]


def _may_use_a_filtered_internet(view: LoadedSnapshot, device: Device, now: float) -> bool:
    ruleset = view.rulesets.ruleset(device, now)
    return bool(ruleset.rules.bypass) and ruleset.closed is None


def _home_addresses(device: Device) -> set[str]:
    return {*device.macs, *(str(network.network_address) for network in device.networks)}


def _off_notice(device: Device) -> Notice:
    who = f"{device.person} ({device.id})" if device.person else device.id
    text = message(
        "%(who)s: not at home, and the tunnel home has been off for an hour. The device may also be switched off or"
        " offline."
    )
    return Notice(NoticeTopic.BYPASS, f"{device.id} tunnel", localized(text, who=who))


def tunnel_of(core: Core) -> TunnelService:
    """Make the part of control that knows the tunnel."""
    return TunnelService(core.settings, policy=lambda: core.policy)


def tunnel_service(core: Core) -> ControlService:
    """Return the service that takes what the gateway's process reports, and sends notices."""
    tunnel = core.part(tunnel_of)
    return ControlService(
        name="tunnel",
        run=TunnelWatch(tunnel, view=lambda: core.snapshots.view, enqueue=core.notify).run,
        area=Area.TUNNEL,
        handles={LEVEL: lambda _batch, level: tunnel.note(level.labels[0], level.labels[1], level.value)},
    )
