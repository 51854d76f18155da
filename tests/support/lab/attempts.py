"""Attempts to bypass the filter, each with a tool that people would use. `docs/ways-round.md` is generated from them.

An attempt succeeds if its aim is reached: a blocked page is read, another resolver answers, or bytes come back through
a possible tunnel.
"""

from __future__ import annotations

from dataclasses import dataclass

from lab.aims import (
    CLOSED,
    OPEN_SITE,
    Aim,
    asks,
    asks_in_fragments,
    at,
    browser_with_secure_dns,
    calls,
    datagram,
    datagram_with_options,
    floods,
    floods_pings,
    fronts_after_refusals,
    in_pieces,
    is_called_from_outside,
    lies_about_the_name,
    noise,
    openvpn,
    pings,
    raw,
    reads,
    says,
    second_request,
    stream,
    through_socks,
    through_ssh,
    through_web_proxy,
    tunnels_by_iodine,
    tunnels_in_icmp,
    tunnels_in_names,
    wears_the_parents_address,
    wireguard,
    with_a_private_address,
    with_another_address,
    with_another_mac,
    with_the_parents_mac,
)
from lab.announcements import announces_a_network, leases_the_parents_address
from lab.handshakes import hides_the_name, relays_a_call
from lab.house import LAN4, LAN6, ROUTER_OUTSIDE
from lab.internet import (
    CLOUDFLARE_PORT,
    FRONT,
    HTTPS_PROXY,
    KNOWN4,
    KNOWN6,
    NUMBERED,
    ODD_PORT,
    OWN4,
    OWN6,
    OWN_RESOLVER,
    PEER4,
    PEER6,
    PRIVATE4,
    PRIVATE6,
    PUBLIC_NAME,
    QUIC_PORT,
    RESOLVER,
    SELF_SIGNED,
    SITES,
    UNNAMED4,
    UNNAMED6,
    UNNAMED_RESOLVER,
    address4,
    address6,
)
from lab.tethering import (
    through_the_parents_computer,
    with_the_parents_mac_on_packets,
    with_the_parents_session,
)
from lab.tunnels import AUTH_PORT, CRYPT_PORT, OWN_PORT, PLAIN_PORT, SOCKS_PORT, SSH_PORT
from lab.vpn import VPN4, VPN6


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt.

    `normally`, `strictly` and `in_pause`: True if a guarded device succeeds then; `why` says what Hedgerow does, or why
    the bypass is open.

    `pages`: closed only if web traffic is redirected to the proxy. `inspected`: True if it succeeds on a device that
    trusts the network's certificate; None: as `normally`.
    """

    what: str
    tool: str
    aim: Aim
    why: str
    normally: bool = False
    strictly: bool = False
    in_pause: bool = False
    pages: bool = False
    inspected: bool | None = None

    @property
    def with_certificate(self) -> bool:
        return self.normally if self.inspected is None else self.inspected

    @property
    def with_fresh_mac(self) -> bool | None:
        """True if it succeeds on a device that nobody has named, which gets names and pages only; None if it changes
        the device's own address or router.
        """
        passes = self.tool in {"kdig TXT", "iodine"} or (self.is_web and self.tool != "curl --socks5")
        return None if self.tool.startswith("ip ") else self.normally and passes

    @property
    def is_web(self) -> bool:
        """True if the proxy decides about it, so that the certificate can matter."""
        return self.pages or self.tool.startswith(("curl", "Chromium", "a handshake"))


_NAMES = "redirected to Hedgerow, which answers the query"
_REFUSED = "refused by the gateway"
_JUDGED = "redirected to the proxy, which checks the name and resolves it itself"
_HANDSHAKE = "its first message is refused at any port"
_TRICKLE = (
    "ordinary DNS queries, limited to two kilobytes per second; above that, the domain is blocked for that device for"
    " an hour"
)
_PROXIED = "requests that only a proxy gets are refused at any port"
_TIME = "requests and replies have the usual size, and are limited to five per second"
_UNNAMED = "no answer of the resolver gave the device this address"
_OUTSIDE = "private addresses outside the home need a name, or `reachable` in the policy, as all others"
_FORWARDED = "what an adult's device forwards has the rules of a device without a name"
_NAMED = "looks like a game or a mail program at an address that has a name; strict mode refuses it"

ATTEMPTS: tuple[Attempt, ...] = (
    Attempt("Query the router as usual", "kdig", asks(f"{LAN4}.1"), "blocked by the policy"),
    Attempt("Query the router over IPv6", "kdig", asks(f"{LAN6}:1"), "blocked by the policy"),
    Attempt("Set another resolver", "kdig", asks("8.8.8.8"), _NAMES),
    Attempt("Set another resolver, over TCP", "kdig +tcp", asks("8.8.8.8", "+tcp"), _NAMES),
    Attempt("Set another resolver, over IPv6", "kdig", asks("2001:4860:4860::8888"), _NAMES),
    Attempt("Set another resolver, over IPv6 and TCP", "kdig +tcp", asks("2001:4860:4860::8888", "+tcp"), _NAMES),
    Attempt("Set an unlisted resolver", "kdig", asks(OWN4), _NAMES),
    Attempt("Set an unlisted resolver, over IPv6", "kdig", asks(OWN6), _NAMES),
    Attempt(
        "A resolver at another port (OpenDNS, 5353)", "kdig -p 5353", asks("208.67.222.222", "-p", "5353"), _REFUSED
    ),
    Attempt("DNS over TLS, a known resolver", "kdig +tls", asks(KNOWN4, "+tls"), _REFUSED),
    Attempt("DNS over TLS, over IPv6", "kdig +tls", asks(KNOWN6, "+tls"), _REFUSED),
    Attempt("DNS over TLS, an unlisted resolver", "kdig +tls", asks(OWN4, "+tls"), _REFUSED),
    Attempt("DNS over QUIC", "kdig +quic", asks(KNOWN4, "+quic"), _REFUSED),
    Attempt("DNS over QUIC, over IPv6", "kdig +quic", asks(KNOWN6, "+quic"), _REFUSED),
    Attempt("DNS over QUIC at another port", "kdig +quic", asks(KNOWN4, "+quic", "-p", str(QUIC_PORT)), _HANDSHAKE),
    Attempt("A query in fragments", "a datagram", asks_in_fragments("8.8.8.8"), _NAMES),
    Attempt("A query in fragments, over IPv6", "a datagram", asks_in_fragments("2001:4860:4860::8888"), _NAMES),
    Attempt(
        "Query the router at its internet address",
        "kdig",
        asks(ROUTER_OUTSIDE),
        "Hedgerow answers at all of the router's addresses",
    ),
    Attempt(
        "Secure DNS in the browser, an unlisted resolver", "Chromium", browser_with_secure_dns, _JUDGED, pages=True
    ),
    Attempt("DNS over HTTPS by address, a known resolver", "kdig +https", asks(KNOWN4, "+https"), _REFUSED),
    Attempt("DNS over HTTPS by address, over IPv6", "kdig +https", asks(KNOWN6, "+https"), _REFUSED),
    Attempt(
        "DNS over HTTPS by address, an unlisted resolver", "kdig +https", asks(OWN4, "+https"), _JUDGED, pages=True
    ),
    Attempt(
        "DNS over HTTPS by address, an unlisted resolver, IPv6",
        "kdig +https",
        asks(OWN6, "+https"),
        _JUDGED,
        pages=True,
    ),
    Attempt(
        *("DNS over HTTPS by name, in the browser", "curl --doh-url"),
        reads("--doh-insecure", "--doh-url", f"https://{RESOLVER}/dns-query", f"http://{CLOSED}/"),
        "the resolver's own name is blocked (category bypass)",
    ),
    Attempt(
        "Edit the hosts file, plain HTTP",
        "curl --resolve",
        reads(*at(CLOSED), f"http://{CLOSED}/"),
        _JUDGED,
        pages=True,
    ),
    Attempt(
        "Edit the hosts file, HTTPS", "curl --resolve", reads(*at(CLOSED), f"https://{CLOSED}/"), _JUDGED, pages=True
    ),
    Attempt(
        "Edit the hosts file, IPv6",
        "curl --resolve",
        reads(*at(CLOSED, address6), f"https://{CLOSED}/"),
        _JUDGED,
        pages=True,
    ),
    Attempt(
        "By address instead of name, plain HTTP", "curl", reads(f"http://{address4(CLOSED)}/"), _JUDGED, pages=True
    ),
    Attempt("By address instead of name, HTTPS", "curl", reads(f"https://{address4(CLOSED)}/"), _JUDGED, pages=True),
    Attempt("By address instead of name, IPv6", "curl", reads(f"https://[{address6(CLOSED)}]/"), _JUDGED, pages=True),
    Attempt(
        *("Safe search off, by an edited hosts file", "curl --resolve"),
        reads(*at("www.google.com"), "https://www.google.com/", page="www.google.com"),
        "redirected to the proxy, which connects to the engine's safe version",
        pages=True,
    ),
    Attempt(
        "HTTP/3 to a blocked site",
        "curl --http3-only",
        reads("--http3-only", *at(CLOSED), f"https://{CLOSED}/"),
        _REFUSED,
    ),
    Attempt(
        "HTTP/3 to a blocked site, IPv6",
        "curl --http3-only",
        reads("--http3-only", *at(CLOSED, address6), f"https://{CLOSED}/"),
        _REFUSED,
    ),
    Attempt(
        *("HTTP/3 at another port", "curl --http3-only", reads("--http3-only", *at(CLOSED), f"https://{CLOSED}:8443/")),
        "its first message is refused at any port",
    ),
    Attempt(
        *("A blocked site at port 8443, by an edited hosts file", "curl --resolve"),
        reads("--resolve", f"{CLOSED}:8443:{address4(CLOSED)}", f"https://{CLOSED}:8443/"),
        f"{_JUDGED}, as for all of the policy's `ports`",
        pages=True,
    ),
    Attempt(
        *("A blocked site at another port of Cloudflare, with secure DNS there by an unlisted name", "curl --doh-url"),
        reads(
            "--doh-insecure",
            "--doh-url",
            f"https://{OWN_RESOLVER}:{CLOUDFLARE_PORT}/dns-query",
            f"https://{CLOSED}:{CLOUDFLARE_PORT}/",
        ),
        f"{_JUDGED}, as at all ports of Cloudflare",
        pages=True,
    ),
    Attempt(
        *("A server of one's own behind TLS, with a certificate that it signed itself", "curl -k"),
        reads("-k", f"https://{SELF_SIGNED}/", page=SELF_SIGNED),
        "the proxy looks at the certificates of unlisted hosts",
        pages=True,
    ),
    Attempt(
        *(
            "An HTTPS proxy at an unlisted name, with a certificate that anybody trusts, as in a browser's extension",
            "curl -x https",
        ),
        reads("--proxy-insecure", "-x", f"https://{HTTPS_PROXY}", f"http://{CLOSED}/"),
        "the proxy asks unlisted hosts for a tunnel, as only proxies offer one",
        pages=True,
    ),
    Attempt(
        *("A name with a number in it, and a blocked site's name inside", "curl -H Host"),
        reads("-k", "-H", f"Host: {CLOSED}", f"https://{NUMBERED}/"),
        "a name that spells its address counts as a bare address",
    ),
    Attempt(
        *("A blocked site that serves HTTPS at another port, by an edited hosts file", "curl --resolve"),
        reads("--resolve", f"{CLOSED}:8444:{address4(CLOSED)}", f"https://{CLOSED}:8444/"),
        _UNNAMED,
    ),
    Attempt(
        "A TLS handshake with an allowed site's name", "openssl -servername", lies_about_the_name, _JUDGED, pages=True
    ),
    Attempt(
        *("An encrypted ClientHello (ECH) with the public name of Cloudflare", "a handshake"),
        hides_the_name(address4(FRONT), PUBLIC_NAME),
        "handshakes that show the public name of a known provider are refused",
        pages=True,
    ),
    Attempt(
        *(
            "An encrypted ClientHello (ECH) that shows an unlisted name",
            "a handshake",
            hides_the_name(address4(FRONT), FRONT),
        ),
        "browsers send the same to every site as a decoy; with the certificate, the proxy answers the handshake itself",
        normally=True,
        strictly=True,
        inspected=False,
    ),
    Attempt(
        "A TLS handshake byte by byte, as by GoodbyeDPI and zapret",
        "a handshake",
        in_pieces("octets"),
        _JUDGED,
        pages=True,
    ),
    Attempt("A TLS handshake in many records", "a handshake", in_pieces("records"), _JUDGED, pages=True),
    Attempt(
        *("Domain fronting: a blocked site that an allowed host serves too", "curl -H Host"),
        reads("-k", "--http1.1", "-H", f"Host: {CLOSED}", f"https://{FRONT}/"),
        "with the certificate, the proxy checks each request; without it, it sees the allowed host only",
        normally=True,
        strictly=True,
        inspected=False,
    ),
    Attempt(
        *("Domain fronting, after refusing the network's certificate several times for a host in use", "curl -H Host"),
        fronts_after_refusals,
        "with the certificate, the proxy checks each request; without it, it sees the allowed host only",
        normally=True,
        strictly=True,
        inspected=False,
    ),
    Attempt(
        *("HTTP/2 without TLS", "curl --http2-prior-knowledge"),
        reads("--http2-prior-knowledge", *at(CLOSED), f"http://{CLOSED}/"),
        "redirected to the proxy, which does not accept it",
        pages=True,
    ),
    Attempt(
        "A second request after one for an allowed site",
        "a connection",
        second_request,
        "the proxy checks each request",
        pages=True,
    ),
    Attempt(
        *("A Host header with an allowed site's name", "curl -H Host"),
        reads("-H", f"Host: {OPEN_SITE}", f"http://{address4(CLOSED)}/"),
        _JUDGED,
        pages=True,
    ),
    Attempt(
        *("Hedgerow's own proxy, by address instead of name", "curl -x"),
        reads("-x", f"http://{LAN4}.1:3128", f"https://{address4(CLOSED)}/"),
        "the proxy checks addresses too",
    ),
    Attempt(
        *("Hedgerow's own proxy, to a resolver's port", "curl -x"),
        lambda house, device: (
            "200"
            in device.run(
                "curl", "-sp", "-x", f"http://{LAN4}.1:3128", "-w", "%{http_connect}", f"http://{OWN4}:853/"
            ).stdout
        ),
        "the proxy connects to web ports only",
    ),
    Attempt(
        "Another MAC address", "ip link set address", with_another_mac, "an unknown device is filtered as a child's"
    ),
    Attempt(
        *("The MAC address of the parent's device, while that is offline", "ip link set address", with_the_parents_mac),
        "a device is known by its MAC address: give parents a Wi-Fi network of their own",
        normally=True,
        strictly=True,
        in_pause=True,
    ),
    Attempt(
        *("The MAC address of the parent's device on IP packets only, while that is online", "ip link, nft"),
        with_the_parents_mac_on_packets,
        "a packet with another device's IP address is not the parent's",
    ),
    Attempt(
        *("The parent's computer as the router, which forwards, as with Docker", "ip route, sysctl"),
        through_the_parents_computer(asks("8.8.8.8"), datagram(UNNAMED6, 51820), masquerades=False),
        _FORWARDED,
    ),
    Attempt(
        *("A hotspot of the parent's computer, with its IP address (NAT)", "ip route, sysctl, nft"),
        through_the_parents_computer(asks(f"{LAN4}.1"), datagram(UNNAMED4, 51820), masquerades=True),
        _FORWARDED,
    ),
    Attempt(
        *("The cookie of the parent's session, read on its way over HTTP", "curl -b"),
        with_the_parents_session,
        "a session is valid on the device on which it began",
    ),
    Attempt("Another address, set by hand", "ip address", with_another_address, "the MAC address decides"),
    Attempt(
        "The current IP address of the parent's device",
        "ip address",
        wears_the_parents_address,
        "the MAC address decides",
    ),
    Attempt("An IPv6 privacy address", "ip address", with_a_private_address, "the MAC address decides"),
    Attempt(
        *(
            "The parent's address by DHCP, with the client identifier and host name of that device",
            "ip address, udhcpc",
        ),
        leases_the_parents_address,
        "the MAC address decides",
    ),
    Attempt(
        *(
            "A network of its own, announced to the router (router advertisement)",
            "ip address, raw packets",
            announces_a_network,
        ),
        "a router ignores advertisements, and the MAC address decides",
    ),
    Attempt("WireGuard at its usual port", "wireguard-go", wireguard(VPN4, 51820), _REFUSED),
    Attempt("WireGuard at its usual port, IPv6", "wireguard-go", wireguard(VPN6, 51820), _REFUSED),
    Attempt("WireGuard at port 443", "wireguard-go", wireguard(VPN4, 443), _REFUSED),
    Attempt(
        "WireGuard at port 53",
        "wireguard-go",
        wireguard(VPN4, 53),
        "redirected to Hedgerow's resolver, which ignores it",
    ),
    Attempt("WireGuard at port 123", "wireguard-go", wireguard(VPN4, 123), _HANDSHAKE),
    Attempt("WireGuard at another port", "wireguard-go", wireguard(VPN4, 40000), _HANDSHAKE),
    Attempt("WireGuard behind IPv6 options", "a datagram", datagram_with_options(PEER6, 51820), _REFUSED),
    Attempt("Cloudflare WARP at its usual port", "a datagram", datagram(PEER4, 2408), _REFUSED),
    Attempt("OpenVPN over UDP", "openvpn", openvpn(PEER4, PLAIN_PORT), _REFUSED),
    Attempt("OpenVPN over TCP", "openvpn", openvpn(PEER4, PLAIN_PORT, "tcp-client"), _REFUSED),
    Attempt("OpenVPN at another port", "openvpn", openvpn(PEER4, OWN_PORT), _HANDSHAKE),
    Attempt("OpenVPN at another port, tls-crypt", "openvpn", openvpn(PEER4, CRYPT_PORT), _HANDSHAKE),
    Attempt("OpenVPN at another port, tls-auth", "openvpn", openvpn(PEER4, AUTH_PORT), _HANDSHAKE),
    Attempt(
        "OpenVPN over TCP at another port", "a connection", says(PEER4, 5222, b"\0\x0e\x38" + bytes(13)), _HANDSHAKE
    ),
    Attempt(
        "QUIC of a draft at another port",
        "a datagram",
        floods(PEER4, 27015, b"\xc3\xff\0\0\x1d" + bytes(1195)),
        _HANDSHAKE,
    ),
    Attempt("A tunnel in pings", "ping -s 1000", pings(PEER4, 1000), "echo requests may have the usual size only"),
    Attempt(
        "A tunnel in pings, IPv6", "ping -s 1000", pings(PEER6, 1000), "echo requests may have the usual size only"
    ),
    Attempt(
        "A tunnel in small pings",
        "ping -f",
        floods_pings(PEER4),
        "echo requests and replies are limited to 20 per second",
    ),
    Attempt(
        "A tunnel in small pings, IPv6",
        "ping -f",
        floods_pings(PEER6),
        "echo requests and replies are limited to 20 per second",
    ),
    Attempt(
        "A tunnel in ICMP timestamps", "raw packets", tunnels_in_icmp("timestamp", 5_000), "only echo requests pass"
    ),
    Attempt(
        *("A tunnel in ICMP errors about the time's packets", "raw packets", tunnels_in_icmp("error", 25_000)),
        "error messages are limited to ten per second in both directions",
    ),
    Attempt(
        *("A server without a name that connects to the device, IPv6", "a connection", is_called_from_outside),
        "answers go only where the device may open connections",
    ),
    Attempt("A tunnel at the port of the time", "datagrams", floods(PEER4, 123, bytes(48)), _TIME),
    Attempt(
        "A tunnel at the port of the time, with long replies",
        "datagrams",
        floods(PEER4, 123, b"more" + bytes(44)),
        _TIME,
    ),
    Attempt("A tunnel at the port of the time, IPv6", "datagrams", floods(PEER6, 123, b"more" + bytes(44)), _TIME),
    Attempt("A tunnel in DNS queries", "kdig TXT", tunnels_in_names, _TRICKLE, True, True),
    Attempt("IP over DNS queries", "iodine", tunnels_by_iodine, _TRICKLE, True, True),
    Attempt("IPsec (IKEv2)", "a datagram", datagram(PEER4, 500), f"{_REFUSED}, unless allowed with --allow-ipsec"),
    Attempt("IPsec (ESP)", "a raw packet", raw(50), f"{_REFUSED}, unless allowed with --allow-ipsec"),
    Attempt("PPTP (GRE)", "a raw packet", raw(47), _REFUSED),
    Attempt("IP in IP", "a raw packet", raw(4), _REFUSED),
    Attempt("IPv6 in IPv4 (6in4, 6to4)", "a raw packet", raw(41), _REFUSED),
    Attempt("IPv6 in UDP (Teredo)", "a datagram", datagram(PEER4, 3544), _REFUSED),
    Attempt("A SOCKS proxy", "curl --socks5", through_socks(PEER4), _REFUSED),
    Attempt("A SOCKS proxy, IPv6", "curl --socks5", through_socks(PEER6), _REFUSED),
    Attempt("A Tor relay", "a connection", stream(PEER4, 9001), _REFUSED),
    Attempt(
        "A SOCKS proxy at another port, by address", "curl --socks5", through_socks(UNNAMED4, port=SOCKS_PORT), _UNNAMED
    ),
    Attempt(
        "A SOCKS proxy at another port, by address, IPv6",
        "curl --socks5",
        through_socks(UNNAMED6, port=SOCKS_PORT),
        _UNNAMED,
    ),
    Attempt(
        "A SOCKS proxy on an old phone at the provider's router",
        "curl --socks5",
        through_socks(PRIVATE4, port=SOCKS_PORT),
        _OUTSIDE,
    ),
    Attempt(
        "A SOCKS proxy at a private address of the provider's network, IPv6",
        "curl --socks5",
        through_socks(PRIVATE6, port=SOCKS_PORT),
        _OUTSIDE,
    ),
    Attempt("Random bytes over UDP, at the provider's router", "a datagram", datagram(PRIVATE4, 40000), _OUTSIDE),
    Attempt("The same at a game's port", "a datagram", datagram(PRIVATE4, 3074), _OUTSIDE),
    Attempt("The same at a call's port, beginning like a call", "datagrams", calls(PRIVATE4, 3478), _OUTSIDE),
    Attempt(
        *(
            "A SOCKS proxy at another port, under a name of its own",
            "curl --socks5",
            through_socks(PEER4, port=SOCKS_PORT),
            _NAMED,
        ),
        normally=True,
    ),
    Attempt(
        "Random bytes over TCP, as by obfs4 and Shadowsocks, by address",
        "a connection",
        noise(UNNAMED4, 5222),
        _UNNAMED,
    ),
    Attempt(
        "Random bytes over TCP, under a name of its own", "a connection", noise(PEER4, 5222), _NAMED, normally=True
    ),
    Attempt(
        "A BitTorrent peer", "a connection", says(UNNAMED4, 5222, b"\x13BitTorrent protocol" + bytes(48)), _UNNAMED
    ),
    Attempt(
        "Random bytes over TCP at a web port",
        "a connection",
        noise(PEER4, 8443),
        "redirected to the proxy, which accepts only HTTP and TLS",
        pages=True,
    ),
    Attempt(
        "Random bytes over UDP, as by an obfuscated WireGuard, by address",
        "a datagram",
        datagram(UNNAMED4, 40000),
        _UNNAMED,
    ),
    Attempt("Random bytes over UDP, by address, IPv6", "a datagram", datagram(UNNAMED6, 40000), _UNNAMED),
    Attempt(
        "Random bytes over UDP, under a name of its own", "a datagram", datagram(PEER4, 40000), _NAMED, normally=True
    ),
    Attempt(
        *("Random bytes over UDP at Steam's port, for a child too young for Steam", "a datagram"),
        datagram(UNNAMED4, 27015),
        "a port of `network.flows` is open while its service is",
    ),
    Attempt(
        *("Random bytes over UDP at Xbox's port", "a datagram", datagram(UNNAMED4, 3074)),
        "`games` in `network.flows` opens a few ports to every address while the console's service is open",
        normally=True,
    ),
    Attempt(
        "Random bytes over UDP at a call's port",
        "a datagram",
        datagram(UNNAMED4, 3478),
        "a call begins with a STUN message",
    ),
    Attempt(
        *("A tunnel that begins like a call, at a call's port", "datagrams", calls(UNNAMED4, 3478)),
        "looks like a call; closed where no messenger is open that calls so, and `network.flows` can close these ports",
        normally=True,
    ),
    Attempt(
        *(
            "A relay for calls (TURN) behind TLS at port 443, under a name of its own, as by WebRTC",
            "a handshake",
            relays_a_call(),
        ),
        "looks like a page at an unlisted name; with the certificate, the proxy accepts only HTTP",
        normally=True,
        strictly=True,
        inspected=False,
    ),
    Attempt(
        *(
            "The same relay for calls, after refusing the network's certificate for it several times",
            "a handshake",
            relays_a_call(refusals=3),
        ),
        "looks like a page at an unlisted name; with the certificate, somebody in charge must agree to pass it through",
        normally=True,
        strictly=True,
        inspected=False,
    ),
    Attempt("A tunnel that begins like a call, at another port", "datagrams", calls(UNNAMED4, 40000), _UNNAMED),
    Attempt("A tunnel through SSH", "ssh -W", through_ssh(PEER4, 22), f"{_HANDSHAKE}, unless allowed with --allow-ssh"),
    Attempt(
        "SSH at another port", "ssh -W", through_ssh(PEER4, SSH_PORT), f"{_HANDSHAKE}, unless allowed with --allow-ssh"
    ),
    Attempt(
        "SSH of an older version",
        "a connection",
        says(PEER4, 5222, b"SSH-1.99-x\r\n"),
        f"{_HANDSHAKE}, unless allowed with --allow-ssh",
    ),
    Attempt(
        "SSH at port 443",
        "ssh -W",
        through_ssh(PEER4, 443),
        "redirected to the proxy, which accepts only HTTP and TLS",
        pages=True,
    ),
    Attempt("A web proxy", "curl -x", through_web_proxy(PEER4, f"http://{CLOSED}/"), _PROXIED),
    Attempt("A web proxy, for an HTTPS page", "curl -x", through_web_proxy(PEER4, f"https://{CLOSED}/"), _PROXIED),
    Attempt(
        *("A web proxy at port 80", "curl -x", through_web_proxy(PEER4, f"http://{CLOSED}/", 80), _JUDGED), pages=True
    ),
    Attempt(
        *(
            "A web proxy at port 80, for an HTTPS page",
            "curl -x",
            through_web_proxy(PEER4, f"https://{CLOSED}/", 80),
            _JUDGED,
        ),
        pages=True,
    ),
    Attempt(
        "A web proxy, after an empty line",
        "a connection",
        says(PEER4, 5222, b"\r\nCONNECT adult.example:443 HTTP/1.1\r\n\r\n"),
        _PROXIED,
    ),
    Attempt("A web proxy, IPv6", "curl -x", through_web_proxy(PEER6, f"https://{CLOSED}/"), _PROXIED),
    Attempt(
        "DNS over TLS at port 5222, by address",
        "kdig +tls",
        asks(UNNAMED_RESOLVER, "+tls", "-p", str(ODD_PORT)),
        _UNNAMED,
    ),
    Attempt(
        *(
            "DNS over TLS at port 5222, under a name of its own",
            "kdig +tls",
            asks(OWN4, "+tls", "-p", str(ODD_PORT)),
            _NAMED,
        ),
        normally=True,
    ),
)

ALLOWED: tuple[Attempt, ...] = (
    Attempt("An allowed site", "curl", reads(f"http://{OPEN_SITE}/", page=OPEN_SITE), ""),
    Attempt("An allowed site, HTTPS", "curl", reads(f"https://{OPEN_SITE}/", page=OPEN_SITE), ""),
    Attempt("An allowed site, IPv6", "curl -6", reads("-6", f"https://{OPEN_SITE}/", page=OPEN_SITE), ""),
    Attempt(
        "A helpline", "curl", reads("https://www.childline.org.uk/", page="www.childline.org.uk"), "", in_pause=True
    ),
    Attempt("The time (NTP)", "a datagram", datagram(PEER4, 123, 48), "", in_pause=True),
    Attempt("The time (NTP), IPv6", "a datagram", datagram(PEER6, 123, 48), "", in_pause=True),
)
"""Traffic that must work for every device."""

assert CLOSED in SITES
