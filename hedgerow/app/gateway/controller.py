"""The gateway's configuration, and its controller: the nftables table follows the rulesets.

The configuration is `gateway.json` in the state directory; without it, Hedgerow never touches nftables. The table stays
in place when Hedgerow ends: children's devices then have no connection rather than an unfiltered one, and open devices
are not affected.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from hedgerow.app.gateway.config import GatewayConfig, config_file
from hedgerow.app.gateway.reconciling import keep_reconciled
from hedgerow.app.settings import WILDCARD_HOSTS, Settings
from hedgerow.app.snapshot import LoadedSnapshot
from hedgerow.files import write_atomically
from hedgerow.network import gateway as nftables
from hedgerow.network.access_state import DeviceStates, compute_device_states
from hedgerow.network.gateway_rules import Gateway, RedirectPorts
from hedgerow.network.nft_sets import SetWriter
from hedgerow.policies.model import DeviceId
from hedgerow.policies.network import LINK_LOCAL, PRIVATE_RANGES, NetworkSettings
from hedgerow.policies.text.addresses import IpNetwork

log = logging.getLogger("hedgerow.gateway")

VERIFY_INTERVAL_S = 2.0  # a reload of the machine's firewall may flush our table, and people experiment


@contextlib.contextmanager
def installing(state: Path) -> Iterator[None]:
    """Hold the lock of the installed table, its record and its configuration, which commands and the controller change.

    Raises OSError.
    """
    descriptor = os.open(state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def record_ruleset(state: Path) -> str:
    """Save a digest of the installed table for `is_unmodified`.

    Returns the table's fingerprint, empty if there is none.

    A failure to write is ignored: the gateway works without the record. Until the new one is written, the last one
    stays: without any, a process that is ended in between would leave a table whose changes nobody notices.
    """
    fingerprint = _installed_fingerprint()
    try:
        write_atomically(_record_file(state), _digest(fingerprint), 0o644)
    except OSError:
        with contextlib.suppress(OSError):
            _record_file(state).unlink(missing_ok=True)  # it is of another table
    return fingerprint


def is_unmodified(state: Path, table: nftables.InstalledTable) -> bool:
    """Return False if something else has changed the table. An emptied table would let everything pass."""
    if _matches_record(state, table):
        return True
    with installing(state):  # it may have been recorded since
        now = nftables.installed_table()
        return now is not None and _matches_record(state, now)


def _matches_record(state: Path, table: nftables.InstalledTable) -> bool:
    try:
        return _record_file(state).read_bytes() == _digest(table.fingerprint)
    except FileNotFoundError:
        return True


def delete_config(state: Path) -> None:
    """Delete the configuration, so that the controller leaves nftables alone. Raises OSError."""
    config_file(state).unlink(missing_ok=True)
    _record_file(state).unlink(missing_ok=True)


def _record_file(state: Path) -> Path:
    return state / "gateway-form"


def _digest(fingerprint: str) -> bytes:
    return hashlib.sha256(fingerprint.encode("utf-8")).hexdigest().encode("ascii")


def pages_port(settings: Settings) -> int | None:
    """Return the port to which the gateway redirects web traffic, or None if the proxy takes none."""
    transparent = settings.transparent
    return transparent.port if transparent is not None and transparent.host in WILDCARD_HOSTS else None


def build_gateway(config: GatewayConfig, settings: Settings, network: NetworkSettings) -> Gateway:
    """Describe the gateway on this machine in its current state.

    Raises OSError, and GatewayError if DNS does not listen at every address.
    """
    from hedgerow.network import interfaces  # imported late for its weight: most machines have no gateway

    if settings.dns.host not in WILDCARD_HOSTS:
        raise nftables.GatewayError(
            f"DNS listens at {settings.dns} only: the gateway needs it at every address, such as --dns 0.0.0.0:53."
        )
    one_armed, inner = interfaces.inner_networks(config.lan)
    named = (each for each in network.home_networks if each not in PRIVATE_RANGES)
    return Gateway(
        config.lan,
        RedirectPorts(settings.dns.port, pages_port(settings), network.ports),
        one_armed,
        config.strict,
        config.allow_ipsec,
        config.allow_ssh,
        config.any_destination,
        network.flows,
        tuple(dict.fromkeys((LINK_LOCAL, *inner, *named, *network.reachable))),
        network.tunnel.subnets if network.tunnel is not None else (),
    )


def device_states_of(view: LoadedSnapshot, now: float) -> DeviceStates:
    """The access state of every device, including unnamed devices with a budget."""
    accounts = (spent.account.partition(":") for spent in view.snapshot.spent)
    also = [DeviceId(id) for kind, _, id in accounts if kind == "device"]
    return compute_device_states(view.rulesets, view.catalogue, now, also)


class GatewayController:
    """The controller that keeps the table in place and up to date.

    `view` returns the snapshot in force, None during start-up.

    `restore` is called after anybody but `writer` has changed a table, and writes the admitted destinations again.
    """

    def __init__(
        self,
        settings: Settings,
        view: Callable[[], LoadedSnapshot | None],
        writer: SetWriter,
        restore: Callable[[], Awaitable[None]],
    ) -> None:
        self._settings = settings
        self._view = view
        self._writer, self._restore = writer, restore
        # `_foreign_changes` before the last check that found the table as it should be
        self._checked_at: int | None = None
        self._in_force: tuple[Gateway, DeviceStates] | None = None
        self._fingerprint = ""
        self._config: GatewayConfig | None = None
        self._verified = 0.0

    @property
    def is_in_place(self) -> bool:
        """True while the table is installed as it should be."""
        return self._in_force is not None

    @property
    def guarded_tunnel(self) -> tuple[IpNetwork, ...]:
        """The addresses of the tunnel home that the installed table knows; empty while there is no table."""
        return self._in_force[0].tunnel if self._in_force is not None else ()

    @property
    def device_states(self) -> DeviceStates | None:
        """The states that the installed table has; None while there is no table."""
        return self._in_force[1] if self._in_force is not None else None

    async def run(self) -> None:
        """Reconcile until cancelled."""
        await keep_reconciled(
            self._reconcile,
            self._forget,
            log=log,
            failure="The gateway can't be kept in place: %s",
            errors=(nftables.GatewayError, OSError, ValueError),
        )

    def _forget(self) -> None:
        self._in_force = None

    async def _reconcile(self) -> None:
        config, view = GatewayConfig.load(self._settings.state), self._view()
        if config is None or view is None:
            self._in_force = None
            return
        device_states, in_force = device_states_of(view, time.time()), self._in_force
        # Verify before following new states too: otherwise a change by somebody else would be recorded as ours.
        is_same = in_force is not None and config == self._config and device_states.is_same(in_force[1])
        if in_force is None or not is_same or self._is_due_for_check():
            changes, before = self._foreign_changes(), self._checked_at
            in_force = await asyncio.to_thread(
                self._ensure_installed, config, device_states, view.policy.network, changes
            )
            if in_force is None:
                return
            if changes != before:
                await self._restore()
        if not device_states.is_same(in_force[1]):
            await asyncio.to_thread(self._update, device_states)
        self._in_force, self._config = (in_force[0], device_states), config

    def _is_due_for_check(self) -> bool:
        return time.monotonic() - self._verified > VERIFY_INTERVAL_S

    def _foreign_changes(self) -> int:
        """Return a number that changes whenever anybody but `_writer` changes a table, so that ours need not be listed
        every time.
        """
        try:
            return self._writer.generation() - self._writer.commits
        except OSError:
            return time.monotonic_ns()

    def _ensure_installed(
        self, config: GatewayConfig, device_states: DeviceStates, network: NetworkSettings, changes: int
    ) -> tuple[Gateway, DeviceStates] | None:
        """Install the table if it is missing, was changed, or no longer fits this machine, such as after a change of
        the uplink. Returns None if the configuration has changed meanwhile.
        """
        gateway = build_gateway(config, self._settings, network)
        with installing(self._settings.state):
            if GatewayConfig.load(self._settings.state) != config:
                return None
            fits = self._in_force is not None and self._in_force[0] == gateway
            if not fits or (changes != self._checked_at and _installed_fingerprint() != self._fingerprint):
                nftables.install(gateway, device_states)
                self._fingerprint = record_ruleset(self._settings.state)
                log.info("gateway in place on %s", ", ".join(config.lan))
                self._in_force = (gateway, device_states)
        assert self._in_force is not None
        self._checked_at, self._verified = changes, time.monotonic()
        return self._in_force

    def _update(self, device_states: DeviceStates) -> None:
        with installing(self._settings.state):
            nftables.update_states(device_states)
            self._fingerprint = record_ruleset(self._settings.state)


def _installed_fingerprint() -> str:
    """The fingerprint of the installed table; empty if there is none."""
    return table.fingerprint if (table := nftables.installed_table()) else ""
