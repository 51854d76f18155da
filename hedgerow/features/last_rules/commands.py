"""The command that returns to the rules in force."""

from __future__ import annotations

from hedgerow.app.commands.actions import command_of
from hedgerow.features.last_rules.actions import return_to_last_rules

last_rules = command_of(return_to_last_rules)
