"""The interface of the tunnel home, which the gateway's process keeps as the policy describes it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass

from hedgerow.app.gateway.reconciling import keep_reconciled
from hedgerow.app.snapshot import LoadedSnapshot
from hedgerow.features.away import wireguard
from hedgerow.features.away.wireguard import LEVEL, PeerActivity, TunnelError, TunnelSecrets
from hedgerow.features.contract import GatewayCore
from hedgerow.journal.event_sender import MetricSeries
from hedgerow.policies.text.addresses import IpNetwork

log = logging.getLogger("hedgerow.tunnel")

LOOK_EVERY_S = 5.0
"""Seconds between two looks at the handshakes."""
START_S = 5.0
"""Seconds that wireguard-go may take to start."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The interface as the policy describes it."""

    config: str
    addresses: tuple[str, ...]
    subnets: tuple[IpNetwork, ...]


class TunnelKeeper:
    """The interface, kept as the policy in force describes it.

    It is changed only while the gateway's table is in place for its addresses, since that decides what passes. The
    kernel's interface stays when Hedgerow ends, as the table does.
    """

    def __init__(self, core: GatewayCore) -> None:
        self._core = core
        self._in_force: _Wanted | None = None
        self._of_view: LoadedSnapshot | None = None
        self._user_space: subprocess.Popen[bytes] | None = None
        self._looked = 0.0

    async def run(self) -> None:
        """Keep the interface until cancelled."""
        await keep_reconciled(
            self._reconcile,
            self._forget,
            log=log,
            failure="The tunnel home can't be kept up: %s",
            errors=(TunnelError, OSError, ValueError),
        )

    def _forget(self) -> None:
        self._in_force = None

    async def close(self) -> None:
        """Remove the interface if the gateway was removed, since nothing would filter its packets, or if the policy
        no longer has a tunnel.
        """
        policy = self._core.policy
        has_tunnel = policy is None or policy.network.tunnel is not None
        if not (has_tunnel and self._core.settings.gateway_file.exists()) and wireguard.has_interface():
            with contextlib.suppress(TunnelError):
                await asyncio.to_thread(wireguard.remove_interface)
        if self._user_space is not None:
            self._user_space.terminate()
            self._user_space.wait()

    async def _reconcile(self) -> None:
        view = self._core.view()
        if view is None:
            return
        wanted = self._in_force if view is self._of_view and self._in_force is not None else self._wanted(view)
        if wanted is None:
            if wireguard.has_interface():
                await asyncio.to_thread(wireguard.remove_interface)
            self._in_force = None
            return
        if self._core.guarded_tunnel() != wanted.subnets:
            return
        if wanted != self._in_force or not wireguard.has_interface():
            await self._ensure_interface()
            await asyncio.to_thread(wireguard.configure, wanted.config, wanted.addresses)
            if self._in_force is None:
                log.info("the tunnel home is up")
        self._in_force, self._of_view = wanted, view
        if time.monotonic() - self._looked > LOOK_EVERY_S:
            self._looked = time.monotonic()
            self._report(await asyncio.to_thread(wireguard.activity))

    def _wanted(self, view: LoadedSnapshot) -> _Wanted | None:
        described, secrets = view.policy.network.tunnel, TunnelSecrets.load(self._core.settings.tunnel_secrets)
        if described is None or secrets is None or not self._core.settings.gateway_file.exists():
            return None
        peers = [
            (device.tunnel.key, device.tunnel.networks)
            for device in view.policy.devices.values()
            if device.tunnel is not None
        ]
        own = zip(described.subnets, described.addresses(), strict=True)
        addresses = tuple(f"{address.network_address}/{subnet.prefixlen}" for subnet, address in own)
        return _Wanted(wireguard.render_config(secrets, described.port, peers), addresses, described.subnets)

    async def _ensure_interface(self) -> None:
        if wireguard.has_interface() or await asyncio.to_thread(wireguard.add_kernel_interface):
            return
        # Not in a thread: wireguard-go ends with the thread that started it.
        self._user_space, deadline = wireguard.start_in_user_space(), time.monotonic() + START_S
        while not wireguard.is_served_in_user_space():
            if self._user_space.poll() is not None or time.monotonic() > deadline:
                raise TunnelError(
                    "wireguard-go does not start: it needs /dev/net/tun, and root or a directory /var/run/wireguard of"
                    " its own."
                )
            await asyncio.sleep(0.05)

    def _report(self, found: Mapping[str, PeerActivity]) -> None:
        now = time.time()
        connected = sum(each.is_connected(now) for each in found.values())
        levels: dict[MetricSeries, float] = {
            ("hedgerow_tunnel_devices", "connected"): float(connected),
            ("hedgerow_tunnel_devices", "silent"): float(len(found) - connected),
            ("hedgerow_tunnel_bytes_total", "in"): float(sum(each.received for each in found.values())),
            ("hedgerow_tunnel_bytes_total", "out"): float(sum(each.sent for each in found.values())),
        }
        for key, each in found.items():
            levels[LEVEL, key, "handshake"] = each.handshake or 0.0
            levels[LEVEL, key, "received"], levels[LEVEL, key, "sent"] = (
                float(each.received),
                float(each.sent),
            )
        self._core.report(levels)
