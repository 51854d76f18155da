"""`docs/ways-round.md`, made of what the laboratory saw."""

from __future__ import annotations

from collections.abc import Mapping

from lab.attempts import ATTEMPTS, Attempt

HEAD = """# Ways round the filter

Made by `tests/lab/test_ways_round.py`, which tries each of them with real tools on a child's device behind a router that runs Hedgerow
with `hedgerow gateway apply`, in network namespaces. “Closed” and “open” are what happened there, not what is hoped for.

*Strict* is `hedgerow gateway apply --strict`: names, pages and the time pass and nothing else, so no calls and no online games.

| way | tried with | normal | strict | what Hedgerow does |
|---|---|---|---|---|
"""

FOOT = """
For adults' devices all of these are open on purpose: the gateway does not touch whom the policy does not keep from going round
(the category `bypass`).

## What no gateway closes

- **A MAC address copied from an adult's device.** Hedgerow knows devices by their MAC address; whoever takes over that of a parent's phone
  is that phone. Give the parents a Wi-Fi of their own with another password; a child then can't join it.
- **Another way to the internet**: a phone's mobile data, the neighbour's Wi-Fi. Use the phone's own screen-time settings for those.
- **A tunnel that looks like an allowed page**: somebody's own server under a name that no list knows, reached by HTTPS. It takes a server
  outside and an adult's knowledge; the journal shows the name. The same goes for slow tunnels inside DNS questions.
- **Devices on the same wire** reach each other without the router: a game between two computers at home goes on at bedtime.
- **Wi-Fi calling** is IPsec, and refused with other IPsec, unless the gateway is applied with `--allow-ipsec`. Emergency calls over the
  mobile network are not concerned.
"""


def render(normal: Mapping[Attempt, bool], strict: Mapping[Attempt, bool]) -> str:
    """The whole document; the mappings say whether an attempt got through."""
    words = {True: "**open**", False: "closed"}
    rows = []
    for each in ATTEMPTS:
        why = "pages come to the proxy only where a device sends them there" if each.pages and normal[each] else each.why
        rows.append(f"| {each.what} | {each.tool} | {words[normal[each]]} | {words[strict[each]]} | {why} |")
    return HEAD + "\n".join(rows) + "\n" + FOOT
