"""Failures to fetch a page, from an error message to the section of `pages/*.yaml` that explains it."""

from __future__ import annotations

from hedgerow.proxy.inspection.engine.messages import BROKEN_ANSWER, TOO_MANY_INTERIM

NO_ADDRESS = "the name has no address"
NOT_RESOLVED = "no upstream resolver answers"
NOT_REACHABLE = "the address is not reachable through the proxy"
NOT_SERVED = "this destination is not served"
CERTIFICATE_ASKED = "the site asks for a client certificate: open it again, and it will not be inspected"
CERTIFICATE_NEEDED = "the site needs a client certificate, and the rules do not let it pass uninspected"

CERTIFICATE_INVALID = "the certificate of the site is not valid"
TLS_FAILED = "no TLS connection with the site"

_SECTIONS = {
    CERTIFICATE_ASKED: "certificate-asked",
    CERTIFICATE_NEEDED: "certificate-needed",
    CERTIFICATE_INVALID: "bad-certificate",
    TLS_FAILED: "broken-answer",
    TOO_MANY_INTERIM: "broken-answer",
    BROKEN_ANSWER: "broken-answer",
    NO_ADDRESS: "no-address",
    NOT_RESOLVED: "busy",
    NOT_REACHABLE: "not-reachable",
    NOT_SERVED: "not-reachable",
}
"""Sections by the messages of our errors, or their first words."""


def failure_key(status: int, message: str) -> str:
    """Return the section of the pages' words that explains a failure.

    >>> failure_key(502, f"{CERTIFICATE_INVALID}: self-signed certificate"), failure_key(502, NO_ADDRESS)
    ('bad-certificate', 'no-address')
    >>> failure_key(502, "Connection refused"), failure_key(502, f"{BROKEN_ANSWER}: its head is too long")
    ('unreachable', 'broken-answer')
    """
    if status < 500:
        return "bad-request"
    return next((section for text, section in _SECTIONS.items() if text in message), "unreachable")
