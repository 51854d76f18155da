"""Generate the Grafana dashboards and docs/reference/metrics.md: `python tools/grafana_dashboards.py`.

Tests compare the files with this module, and require a panel for every metric.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hedgerow.dashboards import metrics
from hedgerow.dashboards.metrics import METRICS, Metric, MetricType
from hedgerow.features import FEATURES

ALL_METRICS: tuple[Metric, ...] = (*METRICS, *(metric for feature in FEATURES for metric in feature.metrics()))
"""The metrics of the core and of all features."""

GRAFANA = Path(metrics.__file__).with_name("grafana")
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_RATE = "[$__rate_interval]"
_CHOSEN = 'instance=~"$instance",site=~"$site"'
_SCHEMA_VERSION = 42


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel. `queries` pairs expressions with legends; `width` is in columns of 24.

    `shows_legend`: a stat that displays its legend instead of its number.
    """

    title: str
    queries: tuple[tuple[str, str], ...]
    width: int = 8
    unit: str = "short"
    kind: str = "timeseries"
    shows_legend: bool = False

    @property
    def height(self) -> int:
        return 4 if self.kind == "stat" else 8


def _rate(metric: str, by: str = "", where: str = "") -> str:
    grouped = f"sum by ({by}) " if by else "sum "
    return f"{grouped}(rate({metric}{where}{_RATE}))"


def chosen(query: str) -> str:
    """Restrict every metric of a query to the chosen instances and sites.

    A label that a target lacks is matched by "All".

    >>> chosen('sum(rate(hedgerow_x_total{a="b"}[5m])) + hedgerow_y')
    'sum(rate(hedgerow_x_total{a="b",instance=~"$instance",site=~"$site"}[5m])) +
    hedgerow_y{instance=~"$instance",site=~"$site"}'
    """

    def restricted(found: re.Match[str]) -> str:
        labels = found[2][1:-1] + "," if found[2] else ""
        return f"{found[1]}{{{labels}{_CHOSEN}}}"

    return re.sub(r"(\bhedgerow_\w+)(\{[^}]*\})?", restricted, query)


def _quantiles(metric: str, by: str = "") -> tuple[tuple[str, str], ...]:
    labels = f"le, {by}" if by else "le"
    legend = f" {{{{{by}}}}}" if by else ""
    return tuple(
        (
            f"histogram_quantile({quantile}, sum by ({labels}) (rate({metric}_bucket{_RATE})))",
            f"p{int(quantile * 100)}{legend}",
        )
        for quantile in (0.5, 0.99)
    )


_HITS, _MISSES = _rate("hedgerow_dns_cache_hits_total"), _rate("hedgerow_dns_cache_misses_total")
_NOT_ALLOWED = '{verdict!="allow"}'
_BYPASS = '{reason="bypass"}'

_BLOCKED = f"{_rate('hedgerow_dns_queries_total', where='{verdict="block"}')} / {_rate('hedgerow_dns_queries_total')}"
_BYPASSES = "round({} + {})".format(
    *(
        f"(sum(increase({metric}{_BYPASS}[1d])) or vector(0))"
        for metric in ("hedgerow_dns_queries_total", "hedgerow_proxy_requests_total")
    )
)
_NOT_COVERED = 'max by (category, state) (hedgerow_coverage_state{state!="full"}) == 1'
_AGES_ASKED = "sum by (outcome) (increase(hedgerow_registration_questions_total[1d]))"
_REFUSED_LOADS = 'round(sum(increase(hedgerow_policy_loads_total{result!="success"}[1d])))'
_GATEWAY_OFF = "sum(hedgerow_gateway_configured) - sum(hedgerow_gateway_in_place)"
_SILENCE = "time() - min by (role) (hedgerow_worker_heartbeat_timestamp_seconds)"
_BY_PROFILE = _rate("hedgerow_dns_queries_by_profile_total", "profile, verdict")

