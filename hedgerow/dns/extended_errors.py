"""Extended DNS errors (RFC 8914), also as JSON (draft-ietf-dnsop-structured-dns-error). Pure."""

from __future__ import annotations

import json
from typing import Final, NamedTuple

from hedgerow.policies.askable import forbids_access_request
from hedgerow.policies.model import Decision, Reason

STALE: Final = 3
BLOCKED: Final = 15  # for security
CENSORED: Final = 16  # by law
FILTERED: Final = 17  # by the network's policy
STALE_NXDOMAIN: Final = 19
NO_REACHABLE_AUTHORITY: Final = 22
MAX_TEXT: Final = 160  # octets: an answer must fit a datagram

PRIVATE_ADDRESS: Final = "private-address"  # `what` of a decision: a public name has an address of this network
UPSTREAM_BLOCKS: Final = "upstream"  # `what` of a decision: the upstream answers 0.0.0.0 or ::, as filters do

_SECURITY: Final = frozenset(("malware", "phishing", "crypto-mining", PRIVATE_ADDRESS, UPSTREAM_BLOCKS))
_LEGAL: Final = frozenset(("illegal",))

_REASON_TEXTS: Final = {
    Reason.PAUSE: "the internet is paused",
    Reason.NO_SESSION: "open any page, and type the code of your voucher",
    Reason.CONDUCT: "open any page to read the code of conduct first",
    Reason.BEDTIME: "it is bedtime",
    Reason.SCHEDULE: "closed at this time",
    Reason.BUDGET: "the time for today is used up",
    Reason.UNNAMED: "nobody has named this device, and the internet is closed for a child",
    Reason.RULE: "blocked by the rule",
    Reason.BYPASS: "a way round the filter, which is not open here",
    Reason.SERVICE: "service",
    Reason.CATEGORY: "category",
    Reason.RECOGNISED: "looks like",
    Reason.SEARCH: "blocked words of a search",
    Reason.SAFE_SEARCH: "safe search cannot be had from",
    Reason.PAGE: "the words of a page",
    Reason.FILE: "the kind of a file",
    Reason.PICTURE: "what a picture shows",
}
# followed by `what`
_REASONS_WITH_DETAIL: Final = (Reason.RULE, Reason.SERVICE, Reason.CATEGORY, Reason.RECOGNISED, Reason.SAFE_SEARCH)
_DETAIL_TEXTS: Final = {
    PRIVATE_ADDRESS: "the name points into this network, as in an attack",
    UPSTREAM_BLOCKS: "blocked by the upstream resolver",
}
# Sub-errors of the draft, which go with "Blocked" only: 1 is malware, 2 phishing, 5 the network operator's policy.
_SUB_ERRORS: Final = {"malware": 1, "phishing": 2}


class ExtendedError(NamedTuple):
    """An extended error: its code, its text, and JSON in place of the text for clients that can read it."""

    code: int
    text: str
    structured: str = ""

    def extra_text(self, *, structured: bool) -> bytes:
        """Return the text in octets. JSON that is too long is left out, since it would be invalid if cut."""
        if structured and self.structured and len(self.structured) <= 2 * MAX_TEXT:
            return self.structured.encode()
        return self.text.encode()[:MAX_TEXT].decode(errors="ignore").encode()


def block_error(decision: Decision, *, names_page: bool = False) -> ExtendedError:
    """Return the extended error of a block. `names_page`: its text says where to ask, if access can be asked for.

    >>> from hedgerow.policies.model import Verdict
    >>> gambling = Decision(Verdict.BLOCK, Reason.CATEGORY, "gambling")
    >>> block_error(gambling)[:2], block_error(gambling, names_page=True).text
    ((17, 'Hedgerow: category gambling'), 'Hedgerow: category gambling; ask at http://hedgerow.internal/device')
    """
    text = _DETAIL_TEXTS.get(decision.what) or _REASON_TEXTS.get(decision.reason, str(decision.reason))
    if decision.what not in _DETAIL_TEXTS and decision.reason in _REASONS_WITH_DETAIL:
        text = f"{text} {decision.what}".rstrip()
    code = BLOCKED if decision.what in _SECURITY else CENSORED if decision.what in _LEGAL else FILTERED
    sub_error = {"s": _SUB_ERRORS.get(decision.what, 5)} if code == BLOCKED else {}
    fields = {"j": text, **sub_error, "o": "Hedgerow", "l": "en"}
    can_ask = names_page and code == FILTERED and not forbids_access_request(decision)
    return ExtendedError(
        code,
        f"Hedgerow: {text}{'; ask at http://hedgerow.internal/device' if can_ask else ''}",
        json.dumps(fields, separators=(",", ":")),
    )
