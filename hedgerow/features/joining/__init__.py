"""A second machine for the same network, set up from one line that the first one prints."""

from __future__ import annotations

from hedgerow.features.contract import Feature

FEATURE = Feature(
    name="joining",
    summary="A second machine for the same network, set up from one line that the first one prints",
    commands={"invite": "commands:invite", "join": "commands:join"},
)