DASHBOARDS: dict[str, tuple[str, tuple[Panel, ...]]] = {
    "network": (
        "Hedgerow: network",
        (
            Panel("Requests waiting", (("sum(hedgerow_access_requests_open)", ""),), 6, kind="stat"),
            Panel("Closed by a quiet hour", (("sum(hedgerow_quiet_hour_closed)", ""),), 6, kind="stat"),
            Panel("Children's Wi-Fi is open", (("min(hedgerow_wifi_open)", ""),), 6, kind="stat"),
            Panel("Devices in the children's Wi-Fi", (("sum(hedgerow_wifi_devices)", ""),), 6, kind="stat"),
            Panel("Queries a second", ((_rate("hedgerow_dns_queries_total"), ""),), 6, "reqps", "stat"),
            Panel("Blocked of all names", ((_BLOCKED, ""),), 6, "percentunit", "stat"),
            Panel("Ways round tried (1 d)", ((_BYPASSES, ""),), 6, kind="stat"),
            Panel(
                "Names asked for, by verdict",
                ((_rate("hedgerow_dns_queries_total", "verdict"), "{{verdict}}"),),
                12,
                "reqps",
            ),
            Panel(
                "Names: why not allowed",
                ((_rate("hedgerow_dns_queries_total", "reason", _NOT_ALLOWED), "{{reason}}"),),
                12,
                "reqps",
            ),
            Panel("Seats", (("sum by (state) (hedgerow_seats)", "{{state}}"),), 12),
            Panel("Names by profile", ((_BY_PROFILE, "{{profile}}: {{verdict}}"),), 12, "reqps"),
            Panel(
                "Pages: why not allowed",
                ((_rate("hedgerow_proxy_requests_total", "reason", _NOT_ALLOWED), "{{reason}}"),),
                12,
                "reqps",
            ),
        ),
    ),
    "resolver-and-proxy": (
        "Hedgerow: resolver and proxy",
        (
            Panel("Open tunnels", (("sum(hedgerow_proxy_open_tunnels)", ""),), 6, kind="stat"),
            Panel("Cached answers", (("sum(hedgerow_dns_cache_entries)", ""),), 6, kind="stat"),
            Panel("Size of the caches", (("sum(hedgerow_dns_cache_octets)", ""),), 6, "bytes", "stat"),
            Panel("Cache hit rate", ((f"{_HITS} / ({_HITS} + {_MISSES})", ""),), 6, "percentunit", "stat"),
            Panel("Queries by type", ((_rate("hedgerow_dns_queries_by_type_total", "type"), "{{type}}"),), 6, "reqps"),
            Panel(
                "Answers by response code", ((_rate("hedgerow_dns_responses_total", "rcode"), "{{rcode}}"),), 6, "reqps"
            ),
            Panel("Time until an answer", _quantiles("hedgerow_dns_answer_seconds", "cache"), 6, "s"),
            Panel("Time until an upstream answers", _quantiles("hedgerow_dns_upstream_seconds", "upstream"), 6, "s"),
            Panel(
                "Upstream errors, and messages dropped",
                (
                    (_rate("hedgerow_dns_upstream_errors_total", "upstream, outcome"), "{{upstream}}: {{outcome}}"),
                    (_rate("hedgerow_dns_dropped_total", "cause"), "dropped: {{cause}}"),
                    (_rate("hedgerow_gateway_admissions_total", "result"), "gateway: {{result}}"),
                ),
                8,
                "ops",
            ),
            Panel(
                "Gateway: packets redirected and refused",
                ((_rate("hedgerow_gateway_packets_total", "rule"), "{{rule}}"),),
                8,
                "pps",
            ),
            Panel("Devices with a tunnel home", (("sum by (state) (hedgerow_tunnel_devices)", "{{state}}"),), 8),
            Panel("Tunnel home", ((_rate("hedgerow_tunnel_bytes_total", "direction"), "{{direction}}"),), 8, "Bps"),
            Panel(
                "Traffic of seats",
                ((_rate("hedgerow_seat_bytes_total", "seat, direction"), "{{seat}}: {{direction}}"),),
                12,
                "Bps",
            ),
            Panel(
                "Seats now",
                (("sum by (seat, direction) (hedgerow_seat_bytes_per_second)", "{{seat}}: {{direction}}"),),
                12,
                "Bps",
            ),
            Panel(
                "Connections by lane",
                ((_rate("hedgerow_proxy_connections_total", "lane, verdict"), "{{lane}} {{verdict}}"),),
                8,
                "ops",
            ),
            Panel(
                "Throughput",
                ((_rate("hedgerow_proxy_bytes_total", "lane, direction"), "{{lane}} {{direction}}"),),
                8,
                "Bps",
            ),
            Panel(
                "Requests by lane",
                ((_rate("hedgerow_proxy_requests_total", "lane, verdict"), "{{lane}}: {{verdict}}"),),
                12,
                "reqps",
            ),
            Panel(
                "Refused undecided, cut, passed through, scanned",
                (
                    (_rate("hedgerow_proxy_dropped_total", "cause"), "{{cause}}"),
                    (_rate("hedgerow_proxy_cut_total"), "cut by new rules"),
                    (_rate("hedgerow_proxy_passed_through_total"), "certificate refused, passed through"),
                    (_rate("hedgerow_proxy_pages_scanned_total", "verdict"), "pages scanned: {{verdict}}"),
                    (
                        _rate("hedgerow_proxy_pages_recognised_total", "topic, evidence"),
                        "pages recognised: {{topic}} by {{evidence}}",
                    ),
                    (_rate("hedgerow_proxy_pictures_judged_total", "outcome"), "pictures: {{outcome}}"),
                ),
                12,
                "ops",
            ),
        ),
    ),
    "lists-and-health": (
        "Hedgerow: lists and health",
        (
            Panel("Version", (("hedgerow_build_info", "{{version}}"),), 4, kind="stat", shows_legend=True),
            Panel("Domains in the lists", (("sum(hedgerow_list_domains)", ""),), 4, kind="stat"),
            Panel("Temperature", (("max(hedgerow_machine_temperature_celsius)", ""),), 4, "celsius", "stat"),
            Panel("Trouble of the machine", (("max by (cause) (hedgerow_machine_trouble)", "{{cause}}"),), 4),
            Panel("Memory", (("min by (state) (hedgerow_machine_memory_bytes)", "{{state}}"),), 4, "bytes"),
            Panel("Errors of disks", (("sum(hedgerow_machine_disk_errors)", ""),), 4, kind="stat"),
            Panel("Sites remembered for their pages", (("sum(hedgerow_remembered_sites)", ""),), 4, kind="stat"),
            Panel(
                "Policy in force for",
                (("time() - max(hedgerow_policy_loaded_timestamp_seconds > 0)", ""),),
                4,
                "s",
                "stat",
            ),
            Panel("Policy loads refused (1 d)", ((_REFUSED_LOADS, ""),), 4, kind="stat"),
            Panel("Disk left for the state", (("min(hedgerow_state_free_bytes)", ""),), 4, "bytes", "stat"),
            Panel(
                "A certificate expires in",
                (("min(hedgerow_certificate_expires_timestamp_seconds) - time()", ""),),
                4,
                "s",
                "stat",
            ),
            Panel("Gateway not in place", ((_GATEWAY_OFF, "{{instance}}"),), 4, kind="stat"),
            Panel("Hash of the policy", (("hedgerow_policy_info", "{{hash}}"),), 4, kind="stat", shows_legend=True),
            Panel(
                "Ages of new sites asked for (1 d)", ((_AGES_ASKED, "{{outcome}}"),), 4, kind="stat", shows_legend=True
            ),
            Panel("Longest silence of a process", ((_SILENCE, "{{role}}"),), 8, "s"),
            Panel("Memory by role", (("sum by (role) (hedgerow_process_memory_bytes)", "{{role}}"),), 8, "bytes"),
            Panel(
                "Delay of control, and responses of pages and API",
                (
                    ("max(hedgerow_control_delay_seconds)", "longest delay in s"),
                    (_rate("hedgerow_web_responses_total", "part, code"), "{{part}}: {{code}}"),
                ),
                8,
            ),
            Panel(
                "Names in force",
                (("sort_desc(max by (category) (hedgerow_coverage_names))", "{{category}}"),),
                12,
                kind="bargauge",
            ),
            Panel(
                "Lists in force",
                (("sort_desc(max by (category) (hedgerow_coverage_lists))", "{{category}}"),),
                12,
                kind="bargauge",
            ),
            Panel(
                "Categories that are not fully covered",
                ((_NOT_COVERED, "{{category}}: {{state}}"),),
                12,
                kind="bargauge",
            ),
            Panel(
                "Age of the lists",
                (("sort_desc(max by (source) (hedgerow_list_age_seconds))", "{{source}}"),),
                12,
                "s",
                "bargauge",
            ),
            Panel(
                "Restarts, and events not remembered",
                (
                    ("sum by (role) (increase(hedgerow_worker_restarts_total[5m]))", "restarts: {{role}}"),
                    (
                        "sum by (process, task) (increase(hedgerow_task_failures_total[5m]))",
                        "failures: {{task}} in {{process}}",
                    ),
                    ("sum by (process, task) (hedgerow_tasks_failing)", "failing: {{task}} in {{process}}"),
                    (
                        "sum by (process) (increase(hedgerow_unexpected_errors_total[5m]))",
                        "unexpected errors: {{process}}",
                    ),
                    ("sum by (role) (increase(hedgerow_worker_renewals_total[5m]))", "successors: {{role}}"),
                    ("sum by (role) (increase(hedgerow_events_dropped_total[5m]))", "events dropped: {{role}}"),
                    ("sum(increase(hedgerow_event_log_lost_total[5m]))", "lines lost for collectors"),
                    ("sum(hedgerow_event_log_waiting)", "lines waiting for collectors"),
                ),
                16,
            ),
            Panel(
                "Budgets, and notices that wait",
                (
                    ("sum by (state) (hedgerow_budgets)", "budgets with time left: {{state}}"),
                    ("sum(hedgerow_notices_waiting)", "notices waiting"),
                ),
                8,
            ),
        ),
    ),
}


