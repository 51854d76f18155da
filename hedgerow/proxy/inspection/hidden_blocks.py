"""Names that are blocked for what stands behind them (an alias, an address), which shows only when a request is about to be sent.

mitmproxy reports a connection that was not made as a message, and asks for the answer by that message alone: what was decided is kept
here, under the words by which it is found again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hedgerow.policies.model import Decision, Request
from hedgerow.policies.ruleset import Ruleset

_WORDS = re.compile(r"blocked behind the name (\S+) of client (\S+)")


@dataclass(frozen=True, slots=True)
class HiddenBlock:
    """A request that was let through by its URL, and what was then decided on what its host stands for."""

    ruleset: Ruleset
    request: Request
    decision: Decision


class HiddenBlocks:
    """Those of the clients that are connected."""

    def __init__(self) -> None:
        self._found: dict[str, dict[str, HiddenBlock]] = {}

    def keep(self, client: str, block: HiddenBlock) -> str:
        """Remembers a block until `forget`. Returns the words by which `recall` finds it."""
        host = block.request.host
        self._found.setdefault(client, {})[host] = block
        return f"blocked behind the name {host} of client {client}"

    def recall(self, message: str) -> HiddenBlock | None:
        """The block that a message of mitmproxy's is about, if it is about one."""
        words = _WORDS.search(message)
        return self._found.get(words[2], {}).get(words[1]) if words else None

    def forget(self, client: str) -> None:
        """The client is gone."""
        self._found.pop(client, None)
