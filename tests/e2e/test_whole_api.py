"""Every call of the API of a running Hedgerow, with what schemathesis thinks of: each answers as it is described, and it filters on."""

from __future__ import annotations

from typing import Any

import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance
from small_internet import SmallInternet
from small_internet.clients import kdig
from small_internet.family import LISTS, TABLET, family_policy
from small_internet.running import Hedgerow, running_hedgerow

SEATS = "seats:\n  seat-1: {ip: 127.0.0.51}\nnotices: {ana: {}}\n"
ENDLESS = "/api/v1/events"
FETCHING = "^/api/v1/lists$"
"""Lists are fetched from wherever one says: that call is tried where nothing is fetched."""
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


def test_every_call_answers_as_it_is_described(whole_internet: SmallInternet) -> None:
    with running_hedgerow(family_policy(whole_internet) + SEATS, lists=LISTS) as running:
        token = (running.state / "admin-token").read_text().strip()
        api = schemathesis.openapi.from_url(f"{running.web}/api/v1/openapi.json", headers={"Authorization": f"Bearer {token}"})
        tried = {_try(result.ok(), token) for result in api.exclude(path=ENDLESS).exclude(path_regex=FETCHING).get_all_operations()}
        parts = ("codes", "vouchers", "notices", "sittings", "settings", "devices", "budgets", "grants", "report", "accounts")
        assert [part for part in parts if not any(f"/api/v1/{part}" in label for label in tried)] == []
        assert _filters(running)


def _try(operation: Any, token: str) -> str:
    @settings(max_examples=8, suppress_health_check=list(HealthCheck), database=None)
    @given(operation.as_strategy())
    def holds(case: Any) -> None:
        answer = case.call(headers={"Authorization": f"Bearer {token}"}, timeout=60)
        case.validate_response(answer, checks=CHECKS)

    holds()
    return str(operation.label)


def _filters(running: Hedgerow) -> bool:
    answer = kdig(running.dns, "gambling.example", source=TABLET)
    return answer is not None and answer.data("A") == ["0.0.0.0"]