def dashboard(name: str) -> dict[str, Any]:
    """Return a dashboard for import into Grafana."""
    title, panels = DASHBOARDS[name]
    return {
        "title": title,
        "uid": f"hedgerow-{name}",
        "tags": ["hedgerow"],
        "timezone": "browser",
        "schemaVersion": _SCHEMA_VERSION,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "hide": 0},
                _variable("site", "Site", ""),
                _variable("instance", "Instance", '{site=~"$site"}'),
            ]
        },
        "panels": _laid_out(panels_with_metrics(panels)),
    }


def panels_with_metrics(panels: Iterable[Panel]) -> tuple[Panel, ...]:
    """Return the panels with those queries whose metrics are declared: a tree without a feature lacks the feature's."""
    declared = {name for metric in ALL_METRICS for name in sample_names(metric)}
    kept = (
        replace(
            panel,
            queries=tuple(query for query in panel.queries if set(re.findall(r"\bhedgerow_\w+", query[0])) <= declared),
        )
        for panel in panels
    )
    return tuple(panel for panel in kept if panel.queries)


def sample_names(metric: Metric) -> set[str]:
    """Return the names of a metric's samples."""
    if metric.type is MetricType.HISTOGRAM:
        return {f"{metric.name}_{part}" for part in ("bucket", "sum", "count")}
    return {metric.name}


