"""Counters of DNS as series: the name of a metric with the values of its labels."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import Final

from hedgerow.policies.model import Decision

type SeriesKey = tuple[str, ...]
type Series = tuple[SeriesKey, ...]

# No label holds text that a client chose: other types are counted together.
_TYPE_NAMES: Final = {
    1: "A",
    2: "NS",
    5: "CNAME",
    6: "SOA",
    12: "PTR",
    15: "MX",
    16: "TXT",
    28: "AAAA",
    33: "SRV",
    64: "SVCB",
    65: "HTTPS",
    255: "ANY",
}


def type_name(qtype: int) -> str:
    """Return the name of a record type; `TYPE257` (RFC 3597) for uncommon ones."""
    return _TYPE_NAMES.get(qtype) or f"TYPE{qtype}"


class SeriesTable:
    """The series that an answer counts for. Equal ones are one object, since each cached answer holds them."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int, str, str, str], Series] = {}

    def of(self, decision: Decision, transport: str, qtype: int, profile: str) -> Series:
        # Members of an enum are unique objects, and hashing one would be a call of Python code.
        key = (id(decision.verdict), id(decision.reason), transport, _TYPE_NAMES.get(qtype, "other"), profile)
        series = self._known.get(key)
        if series is None:
            verdict, reason = str(decision.verdict), str(decision.reason)
            series = self._known[key] = (
                ("hedgerow_dns_queries_total", verdict, reason, transport),
                ("hedgerow_dns_queries_by_type_total", key[3], verdict),
                ("hedgerow_dns_queries_by_profile_total", profile, verdict),
            )
        return series


class Histogram:
    """A histogram of seconds by upper bounds."""

    def __init__(self, name: str, labels: SeriesKey, bounds: tuple[float, ...]) -> None:
        self._name, self._labels, self._bounds = name, labels, bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, seconds: float, count: int = 1) -> None:
        """Count `count` answers that took this long each."""
        self._counts[bisect_left(self._bounds, seconds)] += count
        self._sum += seconds * count

    def counters(self) -> Mapping[SeriesKey, float]:
        """Return the series as Prometheus has them: buckets are cumulative, and the bound is the last label."""
        series: dict[SeriesKey, float] = {}
        total = 0
        for bound, count in zip((*map(repr, self._bounds), "+Inf"), self._counts, strict=True):
            total += count
            series[f"{self._name}_bucket", *self._labels, bound] = float(total)
        series[f"{self._name}_sum", *self._labels] = self._sum
        series[f"{self._name}_count", *self._labels] = float(total)
        return series
