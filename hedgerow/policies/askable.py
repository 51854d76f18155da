"""Blocks that nobody can ask to be lifted. Pure."""

from __future__ import annotations

from hedgerow.policies.decide import IP_ADDRESS, WELCOME_REASONS
from hedgerow.policies.model import Decision, Reason
from hedgerow.policies.targets import ILLEGAL


def forbids_access_request(decision: Decision) -> bool:
    """Return whether nobody can ask for access to what is blocked.

    That is so for ways round the filter, except bare addresses, which may be servers of people here; for illegal
    material, since a request would record where it is; for a café's guests, who begin with a voucher and a code of
    conduct; and for a device without a name, to which a permission for one site would not open it.
    """
    is_a_way_round = decision.reason is Reason.BYPASS and decision.what != IP_ADDRESS
    return is_a_way_round or decision.what == ILLEGAL or decision.reason in {Reason.UNNAMED, *WELCOME_REASONS}
