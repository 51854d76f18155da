"""The table of metrics, its exposition, and the dashboards and alerts."""

import contextlib
import json
import math
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

import httpx
import pytest
import yaml
from grafana_dashboards import ALL_METRICS, DASHBOARDS, dashboard, metrics_markdown, sample_names
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

import hedgerow
import hedgerow.dashboards
from hedgerow.dashboards.metrics import METRICS, SERIES_LIMIT, Metrics, MetricType, UndeclaredMetric

GRAFANA = Path(hedgerow.dashboards.__file__).parent / "grafana"
IGNORED = "hedgerow_metrics_ignored_total"

# Labels whose values are few and known beforehand, or are names from the policy file (a list's name, a category).
BOUNDED_LABELS = {
    *(
        "commit",
        "version",
        "verdict",
        "reason",
        "transport",
        "cause",
        "lane",
        "direction",
        "role",
        "result",
        "category",
        "source",
    ),
    *("type", "profile", "cache", "upstream", "outcome", "certificate", "state", "topic", "evidence"),
    *("index", "part", "code", "hash", "rule", "rcode", "seat", "process", "task"),
}


def samples(metrics):
    text = metrics.exposition()[0].decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse_text(text)
        for sample in family.samples
    }


@pytest.mark.parametrize("metric", ALL_METRICS, ids=lambda metric: metric.name)
def test_names_follow_prometheus_own_rules(metric):
    assert re.fullmatch(r"hedgerow_[a-z]+(_[a-z]+)*", metric.name)
    assert metric.name.endswith("_total") == (metric.type is MetricType.COUNTER)
    assert set(metric.labels) <= BOUNDED_LABELS
    assert metric.help.endswith(".")
    assert bool(metric.buckets) == (metric.type is MetricType.HISTOGRAM)
    assert list(metric.buckets) == sorted(metric.buckets)
    for unit in ("milliseconds", "_ms", "kilobytes", "minutes"):
        assert unit not in metric.name


def test_names_are_declared_once():
    assert len({metric.name for metric in ALL_METRICS}) == len(ALL_METRICS)


def test_every_name_in_the_code_is_declared():
    package = Path(hedgerow.__file__).parent
    declared = {metric.name for metric in ALL_METRICS}
    for file in package.rglob("*.py"):
        used = set(
            re.findall(
                r"""["'](hedgerow_(?:dns|proxy|worker|events|policy|list|access|metrics|build)_[a-z_]+)""",
                file.read_text(),
            )
        )
        assert used <= declared, file


def test_a_fresh_start_already_shows_every_metric():
    text = Metrics().exposition()[0].decode()
    assert {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE hedgerow_")} == {
        metric.name for metric in METRICS
    }
    assert "\nhedgerow_dns_cache_hits_total 0.0\n" in text
    assert "process_cpu_seconds_total" in text


@pytest.mark.parametrize(
    ("accept", "parse"), [("", parse_text), ("application/openmetrics-text; version=1.0.0", parse_openmetrics)]
)
def test_both_formats_are_what_prometheus_own_parser_reads(accept, parse):
    metrics = Metrics(strict=True)
    metrics.add("hedgerow_dns_queries_total", ("block", "category", "udp"), 3)
    metrics.observe("hedgerow_dns_upstream_seconds", 0.02, ("udp://9.9.9.9",))
    body, content_type = metrics.exposition(accept)
    assert content_type.startswith(accept.partition(";")[0] or "text/plain")
    found = {sample.name: sample for family in parse(body.decode()) for sample in family.samples}
    assert found["hedgerow_dns_queries_total"].value == 3
    assert found["hedgerow_dns_queries_total"].labels == {"verdict": "block", "reason": "category", "transport": "udp"}


def test_workers_counters_add_up_and_stay_while_gauges_leave_with_them():
    metrics = Metrics(strict=True)
    for worker, level in (("gate-0", 3.0), ("gate-1", 4.0)):
        metrics.set("hedgerow_proxy_open_tunnels", (), level, worker)
        metrics.add("hedgerow_proxy_bytes_total", ("tunnel", "in"), 10)
    assert samples(metrics)["hedgerow_proxy_open_tunnels", ()] == 7
    metrics.worker_left("gate-0")
    after = samples(metrics)
    assert after["hedgerow_proxy_open_tunnels", ()] == 4
    assert after["hedgerow_proxy_bytes_total", (("direction", "in"), ("lane", "tunnel"))] == 20


