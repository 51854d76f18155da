"""Connecting a home: how its devices come to use Hedgerow, and which of them do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hedgerow.features.contract import Feature

if TYPE_CHECKING:
    from hedgerow.dashboards.extensions import Extensions
    from hedgerow.features.contract import Check


def _extensions() -> Extensions:
    from hedgerow.features.connecting.pages import EXTENSIONS

    return EXTENSIONS


def _checks() -> Sequence[Check]:
    from hedgerow.features.connecting.checks import check_connections, check_router

    return (check_connections, check_router)


FEATURE = Feature(
    name="connecting",
    summary="The step that connects a home, and which devices use Hedgerow",
    extensions=_extensions,
    checks=_checks,
    commands={"dhcp-options": "commands:dhcp_options"},
)
