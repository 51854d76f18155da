"""Why a name was not answered, in an extended error (RFC 8914) and, for who asks, as JSON (draft-ietf-dnsop-structured-dns-error). Pure."""

from __future__ import annotations

import json
from typing import Final, NamedTuple

from hedgerow.policies.model import Decision, Reason

STALE: Final = 3
BLOCKED: Final = 15  # for the sake of security
CENSORED: Final = 16  # because the law says so
FILTERED: Final = 17  # because the people of this network want it so
STALE_NXDOMAIN: Final = 19
NO_REACHABLE_AUTHORITY: Final = 22
MAX_TEXT: Final = 160  # octets: an answer must fit a datagram

PRIVATE_ADDRESS: Final = "private-address"  # what decides when a public name has an address of this network
UPSTREAM_BLOCKS: Final = "upstream"  # what decides when the upstream answers with no address at all, as filters do

_SECURITY: Final = frozenset(("malware", "phishing", "crypto-mining", PRIVATE_ADDRESS, UPSTREAM_BLOCKS))
_LEGAL: Final = frozenset(("illegal",))

_REASON_TEXTS: Final = {
    Reason.PAUSE: "the internet is paused",
    Reason.NO_SESSION: "open any page, and type the code of your voucher",
    Reason.CONDUCT: "open any page to read the code of conduct first",
    Reason.BEDTIME: "it is bedtime",
    Reason.SCHEDULE: "closed at this time",
    Reason.BUDGET: "the time for today is used up",
    Reason.RULE: "blocked by the rule",
    Reason.BYPASS: "a way round the filter, which is not open here",
    Reason.SERVICE: "service",
    Reason.CATEGORY: "category",
    Reason.SEARCH: "blocked words of a search",
    Reason.SAFE_SEARCH: "safe search cannot be had from",
    Reason.PAGE: "the words of a page",
    Reason.FILE: "the kind of a file",
}
_REASONS_WITH_DETAIL: Final = (Reason.RULE, Reason.SERVICE, Reason.CATEGORY, Reason.SAFE_SEARCH)  # where `what` says more
_DETAIL_TEXTS: Final = {
    PRIVATE_ADDRESS: "the name points into this network, as in an attack",
    UPSTREAM_BLOCKS: "blocked by the upstream resolver",
}
# Sub-errors of the draft: 1 is malware, 2 phishing, 5 the policy of the network's operator.
_SUB_ERRORS: Final = {"malware": 1, "phishing": 2}


class ExtendedError(NamedTuple):
    """An extended error: its code, the words, and the JSON in their place for who can read it."""

    code: int
    text: str
    structured: str = ""

    def extra_text(self, *, structured: bool) -> bytes:
        """JSON cut short would be none, so it is left out where it is too long."""
        if structured and self.structured and len(self.structured) <= 2 * MAX_TEXT:
            return self.structured.encode()
        return self.text.encode()[:MAX_TEXT].decode(errors="ignore").encode()


def block_error(decision: Decision) -> ExtendedError:
    """Why a name is blocked.

    >>> from hedgerow.policies.model import Verdict
    >>> block_error(Decision(Verdict.BLOCK, Reason.CATEGORY, "gambling"))[:2]
    (17, 'Hedgerow: category gambling')
    """
    words = _DETAIL_TEXTS.get(decision.what, "")
    if not words:
        words = _REASON_TEXTS.get(decision.reason, str(decision.reason))
        if decision.reason in _REASONS_WITH_DETAIL:
            words = f"{words} {decision.what}".rstrip()
    code = BLOCKED if decision.what in _SECURITY else CENSORED if decision.what in _LEGAL else FILTERED
    fields = {"j": words, "s": _SUB_ERRORS.get(decision.what, 5), "o": "Hedgerow", "l": "en"}
    return ExtendedError(code, f"Hedgerow: {words}", json.dumps(fields, separators=(",", ":")))
