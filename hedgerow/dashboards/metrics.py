"""Table of all metrics, and their exposition.

Workers report counters and gauges by name and label values; control adds its own. No label holds a visited domain, a
person, or a client's name or address, but for `seat`, the name of a seat. `upstream` is a resolver, and `source` a
list. The number of series per metric is bounded. Undeclared metrics are ignored and counted.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from hedgerow import __version__
from hedgerow.version import commit

SERIES_LIMIT = 500
"""Maximum number of series per metric. Further ones are ignored and counted."""


class MetricType(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """A declared metric. `buckets` are a histogram's upper bounds without +Inf.

    `from_start` lists label values of a counter that are exposed as 0 from the start: Prometheus sees no increase in a
    series that begins with its first event.
    """

    name: str
    type: MetricType
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    from_start: tuple[tuple[str, ...], ...] = ()


def counter(name: str, help: str, *labels: str, shown: tuple[tuple[str, ...], ...] = ()) -> Metric:
    """Declare a counter; `shown` are label values that are exposed from the start."""
    return Metric(name, MetricType.COUNTER, help, labels, from_start=shown)


def gauge(name: str, help: str, *labels: str) -> Metric:
    """Declare a gauge."""
    return Metric(name, MetricType.GAUGE, help, labels)


_ROLES = (("control",), ("dns",), ("gate",), ("inspector",), ("signer",))
_UPSTREAM_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

METRICS: tuple[Metric, ...] = (
    gauge("hedgerow_build_info", "Version and commit of Hedgerow; always 1.", "version", "commit"),
    counter(
        "hedgerow_dns_queries_total",
        "DNS queries answered.",
        "verdict",
        "reason",
        "transport",
        shown=(("block", "bypass", "tcp"), ("block", "bypass", "udp")),
    ),
    counter("hedgerow_dns_cache_hits_total", "DNS queries answered from the cache."),
    counter("hedgerow_dns_cache_misses_total", "DNS queries that needed a decision or an upstream."),
    gauge("hedgerow_dns_cache_entries", "Answers in the caches of all DNS workers."),
    gauge("hedgerow_dns_cache_octets", "Size of the caches of all DNS workers in bytes."),
    counter("hedgerow_dns_queries_by_type_total", "DNS queries answered, by query type.", "type", "verdict"),
    counter(
        "hedgerow_dns_responses_total",
        "DNS queries answered, by response code.",
        "rcode",
        shown=(("NOERROR",), ("SERVFAIL",)),
    ),
    counter(
        "hedgerow_dns_queries_by_profile_total", "DNS queries answered, by the client's profile.", "profile", "verdict"
    ),
    Metric(
        "hedgerow_dns_answer_seconds",
        MetricType.HISTOGRAM,
        "Time to answer a DNS query, from the cache (hit) or not (miss).",
        ("cache",),
        (0.0001, 0.00025, 0.0005, *_UPSTREAM_BOUNDS),
    ),
    Metric(
        "hedgerow_dns_upstream_seconds",
        MetricType.HISTOGRAM,
        "Response time of an upstream.",
        ("upstream",),
        _UPSTREAM_BOUNDS,
    ),
    counter(
        "hedgerow_dns_upstream_errors_total",
        "Queries without a usable answer from an upstream, by outcome: timeout, error or refused.",
        "upstream",
        "outcome",
    ),
    counter(
        "hedgerow_gateway_admissions_total",
        "DNS answers that waited until the gateway admitted their addresses.",
        "result",
    ),
    gauge("hedgerow_gateway_configured", "1 if this machine is configured as the gateway."),
    gauge("hedgerow_gateway_in_place", "1 while the gateway's table is in place as it should be."),
    counter(
        "hedgerow_gateway_packets_total",
        "Packets that a rule of the gateway has matched: redirected for the rules names and pages, refused for "
        "all others.",
        "rule",
    ),
    counter("hedgerow_dns_dropped_total", "DNS messages dropped or refused without a decision.", "cause"),
    counter("hedgerow_proxy_connections_total", "Decisions about proxy connections.", "lane", "verdict"),
    counter(
        "hedgerow_proxy_requests_total",
        "Decisions about proxy requests.",
        "lane",
        "verdict",
        "reason",
        shown=(("refuse", "block", "bypass"),),
    ),
    counter("hedgerow_proxy_dropped_total", "Proxy connections and requests refused without a decision.", "cause"),
    counter(
        "hedgerow_proxy_passed_through_total", "Hosts tunnelled for a while because a client rejected our certificate."
    ),
    counter("hedgerow_proxy_pages_scanned_total", "Pages whose words were scanned.", "verdict"),
    counter(
        "hedgerow_proxy_pages_recognised_total",
        "Pages of unlisted sites that looked like a topic, by their words or a label.",
        "topic",
        "evidence",
    ),
    gauge("hedgerow_remembered_sites", "Sites that are remembered for what their pages turned out to be.", "topic"),
    counter("hedgerow_proxy_cut_total", "Open connections closed because their rules changed."),
    counter("hedgerow_proxy_bytes_total", "Bytes from (in) and to (out) the clients.", "lane", "direction"),
    gauge("hedgerow_proxy_open_tunnels", "Open tunnels and inspected connections."),
    counter("hedgerow_worker_restarts_total", "Workers restarted after they ended.", "role", shown=_ROLES),
    gauge(
        "hedgerow_worker_heartbeat_timestamp_seconds",
        "Time of a process' last heartbeat in seconds since the epoch, in steps of five.",
        "role",
        "index",
    ),
    gauge(
        "hedgerow_process_memory_bytes",
        "Resident memory of the processes of a role; what they share counts for each.",
        "role",
    ),
    counter(
        "hedgerow_task_failures_total",
        "Failures of long-running tasks, each of which was started again.",
        "process",
        "task",
    ),
    gauge(
        "hedgerow_tasks_failing", "1 while a task that has failed does not run, or keeps failing.", "process", "task"
    ),
    counter(
        "hedgerow_unexpected_errors_total",
        "Errors in callbacks, dropped tasks, threads and finalizers that no code expected.",
        "process",
        shown=(("control",), ("dns",), ("gate",), ("gateway",), ("inspector",), ("supervisor",)),
    ),
    gauge(
        "hedgerow_control_delay_seconds", "Longest time in the last minute for which control's event loop was held up."
    ),
    counter("hedgerow_web_responses_total", "Responses of the pages and the API, by status code.", "part", "code"),
    counter("hedgerow_worker_renewals_total", "Workers replaced because of their age or size.", "role", shown=_ROLES),
    counter(
        "hedgerow_events_dropped_total",
        "Events not recorded because a queue or the disk was full.",
        "role",
        shown=_ROLES,
    ),
    counter("hedgerow_policy_loads_total", "Loads of the policy file.", "result", shown=(("failure",), ("success",))),
    gauge("hedgerow_policy_loaded_timestamp_seconds", "Load time of the policy in force, in seconds since the epoch."),
    gauge(
        "hedgerow_policy_info", "Hash of the policy in force, by which installations can be compared; always 1.", "hash"
    ),
    gauge("hedgerow_list_domains", "Domains in the lists of a category.", "category"),
    gauge("hedgerow_coverage_names", "Distinct names that the lists in force have for a category.", "category"),
    gauge("hedgerow_coverage_lists", "Lists in force for a category, the starter list included.", "category"),
    gauge(
        "hedgerow_coverage_state",
        "1 for the state of a category that is recommended for somebody here: full, fetching, starter, missing "
        "or dead; 0 for the others.",
        "category",
        "state",
    ),
    gauge("hedgerow_list_age_seconds", "Seconds since a list was last fetched or written.", "source"),
    gauge("hedgerow_access_requests_open", "Open requests for access."),
    gauge("hedgerow_state_free_bytes", "Free bytes on the disk of the state directory."),
    gauge(
        "hedgerow_certificate_expires_timestamp_seconds",
        "Expiry time of a certificate in seconds since the epoch: the CA's (ca), the pages' under it (pages), "
        "the policy's own (files).",
        "certificate",
    ),
    gauge("hedgerow_budgets", "Today's budgets by what is left: plenty, little (15 minutes or less), none.", "state"),
    gauge("hedgerow_notices_waiting", "Notices waiting to be sent."),
    counter("hedgerow_metrics_ignored_total", "Reports with an undeclared metric, wrong labels or too many series."),
)

type Labels = tuple[str, ...]

_IGNORED = "hedgerow_metrics_ignored_total"


class UndeclaredMetric(KeyError):
    """An undeclared metric or wrong label values. Raised only if `strict` is set, in tests."""


@dataclass(slots=True)
class _SampleSeries:
    """Reported values of one sample name, such as a histogram's `_bucket`."""

    declared: Metric
    labels: tuple[str, ...]
    totals: dict[Labels, float] = field(default_factory=dict)
    levels: dict[str, dict[Labels, float]] = field(default_factory=lambda: defaultdict(dict))

    def added_levels(self) -> dict[Labels, float]:
        values: dict[Labels, float] = {}
        for levels in self.levels.values():
            for labels, level in levels.items():
                values[labels] = values.get(labels, 0.0) + level
        return values


