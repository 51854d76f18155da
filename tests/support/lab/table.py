"""`docs/ways-round.md` and the whole table beside it, generated from the lab's results."""

from __future__ import annotations

from collections.abc import Mapping

from lab.attempts import ATTEMPTS, Attempt

HEAD = """# Ways round the filter

A clever child looks for ways round. Each was tried with real tools, on a child's device behind a router that runs Hedgerow with
`hedgerow gateway apply`, in network namespaces. These matter most; [the whole table](../bench/results/ways_round.md) has NUMBER more.
“Closed” and “open” are the observed results. What is open beyond these rows is listed below the table.

"""

MODES = """*Strict* is `hedgerow gateway apply --strict`: only DNS, web pages and the time pass, so there are no calls and no online games.

*Certificate* is a device that trusts the network's certificate (`trusts_ca`), without strict mode: at the age of nine, all HTTPS that is
not exempt is inspected.

*Paused* is the same device after `hedgerow pause`, without strict mode: only helplines and the time pass then.

*Fresh MAC* is a device of a child with a new MAC address that nobody has named, in a home with children, without strict mode: it gets names
and pages only, by the rules of all children. A dash is at rows that change the device's address or router themselves.
"""

NORMALLY = """
Normally, a guarded device may open connections only to addresses that Hedgerow's DNS lately gave that device, and as `network.flows` says
([router.md](install/router.md#which-connections-pass)). The servers of tunnels in this table have names that no list has, and the device
has looked them up; where a row says “by address”, no name leads to the server.
"""

COLUMNS = """
| Bypass | Tried with | Normal | Certificate | Strict | Paused | Fresh MAC | What Hedgerow does |
|---|---|---|---|---|---|---|---|
"""

WHOLE_HEAD = """# Ways round the filter: the whole table

`tests/lab/test_ways_round.py` generates this page. [What matters of it, and what stays open](../../docs/ways-round.md).

"""

FIRST = (
    "Set another resolver",
    "DNS over TLS, a known resolver",
    "Secure DNS in the browser, an unlisted resolver",
    "Edit the hosts file, HTTPS",
    "Another MAC address",
    "The MAC address of the parent's device, while that is offline",
    "A web proxy",
    "WireGuard at another port",
    "OpenVPN over TCP",
    "A Tor relay",
    "A SOCKS proxy at another port, under a name of its own",
    "Domain fronting: a blocked site that an allowed host serves too",
    "An encrypted ClientHello (ECH) that shows an unlisted name",
    "A tunnel in DNS queries",
    "A tunnel that begins like a call, at a call's port",
)
"""The attempts that a reader meets first."""

