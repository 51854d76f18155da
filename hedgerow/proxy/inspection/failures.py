"""What could not be fetched, in which words: from what mitmproxy says to a section of `pages/*.yaml`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hedgerow.policies.model import Decision, Request
from hedgerow.policies.ruleset import Ruleset

NO_ADDRESS = "the name has no address"
NOT_REACHABLE = "the address is not reachable through the proxy"


def failure_key(status: int, message: str) -> str:
    """The section of the pages' words that explains a failure.

    >>> failure_key(502, "Certificate verify failed: self-signed certificate"), failure_key(502, "Connection killed: " + NO_ADDRESS)
    ('bad-certificate', 'no-address')
    """
    if status < 500:
        return "bad-request"
    text = message.lower()
    if NO_ADDRESS in text:
        return "no-address"
    if NOT_REACHABLE in text or "not served" in text:
        return "not-reachable"
    if "certificate" in text:
        return "bad-certificate"
    if any(
        sign in text for sign in ("tls", "ssl", "handshake", "parse", "protocol", "header", "unexpected", "received", "body", "head is")
    ):
        return "broken-answer"
    return "unreachable"


_MESSAGE = re.compile(r"blocked behind the name (\S+) of client (\S+)")


@dataclass(frozen=True, slots=True)
class ResolutionBlock:
    """A request that was let through by its URL, and what was then decided on what its host stands for."""

    ruleset: Ruleset
    request: Request
    decision: Decision


class ResolutionBlocks:
    """Those of the clients that are connected."""

    def __init__(self) -> None:
        self._found: dict[str, dict[str, ResolutionBlock]] = {}

    def keep(self, client: str, block: ResolutionBlock) -> str:
        """Remembers a block until `forget`. Returns the words by which `recall` finds it."""
        host = block.request.host
        self._found.setdefault(client, {})[host] = block
        return f"blocked behind the name {host} of client {client}"

    def recall(self, message: str) -> ResolutionBlock | None:
        """The block that a message of mitmproxy's is about, if it is about one."""
        words = _MESSAGE.search(message)
        return self._found.get(words[2], {}).get(words[1]) if words else None

    def forget(self, client: str) -> None:
        """The client is gone."""
        self._found.pop(client, None)
