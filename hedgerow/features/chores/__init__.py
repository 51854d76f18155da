"""Chores: tasks of a day that a child reports, and that earn minutes once somebody in charge has confirmed them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hedgerow.features.contract import Confirmation, Earned, Feature

if TYPE_CHECKING:
    from hedgerow.dashboards.extensions import Extensions
    from hedgerow.policies.reading.feature_keys import FeatureKey


def _policy_keys() -> Sequence[FeatureKey]:
    from hedgerow.features.chores.settings import CHORES

    return (CHORES,)


def _extensions() -> Extensions:
    from hedgerow.features.chores.pages import EXTENSIONS

    return EXTENSIONS


def _confirm(report: Confirmation) -> Earned | None:
    from hedgerow.features.chores.service import confirm

    return confirm(report) if report.request.chore else None


FEATURE = Feature(
    name="chores",
    summary="Tasks of a day that a child reports, and that earn minutes once they are confirmed",
    policy_keys=_policy_keys,
    extensions=_extensions,
    confirm=_confirm,
    conditions={"chores": "holds for people with chores, until the day's are done."},
)
