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

- **A slow tunnel in what every device needs**: questions for names (any nameserver of somebody's own will do), and the time, of which the
  whole house gets five packets a second at most. Where questions and answers about one domain come to more than 128 KB a minute for one
  device, which is some 700 ordinary names, the domain is shut to it for an hour, and the journal tells; `allow` in the policy opens it.
- **A port of its own, but in strict mode**: a SOCKS proxy there, or a site or resolver behind TLS, looks like a game or a mail program. SSH
  and web proxies give themselves away by what they say first, unless they say it in pieces or inside TLS. The policy's `ports` name more
  ports whose pages are judged as those of 80 and 443: `ports: [80, 443, 8080, 8443]`. What is neither HTTP nor TLS then fails there.
- **A MAC address copied from an adult's device.** Hedgerow knows devices by their MAC address; whoever takes over that of a parent's phone
  is that phone. Give the parents a Wi-Fi of their own with another password; a child then can't join it.
- **Another way to the internet**: a phone's mobile data, the neighbour's Wi-Fi. Use the phone's own screen-time settings for those.
- **A tunnel that looks like an allowed page**: somebody's own server under a name that no list knows, reached by HTTPS. It takes a server
  outside and an adult's knowledge; the journal shows the name.
- **Domain fronting**: a server of a large host that answers for a closed site to whoever names an open one in the handshake and the closed
  one inside. Only devices that trust the certificate of the network are looked into.
- **Devices on the same wire** reach each other without the router: a game between two computers at home goes on at bedtime, and a proxy
  that somebody starts on an adult's computer serves a child. Adults' computers need a password; Wi-Fi with client isolation helps. Where
  Hedgerow's machine is the switch too (a bridge with br_netfilter), strict mode closes that as well.
- **The router's own other services.** The table guards what passes the router, and sends every question for names to Hedgerow; a second
  resolver on the router at a port of its own, or its SSH, is for the router's own firewall to close.
- **Wi-Fi calling** is IPsec, and refused with other IPsec, unless the gateway is applied with `--allow-ipsec`. Emergency calls over the
  mobile network are not concerned.

## What somebody on the same wire can do to others

- **The parent's address with one's own MAC** (tried above) gives nothing: the MAC address decides, and Hedgerow follows the kernel's
  neighbour table as it changes. Packets with a made-up source are answered to whom the address belongs.
- **ARP and neighbour discovery.** A device can tell the others that it is the router, or the router that it is another device. What it
  then sends itself still has its own MAC address and stays filtered; but it can disturb others, and read what they do not encrypt.
  Hedgerow does not see what passes between two devices. A switch with ARP inspection and RA guard, or Wi-Fi with client isolation,
  prevents it.
- **DHCP.** A device that serves addresses itself can send others elsewhere for names; the gateway brings their questions back, unless it
  also names itself as the router. DHCP snooping in the switch prevents it. Names and ids that a device gives itself in DHCP open nothing:
  a name can only close, and an adult's device should be named by its MAC address.
- **VLAN tags and other ports of the router** lead nowhere that the gateway does not know, if each interface with devices was named with
  `--lan`; `hedgerow gateway apply` warns of those that were not.
"""


def render(normal: Mapping[Attempt, bool], strict: Mapping[Attempt, bool]) -> str:
    """The whole document; the mappings say whether an attempt got through."""
    words = {True: "**open**", False: "closed"}
    rows = []
    for each in ATTEMPTS:
        why = "pages come to the proxy only where a device sends them there" if each.pages and normal[each] else each.why
        rows.append(f"| {each.what} | {each.tool} | {words[normal[each]]} | {words[strict[each]]} | {why} |")
    return HEAD + "\n".join(rows) + "\n" + FOOT
