"""Counters of DNS as series: the name of a metric with the values of its labels."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import Final

from hedgerow.blocklists.rules import Origin
from hedgerow.policies.model import Decision
from hedgerow.policies.privacy import counted_reason

type SeriesKey = tuple[str, ...]
type Series = tuple[SeriesKey, ...]

TAG_OCTETS: Final = 6
_MAX_COUNTED: Final = 4096

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

_RCODE_NAMES: Final = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}


def type_name(qtype: int) -> str:
    """Return the name of a record type; `TYPE257` (RFC 3597) for uncommon ones."""
    return _TYPE_NAMES.get(qtype) or f"TYPE{qtype}"


class CountedDecision:
    """A decision, with the `series` of the counters that count its answers, except that of the profile.

    All answers with the same decision share one object. `decision` has neither its end nor the text of its rule. `tag`
    tells it from others.
    """

    __slots__ = ("decision", "series", "tag")

    def __init__(self, decision: Decision, series: Series, tag: bytes) -> None:
        self.decision, self.series, self.tag = decision, series, tag

    def profile_series(self, profile: str) -> SeriesKey:
        return ("hedgerow_dns_queries_by_profile_total", profile, self.series[0][1])


class CountedDecisions:
    """The counted decisions of answers. Bounded: one that was dropped is created again."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], CountedDecision] = {}
        self._decisions: dict[tuple[object, ...], tuple[Decision, bytes]] = {}
        self._number = 0

    def of(self, decision: Decision, transport: str, qtype: int, rcode: int) -> CountedDecision:
        rule = decision.rule
        source, line = (None, None) if rule is None else (rule.source, rule.line)
        kind = _TYPE_NAMES.get(qtype, "other")
        # Members of an enum are unique objects, and hashing one would be a call of Python code.
        key = (id(decision.verdict), id(decision.reason), decision.what, source, line, transport, kind, rcode)
        counted = self._known.get(key)
        if counted is None:
            if len(self._known) >= _MAX_COUNTED:
                self._known.clear()
                self._decisions.clear()
            shared, tag = self._shared(key[:5], decision)
            verdict, reason = str(decision.verdict), counted_reason(decision.reason)
            series = (
                ("hedgerow_dns_queries_total", verdict, reason, transport),
                ("hedgerow_dns_queries_by_type_total", kind, verdict),
                ("hedgerow_dns_responses_total", _RCODE_NAMES.get(rcode, "other")),
            )
            counted = self._known[key] = CountedDecision(shared, series, tag)
        return counted

    def _shared(self, key: tuple[object, ...], decision: Decision) -> tuple[Decision, bytes]:
        found = self._decisions.get(key)
        if found is None:
            self._number += 1
            rule = decision.rule if decision.rule is None else Origin(decision.rule.source, decision.rule.line)
            plain = Decision(decision.verdict, decision.reason, decision.what, rule, target=decision.target)
            found = self._decisions[key] = plain, self._number.to_bytes(TAG_OCTETS)
        return found


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
