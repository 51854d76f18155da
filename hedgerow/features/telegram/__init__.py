"""Notices in Telegram: a bot of one's own, a QR code that opens its chat, and a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hedgerow.features.contract import Feature

if TYPE_CHECKING:
    from hedgerow.dashboards.extensions import Extensions


def _extensions() -> Extensions:
    from hedgerow.features.telegram.pages import EXTENSIONS

    return EXTENSIONS


FEATURE = Feature(
    name="telegram",
    summary="Notices in Telegram: a bot of one's own, a QR code that opens its chat, and a test",
    extensions=_extensions,
)
