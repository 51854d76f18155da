"""The Wi-Fi's process: hostapd, dnsmasq, an address and a table of nftables, kept as the policy describes them.

It runs as Hedgerow's own user with CAP_NET_ADMIN, CAP_NET_RAW and CAP_NET_BIND_SERVICE, which hostapd and dnsmasq
inherit, and reads the snapshot in force. When it ends, for whatever reason, both end with it: the children then have no
Wi-Fi rather than an unfiltered one.
"""

from __future__ import annotations

import logging
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_network
from pathlib import Path

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from hedgerow.app.gateway.config import GatewayConfig
from hedgerow.app.gateway.controller import installing
from hedgerow.app.snapshot import LoadedSnapshot
from hedgerow.features.wifi.access_point import (
    AccessPoint,
    dnsmasq_options,
    free_network,
    removal_rules,
    render_hostapd,
    render_rules,
)
from hedgerow.features.wifi.radios import (
    Radio,
    RadioError,
    count_stations,
    find_radios,
    quietest_channel,
    run_tool,
)
from hedgerow.features.wifi.report import RUNTIME, WifiReport, WifiState, read_password
from hedgerow.features.wifi.settings import WifiSettings
from hedgerow.network import interfaces
from hedgerow.network.gateway import GatewayError, is_installed
from hedgerow.policies.text.addresses import IpNetwork

log = logging.getLogger("hedgerow.wifi")

FAILURES = (RadioError, GatewayError, NetlinkError, OSError, ValueError)
"""What a step may raise. Nothing stays open after it."""
RETRY_S = 10.0
_PATIENCE_S = 60.0
"""Seconds that hostapd may take to open the Wi-Fi."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The Wi-Fi that the policy describes, and the country, empty if the policy has none."""

    settings: WifiSettings
    country: str


def wanted_by(view: LoadedSnapshot | None) -> Wanted | None:
    """Return what the policy in force wants, None if it has no Wi-Fi."""
    settings = view.policy.settings(WifiSettings) if view is not None else None
    return Wanted(settings, view.policy.network.country or "") if view is not None and settings is not None else None


class WifiKeeper:
    """The Wi-Fi of a state directory. `folder` has the files of a run, and `find` returns the radios."""

    def __init__(self, state: Path, folder: Path = RUNTIME, find: Callable[[], list[Radio]] = find_radios) -> None:
        self._state, self._folder, self._find = state, folder, find
        self._point: AccessPoint | None = None
        self._is_filtered = False
        self._programs: tuple[subprocess.Popen[bytes], ...] = ()
        self._started = self._retry_at = 0.0
        self._reason = ""

    def step(self, wanted: Wanted | None, now: float) -> WifiReport:
        """Bring the Wi-Fi one step closer to what is wanted, and return what there is. `now` is monotonic."""
        radios: list[Radio] = []
        try:
            radios = self._find()
            state = self._reconcile(wanted, radios, now)
        except FAILURES as error:
            self.close()
            state, self._reason, self._retry_at = WifiState.FAILED, str(error), now + RETRY_S
        point = self._point
        return WifiReport(
            state,
            time.time(),
            tuple(radio.interface for radio in radios if radio.opens),
            point.interface if point is not None else "",
            str(point.network) if point is not None else "",
            _devices(point.interface) if point is not None and state.is_open else 0,
            self._reason if state is WifiState.FAILED else "",
        )

    def _reconcile(self, wanted: Wanted | None, radios: Sequence[Radio], now: float) -> WifiState:
        able = [radio.interface for radio in radios if radio.opens]
        state = obstacle(wanted, radios)
        if wanted is None or state is not None:
            self.close()
            return state or WifiState.OFF
        if self._point is not None and self._point.interface not in able:
            self.close()
        interface = self._point.interface if self._point is not None else able[0]
        network = free_network(networks_of_others(interface))
        if network is None:
            self.close()
            return WifiState.NO_NETWORK
        password = read_password(self._state)
        channel = self._point.channel if self._point is not None else 0
        point = AccessPoint(wanted.settings, interface, wanted.country, password, network, channel)
        if point != self._point:
            if now < self._retry_at:
                return WifiState.FAILED
            self._open(point, now)
        return self._look(now)

    def _open(self, point: AccessPoint, now: float) -> None:
        """Set all up for an access point in which nothing passes yet. Raises `FAILURES`."""
        self.close()
        _guard(self._state, point)
        _load_rules(render_rules(point.interface, point.network, is_filtered=False))
        self._point, self._is_filtered, self._started = replace(point, channel=_channel(point.interface)), False, now
        _set_address(point)
        config = self._folder / "hostapd.conf"
        config.touch(mode=0o600)
        config.write_text(render_hostapd(self._point, self._folder / "hostapd"), encoding="ascii")

    def _look(self, now: float) -> WifiState:
        """Start what waits, let packets pass only while the gateway is in place, and tell what there is."""
        point = self._point
        assert point is not None
        is_filtered = is_installed() and _is_guarded(self._state, point.interface)
        if is_filtered != self._is_filtered:
            _load_rules(
                render_rules(point.interface, point.network, is_filtered=is_filtered, isolate=point.settings.isolate)
            )
            self._is_filtered = is_filtered
        if not is_filtered:
            return WifiState.STARTING if now - self._started < _PATIENCE_S else WifiState.UNFILTERED
        if not self._programs:
            self._programs = self._start(point)
        ended = next((program for program in self._programs if program.poll() is not None), None)
        output = (self._folder / "output").read_text(encoding="utf-8", errors="replace")
        if ended is not None:
            raise RadioError(_last_words(output) or f"a program ended with status {ended.returncode}")
        if "AP-ENABLED" not in output:
            if now - self._started > _PATIENCE_S:
                raise RadioError(_last_words(output) or "the radio does not start")
            return WifiState.STARTING
        return WifiState.OPEN if interfaces.uplinks() else WifiState.OFFLINE

    def _start(self, point: AccessPoint) -> tuple[subprocess.Popen[bytes], ...]:
        commands = (
            ["/usr/sbin/hostapd", str(self._folder / "hostapd.conf")],
            ["/usr/sbin/dnsmasq", *dnsmasq_options(point, self._folder / "leases")],
        )
        self._started = time.monotonic()
        with (self._folder / "output").open("wb") as output:
            return tuple(subprocess.Popen(words, stdout=output, stderr=output) for words in commands)

    def close(self) -> None:
        """End the Wi-Fi, and remove what belongs to it alone."""
        for program in self._programs:
            program.terminate()
        for program in self._programs:
            try:
                program.wait(5)
            except subprocess.TimeoutExpired:
                program.kill()
                program.wait()
        if self._point is not None:
            try:
                _load_rules(removal_rules())
            except RadioError as error:
                log.error("%s", error)
        self._programs, self._point, self._is_filtered = (), None, False


