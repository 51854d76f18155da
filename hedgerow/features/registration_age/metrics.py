"""Metrics of questions to registries."""

from __future__ import annotations

from hedgerow.dashboards.metrics import Metric, counter

QUESTIONS = "hedgerow_registration_questions_total"

METRICS: tuple[Metric, ...] = (
    counter(
        QUESTIONS,
        "Questions when a new site was registered: answered, without a date (unknown) or failed.",
        "outcome",
    ),
)