FOOT = """
All of these are open for adults' devices on purpose: the gateway ignores devices whose profile does not block bypasses (the category
`bypass`).

Without the gateway, Hedgerow filters only devices that use it for DNS or as their proxy. Then every row that says “refused” or “redirected”
is open. `hedgerow doctor DEVICE` shows which bypasses are open to a device in your setup.

## What stays open

- **Slow tunnels in traffic that every device needs.** DNS queries reach any nameserver on the internet, up to
  [some kilobytes per second](dns.md#tunnels-in-names). NTP passes with five packets per second for the whole network, pings with twenty, and ICMP's
  error messages with ten, in both directions.
- **A tunnel to a server with a name, at a non-standard port, except in strict mode.** Such a server looks like a game or a mail program. It
  takes a server outside the home under a name that no list has, and the journal shows that name. SSH and web proxies are recognised by their
  first bytes, but not inside TLS, or disguised. The owner of a domain can give a name to any address, also to that of a blocked site. That site
  then opens if it serves HTTPS at a [port that is not redirected](proxy.md#destinations-that-are-closed).
- **Ports of calls and games**, which `network.flows` opens to every address while one of their services is open to the child: some UDP ports of
  Steam, Xbox and PlayStation, and those of STUN and TURN servers for connections that begin with a STUN message, from 8 years on by default. A tunnel
  made for the purpose passes there. `flows: [push]` closes them.
- **A connection past the proxy that runs already.** A game at a server with a name goes on if its site or service is closed while it is played, or if
  the budget of a category or service ends, since the gateway knows no names. Its address stays admitted for two hours at most after the last look-up.
  A pause, a bedtime, and the end of the budget of all use cut it.
- **A stream from outside that needs no answer**, on a bridge or a machine with one port, if the router lets connections in from the
  internet, as some do over IPv6. Where Hedgerow is the router, it drops such streams to devices that are not open, except at the ports of
  games in `network.flows`.
- **Telegram's networks, while Telegram is open to the device.** Its app sends what nobody can read to addresses without names, so these networks
  pass at every port, past the proxy, except to an address that DNS gave the device. A page of Telegram's own reached there by a known address
  follows no rule about its name or path, and is not scanned. `block: [telegram]` closes them.
- **A server that a flow names by its address**, at the flow's ports, for all guarded devices: SSH and VPNs pass there, and what is behind it is
  not filtered.
- **Everything to any address**, if the gateway is applied with `--any-destination`.
- **Little traffic.** A device that moves less than 64 KiB per minute past the proxy, without asking for names, uses no minutes
  ([policy.md](policy.md)): a chat over a connection that is open already goes on until a budget is spent by other use, or a pause or a bedtime begins.
- **A proxy that was a web site when it was looked at.** A server under a name that no list has is looked at again while it is used
  ([proxy.md](proxy.md)); the first connections after it has changed pass.
- **An own name for the address of a site that is blocked, over plain HTTP**, if that site answers to any name. The proxy judges the name that the
  request has.
- **A copied MAC address.** A device with the address of a parent's phone is that phone, and one with a sibling's has the sibling's rules and time:
  while the phone is away, and also while it is here, which disturbs both. Give parents a Wi-Fi network of their own with another password, which a
  child's device cannot join. Or know an adult's device by its [tunnel](features/away.md#known-by-its-tunnel-only) alone: nobody has its key. A copy
  can't use the owner's sign-in for long ([web.md](web.md#signing-in)).
- **A hotspot of an adult's device, with a raised TTL.** What an adult's device forwards for others is
  [guarded as a device without a name](features/tethering.md). A device behind the hotspot that sends with a TTL of 65, which takes administrator's
  rights on it, cannot be told apart. Give hotspots a password, and switch off IP forwarding that nothing needs. An adult's device that the policy
  knows by IP address is not examined. Without the gateway, queries that an adult's device forwards count as its own.
- **Another internet connection**: mobile data, or a neighbour's Wi-Fi. A [tunnel home](features/away.md) carries the rules there while
  it is on.
  The owner of an unsupervised phone can switch it off, delete the app WireGuard, or name a Wi-Fi network like the one at home. To lock it,
  an Apple device needs supervision (Apple Configurator or a device management) with a profile that cannot be removed; Screen Time with
  a passcode at least prevents that apps are deleted. On Android, *Always-on VPN* with *Block connections without VPN* keeps it open, and
  only a device owner (a device policy) can lock that. Beside it, use the phone's own parental controls.
- **A tunnel that looks like an allowed page**: a private server under an unlisted name, reached by HTTPS, with a certificate that anybody
  trusts. It takes a domain, a server outside the home and an adult's knowledge. Servers with certificates of their own, and proxies that
  answer a stranger as proxies do, are recognised, also later while they are used ([proxy.md](proxy.md#unlisted-hosts)).  One that answers
  as a web site to everybody without its password is recognised by its traffic: after ten busy minutes the site is closed to that device and you are
  asked. Open stay the first ten minutes, and a tunnel that is used for less than that (messages, games). So does one that takes turns with another domain or runs beside much other
  traffic, and one for films alone, which go one way. A relay for calls behind TLS (TURN, as by WebRTC) is one that a
  web page can use by itself. WebSocket, and proxies that answer at a path of their own (MASQUE, oblivious DNS over HTTPS), look like any
  page. They are recognised by their traffic too, with the certificate and without it. The journal shows the name.
- **Domain fronting**: a large host that serves a blocked site although the TLS handshake names an allowed one. Hedgerow sees the real name
  only on devices that trust the network's certificate: for children under 13 in all connections, for others where pages have rules. Hosts
  that are never inspected stay such a front with the certificate too: banks, health, and helplines, which are open during a pause. So does
  a host that a list or service knows for which a device refuses the certificate without having used it in the ten minutes before, as with
  Google's AI mode, unless the policy says [`pass_through: false`](content.md). For any other host somebody in charge must agree.
- **Encrypted client hello (ECH)** of providers that Hedgerow does not know, if a device has their keys from elsewhere than DNS.
- **Devices on the same network segment** reach each other without the router. A game between two computers at home goes on at bedtime, and
  a proxy on an adult's computer serves a child. Adults' computers need a password; Wi-Fi client isolation helps. If Hedgerow's machine is
  the switch too (a bridge with br_netfilter), strict mode closes this.
- **The router's own services.** The gateway guards forwarded packets, and redirects all DNS queries to Hedgerow. A second resolver on the
  router at another port, or the router's SSH, must be closed by the router's own firewall.
- **Single pictures by words at Bing** (`th.bing.com/th?q=`) on devices without the certificate: the host also serves the thumbnails of safe
  results, so it can't be closed by name ([content.md](content.md)).
- **AI answers of search engines** on devices without the certificate: Google's AI mode and overviews, Copilot's at Bing, and the like come
  from the same hosts as the results. With the certificate, summaries that Bing and Yahoo write into their results stay open, and so does
  what an app shows that refuses the certificate ([content.md](content.md#ai-answers-of-search-engines)).
- **Sites that no list has.** A list names the known sites of a category. A new or private site is open until a list or your policy names
  it. To children under 8, a site that is new here is closed for some days ([lists.md](lists.md#new-sites)).

Two things are closed that you may want open. Wi-Fi calling is IPsec, and refused with other IPsec unless the gateway is applied with
`--allow-ipsec` (emergency calls over the mobile network are not affected). SSH is refused unless it is applied with `--allow-ssh`.

## Attacks on other devices of the same network

- **A parent's IP address with another MAC address** (tried above) gains nothing: the MAC address decides, and Hedgerow follows the kernel's
  neighbour table as it changes.
- **A parent's MAC address on IP packets only**, while ARP and neighbour discovery keep one's own, gains nothing either: the neighbour table
  says whose the source address is (`tests/lab/test_tethering.py`).
- **A sibling's IP address with one's own MAC address**, to have queries, blocks and minutes counted as the sibling's: the gateway drops
  packets whose IP address belongs to another MAC address (`tests/lab/test_forged_sources.py`). Without the gateway, Hedgerow can't see who
  sent a query over UDP: it counts for the owner of the address, to whom the answer goes.
- **ARP and neighbour discovery spoofing.** A device can pretend to be the router to others, or another device to the router. Its own
  traffic stays filtered. But it can disturb others and read what they do not encrypt, such as a password that a parent types on a page opened by
  HTTP. With the cookie of a parent's session and a copy of its MAC address, it can change something until the
  [password is asked for again](web.md#signing-in). Open the pages by HTTPS. A switch with ARP inspection and RA guard, or Wi-Fi client isolation,
  prevents this.
- **A rogue DHCP server** can give other devices another resolver. The gateway redirects their queries back, unless the rogue server names
  itself as their router too. DHCP snooping in the switch prevents this.
- **Another device's DHCP identity**: with its client identifier a device gets its IP address, which gains nothing (tried above). A name in
  a lease counts for the MAC address only if that is at the lease's IP address, so a made-up identifier (DUID) names no other device.
- **A proxy for others.** A device can answer for `wpad` by LLMNR or multicast DNS, and a browser that looks there sends it all
  traffic. What passes through a child's device is filtered as the child's. `network.wpad` answers in DNS, which browsers ask first.
- **Host names** can only restrict ([policy.md](policy.md#how-a-device-is-known)), so identify adults' devices by MAC address.
- **VLAN tags and other ports of the router** lead to no network that the gateway does not guard, if each interface with devices was named
  with `--lan`. `hedgerow gateway apply` warns about the others.
"""


def render(
    normal: Mapping[Attempt, bool],
    inspected: Mapping[Attempt, bool],
    strict: Mapping[Attempt, bool],
    paused: Mapping[Attempt, bool],
    fresh: Mapping[Attempt, bool | None],
) -> tuple[str, str]:
    """Return the document and the whole table. The mappings are True for attempts that succeeded."""
    words = {True: "**open**", False: "closed", None: "–"}
    rows: dict[str, str] = {}
    for each in ATTEMPTS:
        why = (
            "web traffic is not redirected; only devices that use the proxy are filtered"
            if each.pages and normal[each]
            else each.why
        )
        results = " | ".join(words[found[each]] for found in (normal, inspected, strict, paused, fresh))
        rows[each.what] = f"| {each.what} | {each.tool} | {results} | {why} |\n"
    head = HEAD.replace("NUMBER", str(len(ATTEMPTS) - len(FIRST))) + MODES + NORMALLY
    whole = WHOLE_HEAD + MODES + NORMALLY.replace("(install/", "(../../docs/install/") + COLUMNS
    return head + COLUMNS + "".join(rows[what] for what in FIRST) + FOOT, whole + "".join(rows.values())
