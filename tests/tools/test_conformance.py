"""The generated document of conformance."""

from __future__ import annotations

import json

import conformance


def test_the_document_tells_the_results() -> None:
    results = json.loads(conformance.RESULTS.read_text(encoding="utf-8"))
    assert conformance.DOCUMENT.read_text(encoding="utf-8") == conformance.render(results), (
        "run tools/conformance.py AREA --write"
    )


def test_hedgerow_passes_every_case_of_the_proxy() -> None:
    stored = json.loads(conformance.RESULTS.read_text(encoding="utf-8"))
    rows = [row for area in ("http", "http2", "certificates", "websocket") for row in stored[area]["rows"]]
    assert {row["suite"]: row["failed"] for row in rows if row["program"] == "Hedgerow" and row["failed"]} == {}
