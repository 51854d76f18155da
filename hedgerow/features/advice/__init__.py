"""Help beyond the filter: pages for children in trouble, and for parents whose child told them something."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hedgerow.features.contract import Feature

if TYPE_CHECKING:
    from hedgerow.dashboards.extensions import Extensions


def _extensions() -> Extensions:
    from hedgerow.features.advice.pages import EXTENSIONS

    return EXTENSIONS


FEATURE = Feature(
    name="advice",
    summary="What a child can do who is threatened, asked to meet, worried or upset, and what a parent says then",
    extensions=_extensions,
)
