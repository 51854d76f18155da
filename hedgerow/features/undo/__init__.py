"""Undo of pauses, extra minutes and a later bedtime, which leaves everything as it was before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hedgerow.features.contract import Feature

if TYPE_CHECKING:
    from hedgerow.dashboards.extensions import Extensions


def _extensions() -> Extensions:
    from hedgerow.features.undo.pages import EXTENSIONS

    return EXTENSIONS


FEATURE = Feature(
    name="undo",
    summary="Undo of pauses, extra minutes and a later bedtime, which leaves everything as it was before",
    extensions=_extensions,
)
