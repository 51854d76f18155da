"""Every metric that Hedgerow has, in one table, and their exposition.

Workers report counters and gauges by name and label values; control adds its own. No label ever holds a domain, an address, a device or
a person, and the number of series of a metric is bounded. A name that is not in the table is ignored and counted.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from hedgerow import __version__

SERIES_LIMIT = 500
"""Series of one metric; what would be more is ignored and counted."""


class MetricType(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One declared metric. `buckets` are a histogram's upper bounds, without +Inf.

    `from_start`: label values of a counter that are shown as 0 before anything was counted. Prometheus sees no increase in a series that
    begins with what it should tell of.
    """

    name: str
    type: MetricType
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    from_start: tuple[tuple[str, ...], ...] = ()


def _by_role(name: str, help: str) -> Metric:
    return Metric(name, MetricType.COUNTER, help, ("role",), from_start=(("control",), ("dns",), ("gate",), ("inspector",)))


METRICS: tuple[Metric, ...] = (
    Metric("hedgerow_build_info", MetricType.GAUGE, "The version that runs; always 1.", ("version",)),
    Metric(
        "hedgerow_dns_queries_total",
        MetricType.COUNTER,
        "DNS queries answered.",
        ("verdict", "reason", "transport"),
        from_start=(("block", "bypass", "tcp"), ("block", "bypass", "udp")),
    ),
    Metric("hedgerow_dns_cache_hits_total", MetricType.COUNTER, "DNS queries answered from the cache."),
    Metric("hedgerow_dns_cache_misses_total", MetricType.COUNTER, "DNS queries that had to be decided or forwarded."),
    Metric("hedgerow_dns_cache_entries", MetricType.GAUGE, "Answers in the caches of all DNS workers."),
    Metric("hedgerow_dns_cache_octets", MetricType.GAUGE, "Octets in the caches of all DNS workers."),
    Metric("hedgerow_dns_queries_by_type_total", MetricType.COUNTER, "DNS queries answered, by their type.", ("type", "verdict")),
    Metric(
        "hedgerow_dns_queries_by_profile_total", MetricType.COUNTER, "DNS queries answered, by the asker's profile.", ("profile", "verdict")
    ),
    Metric(
        "hedgerow_dns_answer_seconds",
        MetricType.HISTOGRAM,
        "Seconds until a DNS query was answered, from the cache (hit) or not (miss).",
        ("cache",),
        (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
    ),
    Metric(
        "hedgerow_dns_upstream_seconds",
        MetricType.HISTOGRAM,
        "Seconds until an upstream answered.",
        ("upstream",),
        (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
    ),
    Metric(
        "hedgerow_dns_upstream_errors_total",
        MetricType.COUNTER,
        "Queries that an upstream did not answer (timeout, error), or not properly (refused).",
        ("upstream", "outcome"),
    ),
    Metric("hedgerow_dns_dropped_total", MetricType.COUNTER, "DNS messages dropped or refused without a decision.", ("cause",)),
    Metric("hedgerow_proxy_connections_total", MetricType.COUNTER, "Proxy connections judged.", ("lane", "verdict")),
    Metric(
        "hedgerow_proxy_requests_total",
        MetricType.COUNTER,
        "Proxy requests judged.",
        ("lane", "verdict", "reason"),
        from_start=(("refuse", "block", "bypass"),),
    ),
    Metric("hedgerow_proxy_dropped_total", MetricType.COUNTER, "Proxy connections and requests refused without a decision.", ("cause",)),
    Metric(
        "hedgerow_proxy_passed_through_total",
        MetricType.COUNTER,
        "Hosts that are tunnelled for a while because a client refused our certificate.",
    ),
    Metric("hedgerow_proxy_pages_scanned_total", MetricType.COUNTER, "Pages whose words were weighed.", ("verdict",)),
    Metric("hedgerow_proxy_cut_total", MetricType.COUNTER, "Open connections cut because the rules for them changed."),
    Metric("hedgerow_proxy_bytes_total", MetricType.COUNTER, "Bytes from (in) and to (out) the clients.", ("lane", "direction")),
    Metric("hedgerow_proxy_open_tunnels", MetricType.GAUGE, "Tunnels and inspected connections that are open now."),
    _by_role("hedgerow_worker_restarts_total", "Workers that ended and were started anew."),
    _by_role("hedgerow_worker_renewals_total", "Workers that grew old or large and handed over to a new one."),
    _by_role("hedgerow_events_dropped_total", "Events not remembered: a queue or the disk was full."),
    Metric(
        "hedgerow_policy_loads_total", MetricType.COUNTER, "Loads of the policy file.", ("result",), from_start=(("failure",), ("success",))
    ),
    Metric(
        "hedgerow_policy_loaded_timestamp_seconds", MetricType.GAUGE, "When the policy in force was loaded, in seconds since the epoch."
    ),
    Metric("hedgerow_list_domains", MetricType.GAUGE, "Domains in the lists of a category.", ("category",)),
    Metric("hedgerow_list_age_seconds", MetricType.GAUGE, "Seconds since a list was last fetched or written.", ("source",)),
    Metric("hedgerow_access_requests_open", MetricType.GAUGE, "Requests for access that wait for an answer."),
    Metric("hedgerow_state_free_bytes", MetricType.GAUGE, "Bytes left on the disk that holds the state."),
    Metric(
        "hedgerow_certificate_expires_timestamp_seconds",
        MetricType.GAUGE,
        "When a certificate expires, in seconds since the epoch: the CA's (ca), the pages' under it (pages), the policy's own (files).",
        ("certificate",),
    ),
    Metric(
        "hedgerow_budgets", MetricType.GAUGE, "Budgets of today, by what is left: plenty, little (15 minutes or less), none.", ("state",)
    ),
    Metric("hedgerow_notices_waiting", MetricType.GAUGE, "Notices that wait to be sent."),
    Metric("hedgerow_metrics_ignored_total", MetricType.COUNTER, "Reports of an undeclared metric, wrong labels or too many series."),
)

type Labels = tuple[str, ...]

_IGNORED = "hedgerow_metrics_ignored_total"


class UndeclaredMetric(KeyError):
    """A name that is not in the table, or label values that do not fit it. Raised only where `strict` is set, in tests."""


@dataclass(slots=True)
class _SampleSeries:
    """What has been reported of one sample name, such as a histogram's `_bucket`."""

    declared: Metric
    labels: tuple[str, ...]
    totals: dict[Labels, float] = field(default_factory=dict)
    levels: dict[str, dict[Labels, float]] = field(default_factory=lambda: defaultdict(dict))


class Metrics(Collector):
    """The sums over all workers and control, which prometheus-client renders. Used from one thread."""

    def __init__(self, declared: Iterable[Metric] = METRICS, *, strict: bool = False) -> None:
        self._declared = tuple(declared)
        self._strict = strict
        self._sums = {sums_name: sums for metric in self._declared for sums_name, sums in _samples_of(metric)}
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)
        self.set("hedgerow_build_info", (__version__,), 1.0)

    def add(self, name: str, labels: Labels = (), value: float = 1.0) -> None:
        """Adds to a counter, or to a `_bucket`, `_sum` or `_count` of a histogram (buckets cumulative, `le` the last label)."""
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
        """Sets a gauge of one worker; the exposition shows the sum over the workers that are there."""
        sums = self._find(name, labels)
        if sums is None:
            return
        levels = sums.levels[worker]
        is_sane = sums.declared.type is MetricType.GAUGE and not math.isnan(value)
        if is_sane and (labels in levels or len(levels) < SERIES_LIMIT):
            levels[labels] = value
        else:
            self._ignore(name)

    def set_total(self, name: str, labels: Labels, total: float) -> None:
        """Sets a counter of control's own, which another part keeps; it never goes down here."""
        sums = self._find(name, labels)
        if sums is not None and total > (before := sums.totals.get(labels, 0.0)):
            self.add(name, labels, total - before)

    def set_all(self, name: str, levels: Mapping[Labels, float]) -> None:
        """Replaces all series of one of control's own gauges, so that those of a list which is gone vanish."""
        if (sums := self._sums.get(name)) is not None:
            sums.levels["control"] = {}
        for labels, value in levels.items():
            self.set(name, labels, value)

    def observe(self, name: str, value: float, labels: Labels = ()) -> None:
        """Puts one value into a histogram."""
        for bound in (*self._sums[f"{name}_bucket"].declared.buckets, math.inf):
            self.add(f"{name}_bucket", (*labels, _bound(bound)), float(value <= bound))
        self.add(f"{name}_sum", labels, value)
        self.add(f"{name}_count", labels)

    def worker_left(self, worker: str) -> None:
        """Forgets a worker's gauges: what it held open is gone with it."""
        for sums in self._sums.values():
            sums.levels.pop(worker, None)

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """The text for a scrape and its content type, in the format that the Accept header asks for."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def collect(self) -> Iterator[Family]:
        """What prometheus-client asks for; a metric without labels is shown as 0 before anything was counted."""
        for metric in self._declared:
            base = metric.name.removesuffix("_total")
            family = Family(base, metric.help, metric.type.value)
            for name, sums in _samples_of(metric):
                self._add_samples(family, name, self._sums[name], sums.labels)
            yield family

    def _add_samples(self, family: Family, name: str, sums: _SampleSeries, label_names: tuple[str, ...]) -> None:
        values = dict(sums.totals)
        for levels in sums.levels.values():
            for labels, level in levels.items():
                values[labels] = values.get(labels, 0.0) + level
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
    """A bucket's bound as Prometheus writes it.

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
    """The same bound may be written as 1, 1.0 or 1e0."""
    return (*labels[:-1], _bound(float(labels[-1]))) if name.endswith("_bucket") else labels


def _bucket_order(labels: Labels) -> tuple[Labels, float]:
    return labels[:-1], math.inf if labels[-1] == "+Inf" else float(labels[-1])
