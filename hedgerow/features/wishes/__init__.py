"""Wishes of children: more minutes, a later bedtime, or another rule, and what a parent says to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hedgerow.features.contract import Feature

if TYPE_CHECKING:
    from hedgerow.dashboards.extensions import Extensions


def _extensions() -> Extensions:
    from hedgerow.features.wishes.pages import EXTENSIONS

    return EXTENSIONS


FEATURE = Feature(
    name="wishes",
    summary="Children ask for minutes, a later bedtime or another rule, and a parent answers with one tap",
    extensions=_extensions,
    commands={"wishes": "commands:app"},
)
