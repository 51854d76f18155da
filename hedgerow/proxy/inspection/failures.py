"""What could not be fetched, in which words: from what mitmproxy says to a section of `pages/*.yaml`."""

from __future__ import annotations

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