def _variable(label: str, title: str, where: str) -> dict[str, Any]:
    """Return a variable with the values of a label, of which several can be chosen.

    "All" also means targets without the label.
    """
    query = f"label_values(hedgerow_build_info{where}, {label})"
    return {
        "name": label,
        "label": title,
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": query, "refId": f"variable-{label}"},
        "refresh": 2,
        "sort": 1,
        "hide": 0,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _laid_out(panels: tuple[Panel, ...]) -> list[dict[str, Any]]:
    """Place panels from left to right, in rows as high as their highest panel."""
    found, x, y, row = [], 0, 0, 0
    for number, panel in enumerate(panels, 1):
        if x + panel.width > 24:
            x, y, row = 0, y + row, 0
        found.append(_panel(number, panel, {"x": x, "y": y, "w": panel.width, "h": panel.height}))
        x, row = x + panel.width, max(row, panel.height)
    return found


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    is_instant = panel.kind != "timeseries"
    targets = [
        {
            "refId": chr(65 + index),
            "datasource": _SOURCE,
            "expr": chosen(query),
            "legendFormat": legend,
            "instant": is_instant,
        }
        for index, (query, legend) in enumerate(panel.queries)
    ]
    made: dict[str, Any] = {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "datasource": _SOURCE,
        "gridPos": place,
        "targets": targets,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, "noValue": "nothing so far"}, "overrides": []},
    }
    if is_instant:
        made["options"] = {"reduceOptions": {"calcs": ["lastNotNull"]}} | (
            {"textMode": "name"} if panel.shows_legend else {}
        )
    return made


def metrics_markdown() -> str:
    """Return docs/reference/metrics.md."""
    lines = [
        "# Metrics",
        "",
        "Generated by `python tools/grafana_dashboards.py` from `hedgerow/dashboards/metrics.py` and the "
        "features; do not edit.",
        "",
        "`/metrics` at the web address exposes these metrics, summed over all processes, and Python's own "
        "(`process_…`, `python_…`). No",
        "label holds a visited domain, a person, or a client's name or address, but for `seat`, the name "
        "of a café's seat, which is",
        "there only where the policy limits the bandwidth of seats. `upstream` and `source` are resolvers and "
        "lists that the policy",
        "names. A metric has at most 500 series. Scrape it from the machine itself,",
        "or with a token of the scope `metrics` (Settings, *Tokens for scripts*). Never give Prometheus the "
        "admin token of the state",
        "directory: with it, an account could be made. `hedgerow/dashboards/grafana/` has a scrape job, alert "
        "rules and three dashboards.",
        "The dashboards have variables for the instance and for the site, a label that you give each target, as "
        "in the scrape job.",
        "",
        "| name | type | labels | meaning |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| `{metric.name}` | {metric.type.value} | {', '.join(f'`{label}`' for label in metric.labels) or '–'} "
        f"| {metric.help} |"
        for metric in ALL_METRICS
    ]
    bounds = [
        f"- `{metric.name}`: {', '.join(f'{bound:g}' for bound in metric.buckets)}"
        for metric in ALL_METRICS
        if metric.type is MetricType.HISTOGRAM
    ]
    return "\n".join([*lines, "", "Upper bounds of the histograms' buckets, in seconds:", "", *bounds, ""])


def main() -> None:
    """Write the dashboards into the package, and the document to the path in the first argument."""
    for name in DASHBOARDS:
        (GRAFANA / f"{name}.json").write_text(json.dumps(dashboard(name), indent=2) + "\n", encoding="utf-8")
    Path(sys.argv[1] if len(sys.argv) > 1 else "docs/reference/metrics.md").write_text(
        metrics_markdown(), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
