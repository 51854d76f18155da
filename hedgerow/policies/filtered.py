"""What a ruleset does at all: questions that save work where the answer is nothing."""

from __future__ import annotations

import functools
import re

from hedgerow.policies.model import SafeSearch
from hedgerow.policies.ruleset import Ruleset

_ADDRESS = re.compile(r"[0-9.]+|.*:.*")


@functools.lru_cache(maxsize=256)
def is_filtered(ruleset: Ruleset) -> bool:
    """Could anything be blocked or rewritten under it, now?"""
    rules = ruleset.rules
    blocks = [rule for rule in (*rules.hosts.values(), *rules.services.values()) if not rule.allow]
    off = ruleset.safe_search is SafeSearch.OFF and ruleset.youtube is SafeSearch.OFF
    return bool(ruleset.closed or blocks or rules.urls or rules.blocked or rules.bypass or rules.illegal) or not off


@functools.lru_cache(maxsize=256)
def knows_addresses(ruleset: Ruleset) -> bool:
    """Does it name an IP address?"""
    return any(_ADDRESS.fullmatch(host) for host in ruleset.rules.hosts)