def obstacle(wanted: Wanted | None, radios: Sequence[Radio]) -> WifiState | None:
    """Return what keeps the Wi-Fi from opening, None if nothing does."""
    if wanted is None:
        return WifiState.OFF
    if not radios:
        return WifiState.NO_RADIO
    if not any(radio.opens for radio in radios):
        return WifiState.NO_ACCESS_POINT
    return None if wanted.country else WifiState.NO_COUNTRY


def networks_of_others(interface: str) -> list[IpNetwork]:
    """Return the networks at the other interfaces of this machine. Raises OSError."""
    with IPRoute() as netlink:
        names = {link["index"]: link.get("ifname") for link in netlink.get_links()}
        found = [(names.get(entry["index"]), entry.get("address"), entry["prefixlen"]) for entry in netlink.get_addr()]
    return [ip_network(f"{address}/{length}", strict=False) for name, address, length in found if name != interface]


def _set_address(point: AccessPoint) -> None:
    """Give the interface its address, and no other. Raises `NetlinkError` or OSError."""
    with IPRoute() as netlink:
        (index,) = netlink.link_lookup(ifname=point.interface)
        netlink.flush_addr(index=index)
        netlink.addr("add", index=index, address=point.address, prefixlen=point.network.prefixlen)


def _channel(interface: str) -> int:
    """Return the quietest channel, as far as the radio hears others now."""
    with IPRoute() as netlink:
        (index,) = netlink.link_lookup(ifname=interface)
        netlink.link("set", index=index, state="up")
    try:
        return quietest_channel(run_tool("iw", "dev", interface, "scan"))
    except RadioError:
        return quietest_channel("")  # some radios can't listen now


def _devices(interface: str) -> int:
    try:
        return count_stations(interface)
    except RadioError:
        return 0


def _guard(state: Path, point: AccessPoint) -> None:
    """Have the gateway guard the Wi-Fi, in addition to what it guards already. Raises OSError or ValueError."""
    with installing(state):
        config = GatewayConfig.load(state)
        if config is None:
            GatewayConfig((point.interface,), strict=point.settings.strict).save(state)
        elif point.interface not in config.lan or config.strict != point.settings.strict:
            lan = tuple(dict.fromkeys((*config.lan, point.interface)))
            replace(config, lan=lan, strict=point.settings.strict).save(state)


def _is_guarded(state: Path, interface: str) -> bool:
    config = GatewayConfig.load(state)
    return config is not None and interface in config.lan


def _load_rules(rules: str) -> None:
    """Carry out commands of nft in one transaction. Raises `RadioError`."""
    done = subprocess.run(
        ["/usr/sbin/nft", "-f", "-"], input=rules, capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode:
        raise RadioError(f"nft refused: {(done.stderr.strip().splitlines() or ['no reason'])[0]}")


def _last_words(output: str) -> str:
    """Return the last line in which hostapd or dnsmasq says what is wrong."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return next(
        (line for line in reversed(lines) if "fail" in line.lower() or "error" in line.lower()),
        lines[-1] if lines else "",
    )
