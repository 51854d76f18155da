"""Invitations of another parent, or of staff, by a QR code or a link that works once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hedgerow.features.contract import Feature

if TYPE_CHECKING:
    from hedgerow.dashboards.extensions import Extensions


def _extensions() -> Extensions:
    from hedgerow.features.invitations.pages import EXTENSIONS

    return EXTENSIONS


FEATURE = Feature(
    name="invitations",
    summary="Invitations of another parent, or of staff, by a QR code or a link that works once",
    extensions=_extensions,
    commands={"accounts": "commands:app"},
)
