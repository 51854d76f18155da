"""Failures to fetch a page, from an error message to the section of `pages/*.yaml` that explains it."""

from __future__ import annotations

from hedgerow.proxy.inspection.engine.messages import TOO_MANY_INTERIM

NO_ADDRESS = "the name has no address"
NOT_RESOLVED = "no upstream resolver answers"
NOT_REACHABLE = "the address is not reachable through the proxy"
NOT_SERVED = "this destination is not served"
CERTIFICATE_ASKED = "the site asks for a client certificate: open it again, and it will not be inspected"
CERTIFICATE_NEEDED = "the site needs a client certificate, and the rules do not let it pass uninspected"

_BROKEN = ("tls", "ssl", "handshake", "parse", "protocol", "header", "unexpected", "received", "body", "head is")


def failure_key(status: int, message: str) -> str:
    """Return the section of the pages' words that explains a failure.

    >>> failure_key(502, "Certificate verify failed: self-signed certificate"), failure_key(502, "Connection killed: " + NO_ADDRESS)
    ('bad-certificate', 'no-address')
    >>> failure_key(502, "Connection killed: " + NOT_RESOLVED), failure_key(502, TOO_MANY_INTERIM)
    ('busy', 'broken-answer')
    """
    if status < 500:
        return "bad-request"
    if CERTIFICATE_ASKED in message:
        return "certificate-asked"
    if CERTIFICATE_NEEDED in message:
        return "certificate-needed"
    if TOO_MANY_INTERIM in message:
        return "broken-answer"
    text = message.lower()
    if NO_ADDRESS in text:
        return "no-address"
    if NOT_RESOLVED in text:
        return "busy"
    if NOT_REACHABLE in text or NOT_SERVED in text:
        return "not-reachable"
    if "certificate" in text:
        return "bad-certificate"
    return "broken-answer" if any(sign in text for sign in _BROKEN) else "unreachable"
