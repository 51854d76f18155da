"""The upstreams of a worker: the policy's, or the system's where it names none, and how long they take."""

from __future__ import annotations

import logging
from pathlib import Path

from hedgerow.app.settings import Settings
from hedgerow.dns.channels import open_upstreams
from hedgerow.dns.inquiries import Upstreams
from hedgerow.policies.model import Policy

log = logging.getLogger("hedgerow.resolvers")

# The second is where systemd-resolved keeps the servers behind its own stub, should the stub have been pointed at us.
RESOLV_CONFS = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))

SECONDS_METRIC = "hedgerow_dns_upstream_seconds"
SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Bounds of the histogram, as `dashboards.metrics` declares them."""


class UpstreamMeter:
    """Counts what became of each attempt, as series of cumulative counters."""

    def __init__(self) -> None:
        self.counters: dict[tuple[str, ...], float] = {}

    def count(self, _name: str, outcome: str, seconds: float) -> None:
        """Told of each attempt by `Upstreams`."""
        if outcome != "answered":
            self._add("hedgerow_dns_upstream_errors_total", 1)
            return
        for bound in SECONDS_BUCKETS:
            if seconds <= bound:
                self._add((f"{SECONDS_METRIC}_bucket", repr(bound)), 1)
        self._add((f"{SECONDS_METRIC}_bucket", "+Inf"), 1)
        self._add(f"{SECONDS_METRIC}_sum", seconds)
        self._add(f"{SECONDS_METRIC}_count", 1)

    def _add(self, series: str | tuple[str, ...], value: float) -> None:
        key = (series,) if isinstance(series, str) else series
        self.counters[key] = self.counters.get(key, 0.0) + value


class UpstreamChoice:
    """Opens upstreams, and opens others when a new policy names others."""

    def __init__(self, settings: Settings, policy: Policy, meter: UpstreamMeter) -> None:
        self._own = [(endpoint.host, endpoint.port) for endpoint in settings.dns.every_family()]
        self._meter = meter
        self._names = policy.network.upstream

    def open(self) -> Upstreams:
        """Raises nothing: the policy's names were checked when it was loaded. Nothing is connected yet."""
        upstreams = open_upstreams(self._names, resolv_conf=_system_servers(), own=self._own, count=self._meter.count)
        if not upstreams.names:
            log.error("There is no upstream to ask: name some in the policy file, such as network: {upstream: [9.9.9.9]}.")
        return upstreams

    def open_if_changed(self, policy: Policy) -> Upstreams | None:
        if policy.network.upstream == self._names:
            return None
        self._names = policy.network.upstream
        return self.open()


def _system_servers() -> str:
    """The text of all resolv.confs there are."""
    texts = []
    for path in RESOLV_CONFS:
        try:
            texts.append(path.read_text(encoding="ascii", errors="replace"))
        except OSError:
            continue
    return "\n".join(texts)
