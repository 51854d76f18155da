"""An agreement in the household of the tests of pages: the child has said yes, and its parents promise something."""

from __future__ import annotations

from web_server import NOW, Web

from hedgerow.features.agreement.agreements import Agreements
from hedgerow.features.agreement.terms import Promises, Side

PAGES = ("/device/rules", "/agreement/mia", "/agreement/tom")


def fill(web: Web) -> None:
    """Let both sides have said yes to the rules of one child."""
    agreements = Agreements(web.engine, web.control.policy, lambda _notices: None, lambda: NOW)
    promises = Promises(names=("together", "table"), words="On Sundays we play with you.")
    seen = agreements.standing("mia").terms.digest
    agreements.say_yes(Side.PARENT, "mia", seen=seen, promises=promises, name="Ana")
    agreements.say_yes(Side.CHILD, "mia", seen=agreements.standing("mia").terms.digest)