class Metrics(Collector):
    """Sums over all workers and control, of `METRICS` and `more`, rendered by prometheus-client.

    Used from one thread.
    """

    def __init__(self, *more: Metric, strict: bool = False) -> None:
        self._strict = strict
        self._declared = (*METRICS, *more)
        self._sums = {sums_name: sums for metric in self._declared for sums_name, sums in _samples_of(metric)}
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)
        self.set("hedgerow_build_info", (__version__, commit()), 1.0)

    def add(self, name: str, labels: Labels = (), value: float = 1.0) -> None:
        """Add to a counter, or to a histogram's `_bucket` (cumulative, with `le` as the last label), `_sum` or
        `_count`.
        """
        sums = self._find(name, labels)
        if sums is None:
            return
        labels = _normal(name, labels)
        is_sane = sums.declared.type is not MetricType.GAUGE and 0 <= value < math.inf
        if is_sane and (labels in sums.totals or len(sums.totals) < SERIES_LIMIT):
            sums.totals[labels] = sums.totals.get(labels, 0.0) + value
        else:
            self._ignore(name)

    def set(self, name: str, labels: Labels, value: float, worker: str = "control") -> None:
        """Set a gauge of one worker. The exposition shows the sum over all current workers."""
        sums = self._find(name, labels)
        if sums is None:
            return
        levels = sums.levels[worker]
        is_sane = sums.declared.type is MetricType.GAUGE and not math.isnan(value)
        if is_sane and (labels in levels or len(levels) < SERIES_LIMIT):
            levels[labels] = value
        else:
            self._ignore(name)

    def levels(self, name: str) -> dict[Labels, float]:
        """Return a gauge by its labels, added up over all workers."""
        return self._sums[name].added_levels()

    def set_total(self, name: str, labels: Labels, total: float) -> None:
        """Raise a counter to a total that is kept elsewhere. It never decreases."""
        sums = self._find(name, labels)
        if sums is not None and total > (before := sums.totals.get(labels, 0.0)):
            self.add(name, labels, total - before)

    def set_all(self, name: str, levels: Mapping[Labels, float]) -> None:
        """Replace all series of a gauge of control, so that removed lists disappear."""
        if (sums := self._sums.get(name)) is not None:
            sums.levels["control"] = {}
        for labels, value in levels.items():
            self.set(name, labels, value)

    def observe(self, name: str, value: float, labels: Labels = ()) -> None:
        """Add a value to a histogram."""
        for bound in (*self._sums[f"{name}_bucket"].declared.buckets, math.inf):
            self.add(f"{name}_bucket", (*labels, _bound(bound)), float(value <= bound))
        self.add(f"{name}_sum", labels, value)
        self.add(f"{name}_count", labels)

    def worker_left(self, worker: str) -> None:
        """Remove the gauges of a worker that has ended."""
        for sums in self._sums.values():
            sums.levels.pop(worker, None)

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """Return body and content type of a scrape, in the format that the Accept header asks for."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def collect(self) -> Iterator[Family]:
        """Yield all metrics for prometheus-client. Metrics without labels are 0 before the first event."""
        for metric in self._declared:
            base = metric.name.removesuffix("_total")
            family = Family(base, metric.help, metric.type.value)
            for name, sums in _samples_of(metric):
                self._add_samples(family, name, self._sums[name], sums.labels)
            yield family

    def _add_samples(self, family: Family, name: str, sums: _SampleSeries, label_names: tuple[str, ...]) -> None:
        values = dict(sums.totals) | sums.added_levels()
        for labels in sums.declared.from_start or (() if label_names else ((),)):
            values.setdefault(labels, 0.0)
        if name.endswith("_bucket") and len(label_names) == 1:
            for bound in (*sums.declared.buckets, math.inf):
                values.setdefault((_bound(bound),), 0.0)
        order = _bucket_order if name.endswith("_bucket") else None
        for labels in sorted(values, key=order):
            family.add_sample(name, dict(zip(label_names, labels, strict=True)), values[labels])

    def _find(self, name: str, labels: Labels) -> _SampleSeries | None:
        sums = self._sums.get(name)
        if sums is None or len(sums.labels) != len(labels) or not _is_declared_bucket(sums, name, labels):
            self._ignore(name)
            return None
        return sums

    def _ignore(self, name: str) -> None:
        if self._strict:
            raise UndeclaredMetric(name)
        totals = self._sums[_IGNORED].totals
        totals[()] = totals.get((), 0.0) + 1


def _samples_of(metric: Metric) -> Iterator[tuple[str, _SampleSeries]]:
    if metric.type is MetricType.HISTOGRAM:
        yield f"{metric.name}_bucket", _SampleSeries(metric, (*metric.labels, "le"))
        yield f"{metric.name}_sum", _SampleSeries(metric, metric.labels)
        yield f"{metric.name}_count", _SampleSeries(metric, metric.labels)
    else:
        yield metric.name, _SampleSeries(metric, metric.labels)


def _bound(bound: float) -> str:
    """Return a bucket's bound in Prometheus' notation.

    >>> _bound(math.inf), _bound(0.25), _bound(1.0)
    ('+Inf', '0.25', '1.0')
    """
    return "+Inf" if math.isinf(bound) else repr(float(bound))


def _is_declared_bucket(sums: _SampleSeries, name: str, labels: Labels) -> bool:
    if not name.endswith("_bucket"):
        return True
    try:
        return float(labels[-1]) in (*sums.declared.buckets, math.inf)
    except ValueError:
        return False


def _normal(name: str, labels: Labels) -> Labels:
    """Normalize a bucket's bound, which may be written as 1, 1.0 or 1e0."""
    return (*labels[:-1], _bound(float(labels[-1]))) if name.endswith("_bucket") else labels


def _bucket_order(labels: Labels) -> tuple[Labels, float]:
    return labels[:-1], math.inf if labels[-1] == "+Inf" else float(labels[-1])