def test_histogram_from_observations_and_from_a_workers_own_buckets():
    metrics = Metrics(strict=True)
    metrics.observe("hedgerow_dns_upstream_seconds", 0.02, ("a",))
    for bound in ("0.025", "1", "1.0", "+Inf"):
        metrics.add("hedgerow_dns_upstream_seconds_bucket", ("a", bound))
    metrics.add("hedgerow_dns_upstream_seconds_sum", ("a",), 0.5)
    metrics.add("hedgerow_dns_upstream_seconds_count", ("a",))
    found = samples(metrics)
    bucket = "hedgerow_dns_upstream_seconds_bucket"
    own = ("upstream", "a")
    assert [found[bucket, (("le", bound), own)] for bound in ("0.01", "0.025", "1.0", "+Inf")] == [0, 2, 3, 2]
    assert found["hedgerow_dns_upstream_seconds_sum", (own,)] == pytest.approx(0.52)
    assert found["hedgerow_dns_upstream_seconds_count", (own,)] == 2


WRONG = [
    lambda metrics: metrics.add("hedgerow_dns_cache_hists_total"),
    lambda metrics: metrics.add("hedgerow_dns_queries_total", ("block",)),
    lambda metrics: metrics.add("hedgerow_dns_cache_hits_total", (), -1.0),
    lambda metrics: metrics.add("hedgerow_dns_cache_hits_total", (), math.inf),
    lambda metrics: metrics.add("hedgerow_dns_cache_hits_total", (), math.nan),
    lambda metrics: metrics.add("hedgerow_proxy_open_tunnels"),
    lambda metrics: metrics.add("hedgerow_dns_upstream_seconds_bucket", ("a", "0.3")),
    lambda metrics: metrics.add("hedgerow_dns_upstream_seconds_bucket", ("a", "much")),
    lambda metrics: metrics.set("hedgerow_dns_cache_hits_total", (), 1.0),
    lambda metrics: metrics.set("hedgerow_proxy_open_tunnels", (), math.nan),
    lambda metrics: metrics.set_all("hedgerow_unknown", {(): 1.0}),
]


@pytest.mark.parametrize("report", WRONG)
def test_undeclared_metrics_raise_in_tests_and_are_counted_at_run_time(report):
    with pytest.raises(UndeclaredMetric):
        report(Metrics(strict=True))
    metrics = Metrics()
    before = samples(metrics)
    report(metrics)
    after = samples(metrics)
    hedgerows = {key for key in after if key[0].startswith("hedgerow_") and after[key] != before.get(key)}
    assert hedgerows == {(IGNORED, ())}
    assert after[IGNORED, ()] == 1


def test_the_number_of_series_is_bounded():
    metrics = Metrics()
    for number in range(SERIES_LIMIT + 50):
        metrics.add("hedgerow_dns_dropped_total", (f"cause-{number}",))
    assert sum(name == "hedgerow_dns_dropped_total" for name, _ in samples(metrics)) == SERIES_LIMIT
    assert samples(metrics)[IGNORED, ()] == 50
    metrics.add("hedgerow_dns_dropped_total", ("cause-0",))
    assert samples(metrics)["hedgerow_dns_dropped_total", (("cause", "cause-0"),)] == 2


def test_a_label_with_line_breaks_and_quotes_does_not_break_the_exposition():
    metrics = Metrics(strict=True)
    name = 'my "list"\nhedgerow_dns_cache_hits_total 99\\'
    metrics.set_all("hedgerow_list_age_seconds", {(name,): 5.0})
    found = samples(metrics)
    assert found["hedgerow_list_age_seconds", (("source", name),)] == 5
    assert found["hedgerow_dns_cache_hits_total", ()] == 0
    metrics.set_all("hedgerow_list_age_seconds", {})
    assert ("hedgerow_list_age_seconds", (("source", name),)) not in samples(metrics)


def test_a_total_kept_elsewhere_never_goes_down():
    metrics = Metrics(strict=True)
    for total in (5.0, 3.0, 8.0):
        metrics.set_total("hedgerow_events_dropped_total", ("control",), total)
    assert samples(metrics)["hedgerow_events_dropped_total", (("role", "control"),)] == 8


def queries_of(board):
    return [target["expr"] for panel in dashboard(board)["panels"] for target in panel["targets"]]


