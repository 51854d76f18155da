"""The way back from a policy file with mistakes to the text whose rules are in force."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hedgerow.features.contract import Feature

if TYPE_CHECKING:
    from hedgerow.dashboards.extensions import Extensions


def _extensions() -> Extensions:
    from hedgerow.features.last_rules.pages import EXTENSIONS

    return EXTENSIONS


FEATURE = Feature(
    name="last_rules",
    summary="The way back from a policy file with mistakes to the text whose rules are in force",
    extensions=_extensions,
    commands={"last-rules": "commands:last_rules"},
)
