"""Notices in the ntfy app: a new topic, a QR code to subscribe to it, and a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hedgerow.features.contract import Feature

if TYPE_CHECKING:
    from hedgerow.dashboards.extensions import Extensions


def _extensions() -> Extensions:
    from hedgerow.features.ntfy.pages import EXTENSIONS

    return EXTENSIONS


FEATURE = Feature(
    name="ntfy",
    summary="Notices in the ntfy app: a new topic, a QR code to subscribe to it, and a test",
    extensions=_extensions,
)