def test_dashboards_and_alerts_use_every_declared_metric_and_no_other():
    alerts = [rule["expr"] for rule in yaml.safe_load((GRAFANA / "alerts.yml").read_text())["groups"][0]["rules"]]
    queries = [query for board in DASHBOARDS for query in queries_of(board)]
    declared = {name for metric in ALL_METRICS for name in sample_names(metric)}
    asked = {name for query in queries for name in re.findall(r"hedgerow_\w+", query)}
    assert asked | {name for query in alerts for name in re.findall(r"hedgerow_\w+", query)} <= declared
    shown = {metric.name for metric in ALL_METRICS if sample_names(metric) & asked}
    assert {metric.name for metric in ALL_METRICS} - shown == {IGNORED}
    labels = {metric.name: set(metric.labels) for metric in ALL_METRICS}
    for query in queries + alerts:
        for grouped in re.findall(r"by \(([^)]*)\)", query):
            names = [name for name in labels if any(sample in query for sample in sample_names_of(name))]
            assert set(re.split(r",\s*", grouped)) <= {"le", "instance"}.union(*(labels[name] for name in names)), query


def sample_names_of(name):
    return sample_names(next(metric for metric in ALL_METRICS if metric.name == name))


@pytest.mark.parametrize("board", DASHBOARDS)
def test_panels_do_not_overlap(board):
    panels = dashboard(board)["panels"]
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_labels_that_hold_a_name_are_documented():
    """All others have a closed set of values, or are names of the policy's own profiles."""
    labels = {label for metric in ALL_METRICS for label in metric.labels}
    assert not labels & {"address", "client", "device", "domain", "host", "ip", "mac", "name", "person", "user"}
    for named in ("seat", "source", "upstream"):
        assert named in labels
        assert f"`{named}`" in metrics_markdown().partition("| name |")[0]


def test_generated_files_are_up_to_date():
    """To update: `python tools/grafana_dashboards.py`."""
    for board in DASHBOARDS:
        assert json.loads((GRAFANA / f"{board}.json").read_text()) == dashboard(board), board
    document = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"
    assert document.read_text() == metrics_markdown()


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool of Debian's prometheus package")
def test_prometheus_own_tool_accepts_the_rules_and_every_query(tmp_path):
    rules = [
        {"record": f"panel:{number}", "expr": query.replace("$__rate_interval", "5m")}
        for number, query in enumerate(query for board in DASHBOARDS for query in queries_of(board))
    ]
    panels = tmp_path / "panels.yml"
    panels.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    for file in (GRAFANA / "alerts.yml", panels):
        done = subprocess.run(["promtool", "check", "rules", str(file)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules)} rules found" in done.stdout


def test_series_used_by_alerts_exist_from_the_start():
    """Prometheus sees no increase in a series that begins with 1, so the first broken policy would raise no alert."""
    rules = yaml.safe_load((GRAFANA / "alerts.yml").read_text())["groups"][0]["rules"]
    queries = [rule["expr"] for rule in rules] + [query for board in DASHBOARDS for query in queries_of(board)]
    watched = {found for query in queries for found in re.findall(r"increase\((\w+)(?:\{(\w+)=\"(\w+)\"\})?\[", query)}
    shown = Metrics().exposition()[0].decode()
    assert {metric for metric, _, _ in watched} >= {"hedgerow_policy_loads_total", "hedgerow_worker_restarts_total"}
    for metric, label, value in watched:
        assert re.search(rf"^{metric}\{{.*{label and f'{label}="{value}"'}.*\}} 0\.0$", shown, re.MULTILINE), (
            metric,
            label,
            value,
        )


SERIES = {
    "HedgerowDown": ('up{job="hedgerow"}', "0x20"),
    "HedgerowListStale": ('hedgerow_list_age_seconds{source="https://example.org/x"}', "300000x200"),
    "HedgerowFewAdultSites": ('hedgerow_coverage_state{category="adult",state="fetching"}', "1x200"),
    "HedgerowListDead": ('hedgerow_coverage_state{category="malware",state="dead"}', "1x200"),
    "HedgerowInspectorRecycling": ('hedgerow_worker_restarts_total{role="inspector"}', "0+1x60"),
    "HedgerowWorkerRestarting": ('hedgerow_worker_restarts_total{role="dns"}', "0+1x60"),
    "HedgerowTaskFailing": ('hedgerow_tasks_failing{process="gateway",task="seats"}', "1x60"),
    "HedgerowBypassAttempts": ('hedgerow_dns_queries_total{reason="bypass",verdict="block"}', "0+9x120"),
    "HedgerowDiskLow": ("hedgerow_state_free_bytes", "1000x30"),
    "HedgerowEventsDropped": ('hedgerow_events_dropped_total{role="dns"}', "0+1x30"),
    "HedgerowPolicyBroken": ('hedgerow_policy_loads_total{result="failure"}', "0x5 1x30"),
    "HedgerowUpstreamDown": ('hedgerow_dns_upstream_errors_total{upstream="a",outcome="timeout"}', "0+9x60"),
    "HedgerowCertificateExpires": ('hedgerow_certificate_expires_timestamp_seconds{certificate="ca"}', "86400x60"),
    "HedgerowHangs": ('hedgerow_worker_heartbeat_timestamp_seconds{role="dns",index="0"}', "0x60"),
    "HedgerowControlSlow": ("hedgerow_control_delay_seconds", "3x60"),
    "HedgerowGatewayOff": ("hedgerow_gateway_configured", "1x60"),
    "HedgerowCategoryNotCovered": ('hedgerow_coverage_state{category="games",state="missing"}', "1x1600"),
    "HedgerowOwnCertificateExpires": (
        'hedgerow_certificate_expires_timestamp_seconds{certificate="files"}',
        "86400x60",
    ),
}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool of Debian's prometheus package")
def test_every_alert_fires_when_it_should_and_is_silent_when_all_is_well(tmp_path):
    alerts = [rule["alert"] for rule in yaml.safe_load((GRAFANA / "alerts.yml").read_text())["groups"][0]["rules"]]
    assert set(alerts) == set(SERIES)
    bad = [{"series": series, "values": values} for series, values in SERIES.values()]
    bad.append({"series": 'hedgerow_dns_upstream_seconds_count{upstream="a"}', "values": "0+1x60"})
    bad.append({"series": "hedgerow_gateway_in_place", "values": "0x60"})
    good = [{"series": series, "values": _harmless(series)} for series, _ in SERIES.values()]
    good.append({"series": "hedgerow_gateway_in_place", "values": "1x200"})
    query = 'ALERTS{alertstate="firing"}'
    tests = [
        {
            "interval": "1m",
            "input_series": good,
            "promql_expr_test": [{"expr": query, "eval_time": "3h", "exp_samples": []}],
        },
        *({"interval": "1m", "input_series": bad, "promql_expr_test": [_fires(alert)]} for alert in alerts),
    ]
    file = tmp_path / "test.yml"
    file.write_text(
        yaml.safe_dump({"rule_files": [str(GRAFANA / "alerts.yml")], "evaluation_interval": "1m", "tests": tests})
    )
    done = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _harmless(series):
    if "bytes" in series or "expires" in series:
        return "7000000000x200"
    if "heartbeat" in series:
        return "0+60x200"
    return "0x200" if "state=" in series or "failing" in series else "1x200"


def _fires(alert):
    slow = {"HedgerowListStale", "HedgerowFewAdultSites", "HedgerowListDead"}
    when = "25h" if alert == "HedgerowCategoryNotCovered" else "100m" if alert in slow else "20m"
    return {
        "expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})',
        "eval_time": when,
        "exp_samples": [{"labels": "{}", "value": 1}],
    }


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs Debian's prometheus package")
def test_a_real_prometheus_scrapes_it(web, tmp_path):
    """Uses the shipped scrape job with another port and interval."""
    config = yaml.safe_load((GRAFANA / "prometheus.yml").read_text())
    config["scrape_configs"][0] |= {"scrape_interval": "1s", "static_configs": [{"targets": [f"127.0.0.1:{web.port}"]}]}
    config["rule_files"] = [str(GRAFANA / "alerts.yml")]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = ["prometheus", f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    with process:
        try:
            names = _scraped_names(port, time.monotonic() + 30)
        finally:
            process.terminate()
    declared = {
        name
        for metric in METRICS
        if not metric.labels or metric.name == "hedgerow_build_info"
        for name in sample_names(metric)
    }
    assert declared - names == set(), (tmp_path / "log").read_text()[-2000:]


def _scraped_names(port, deadline):
    url = f"http://127.0.0.1:{port}/api/v1/label/__name__/values"
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError, ValueError):
            names = set(httpx.get(url, trust_env=False, verify=False, timeout=60).json()["data"])
            if "hedgerow_build_info" in names:
                return names
        time.sleep(0.2)
    raise AssertionError("Prometheus scraped nothing")


def test_the_scrape_example_is_a_scrape_of_metrics():
    (job,) = yaml.safe_load((GRAFANA / "prometheus.yml").read_text())["scrape_configs"]
    assert job["metrics_path"] == "/metrics"
    assert job["static_configs"] == [{"targets": ["127.0.0.1:8053"], "labels": {"site": "home"}}]
