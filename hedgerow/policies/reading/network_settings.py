"""Reading of the `network` section of a policy file."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cache
from ipaddress import ip_interface
from pathlib import Path
from zoneinfo import ZoneInfo

from hedgerow.blocklists.names import parse_host
from hedgerow.policies.model import Profile
from hedgerow.policies.network import (
    LOCAL_NETWORKS,
    NEW_SITES_DAYS,
    TUNNEL_PORT,
    TUNNEL_SUBNETS,
    WEB_PORTS,
    BlockedAnswer,
    CertificateFiles,
    DnssecMode,
    ForwardZone,
    ListSelection,
    LocalRecord,
    NetworkSettings,
    ProxySignIn,
    QueryLimit,
    ResolverSettings,
    TunnelSettings,
    UpstreamStrategy,
)
from hedgerow.policies.reading import remote_services
from hedgerow.policies.reading.flows import read_flows
from hedgerow.policies.reading.schema import RawNetwork, RawQueryLimit, RawTunnel
from hedgerow.policies.text.addresses import (
    DEFAULT_SITE,
    IpNetwork,
    is_endpoint,
    parse_ip,
    parse_network,
    site_name_mistake,
    store_url_mistake,
)
from hedgerow.policies.text.locales import COUNTRIES, guess_country, suggest_timezone
from hedgerow.policies.text.suggestions import did_you_mean, guess_network, suggest, with_hint
from hedgerow.policies.text.yaml_tree import KeyPath, YamlTree
from hedgerow.policies.transports import LISTENERS, UPSTREAM_TRANSPORTS, shared_ports

_LONGEST_SUBNET = {4: 24, 6: 56}


def read_resolver(raw: RawNetwork, tree: YamlTree) -> ResolverSettings:
    """Read the settings of the resolver. Mistakes become problems of the tree."""
    page = _addresses(tree, ("network", "block_page"), raw.block_page)
    if raw.dnssec is DnssecMode.VALIDATE and not any(map(_is_encrypted_upstream, raw.upstream)):
        message = (
            "'validate' needs an encrypted upstream that validates: add one, such as tls://dns.quad9.net, "
            "under upstream"
        )
        tree.add_problem(("network", "dnssec"), message)
    return ResolverSettings(
        blocked_answer=raw.blocked_answer or BlockedAnswer.ZERO,
        block_page=page,
        reserves_page=raw.blocked_answer in (None, BlockedAnswer.PAGE),
        strategy=raw.upstream_strategy or UpstreamStrategy.STRICT,
        forward=tuple(_read_forward(raw, tree)),
        records=tuple(_read_records(raw, tree)),
        dnssec=raw.dnssec or DnssecMode.OFF,
        limit=_read_limit(raw.query_limit, tree),
        forwarders=_addresses(tree, ("network", "forwarders"), raw.forwarders),
        proxy_protocol_from=read_networks(tree, ("network", "proxy_protocol_from"), raw.proxy_protocol_from),
        client_subnet=_read_subnet(raw, tree),
    )


def _read_subnet(raw: RawNetwork, tree: YamlTree) -> IpNetwork | None:
    """Read the client subnet, which must not be so small that it identifies the client (RFC 7871, section 11.1)."""
    if raw.client_subnet is None:
        return None
    network = parse_network(raw.client_subnet)
    if network is None:
        mistake = "is not a network, such as 203.0.113.0/24"
    elif network.prefixlen > (longest := _LONGEST_SUBNET[network.version]):
        mistake = f"reveals too much of your location: use /{longest} or a larger network"
    else:
        return network
    tree.add_problem(("network", "client_subnet"), f"'{raw.client_subnet}' {mistake}")
    return None


def _is_encrypted_upstream(upstream: str) -> bool:
    """Return whether answers of an upstream cannot be changed on the way: it is encrypted or on this machine."""
    return upstream.startswith(("tls://", "https://", "quic://")) or upstream.rpartition("//")[2].startswith(
        ("127.", "[::1]", "::1")
    )


def reverse_zones(network: IpNetwork) -> tuple[str, ...]:
    """Return the reverse zones of exactly the addresses of a network (RFC 1035, 3.5; RFC 3596, 2.5).

    There is one zone if the prefix ends at a label, else up to 128.

    >>> from ipaddress import ip_network
    >>> [reverse_zones(ip_network(text)) for text in ("192.168.1.0/24", "fd12:3456::/31")]
    [('1.168.192.in-addr.arpa',), ('6.5.4.3.2.1.d.f.ip6.arpa', '7.5.4.3.2.1.d.f.ip6.arpa')]
    """
    bits = 8 if network.version == 4 else 4
    kept = -(-network.prefixlen // bits)
    names = [part.network_address.reverse_pointer.split(".") for part in network.subnets(new_prefix=kept * bits)]
    return tuple(".".join(labels[len(labels) - 2 - kept :]) for labels in names)


def _read_forward(raw: RawNetwork, tree: YamlTree) -> list[ForwardZone]:
    found = []
    for name, upstreams in raw.forward.items():
        path: KeyPath = ("network", "forward", name)
        zones = _forward_zones(name)
        if not zones:
            tree.add_problem(path, f"'{name}' is neither a domain, such as lan, nor a network, such as 192.168.1.0/24")
        for index, upstream in enumerate(upstreams):
            _check_upstream(tree, (*path, index), upstream)
        if not upstreams:
            tree.add_problem(path, f"'{name}' needs the address of a resolver")
        found += [ForwardZone(zone, tuple(upstreams)) for zone in zones if upstreams]
    return found


def _forward_zones(name: str) -> tuple[str, ...]:
    if "/" in name:
        network = parse_network(name)
        return () if network is None else reverse_zones(network)
    host = parse_host(name.strip("."))
    return () if host is None or parse_ip(host) is not None else (host,)


def _read_records(raw: RawNetwork, tree: YamlTree) -> list[LocalRecord]:
    found = []
    for name, texts in raw.records.items():
        path: KeyPath = ("network", "records", name)
        host = parse_host(name)
        if host is None or parse_ip(host) is not None:
            tree.add_problem(path, f"'{name}' is not a name, such as nas.lan")
            continue
        if addresses := _addresses(tree, path, texts):
            found.append(LocalRecord(host, addresses))
    return found


def _read_limit(raw: RawQueryLimit, tree: YamlTree) -> QueryLimit:
    values = raw.model_dump(exclude_none=True)
    if raw.exempt is not None:
        path = ("network", "query_limit", "exempt")
        values["exempt"] = _parse_each(tree, path, raw.exempt, parse_network, "an IP address or network")
    return QueryLimit(**values)


def _addresses(tree: YamlTree, path: KeyPath, texts: list[str]) -> tuple[str, ...]:
    return tuple(map(str, _parse_each(tree, path, texts, parse_ip, "an IP address, such as 192.168.1.5")))


def _parse_each[Value](
    tree: YamlTree, path: KeyPath, texts: list[str], parse: Callable[[str], Value | None], kind: str
) -> tuple[Value, ...]:
    """Parse the texts of a list; those that are not `kind` become problems."""
    parsed = [(index, text, parse(text)) for index, text in enumerate(texts)]
    for index, text, value in parsed:
        if value is None:
            tree.add_problem((*path, index), f"'{text}' is not {kind}")
    return tuple(value for _, _, value in parsed if value is not None)


SYSTEM_UPSTREAMS = "system"


def read_network(
    raw: RawNetwork, tree: YamlTree, profiles: dict[str, Profile], default_profile: str
) -> NetworkSettings:
    """Read the settings of the network; missing ones get their defaults."""
    if raw.timezone is not None:
        check_timezone(tree, ("network", "timezone"), raw.timezone)
    unknown = known_profile(tree, ("network", "unknown_devices"), raw.unknown_devices, profiles)
    lan = read_networks(tree, ("network", "lan"), raw.lan) if raw.lan is not None else LOCAL_NETWORKS
    if raw.lan is not None and not raw.lan:
        tree.add_problem(("network", "lan"), "an empty lan refuses everybody: leave it out to serve the private ranges")
    for index, port in enumerate(raw.ports or ()):
        if not 1 <= port <= 65535:
            tree.add_problem(("network", "ports", index), f"{port} is not a port from 1 to 65535")
    _check_upstreams(tree, ("network", "upstream"), raw.upstream)
    addresses = {key: _endpoint(tree, key, getattr(raw.listen, key)) for key in LISTENERS}
    listen = {key: address for key, address in addresses.items() if address is not None}
    for one, other in shared_ports(listen):
        tree.add_problem(("network", "listen", other), f"'{one}' already listens here: give '{other}' another port")
    return NetworkSettings(
        timezone=raw.timezone or local_timezone(),
        country=_country(tree, raw.country),
        unknown_devices=unknown or default_profile,
        lan=lan,
        listen=listen,
        reachable=read_networks(tree, ("network", "reachable"), raw.reachable),
        ports=WEB_PORTS if raw.ports is None else tuple(raw.ports),
        upstream=tuple(raw.upstream),
        lists=raw.lists or ListSelection.RECOMMENDED,
        resolver=read_resolver(raw, tree),
        server_name=_server_name(tree, raw.server_name),
        certificate=_certificate(tree, raw),
        proxy_sign_in=raw.proxy_sign_in or ProxySignIn.NEVER,
        new_sites_days=NEW_SITES_DAYS if raw.new_sites_days is None else raw.new_sites_days,
        flows=read_flows(tree, ("network", "flows"), raw.flows),
        wpad=_wpad_names(tree, raw.wpad),
        store=_store(tree, raw.store),
        site=_site(tree, raw.site),
        tunnel=_tunnel(tree, raw.tunnel),
        bundle=remote_services.read_bundle(raw.bundle, tree),
    )


def known_profile(tree: YamlTree, path: KeyPath, name: str | None, profiles: dict[str, Profile]) -> str | None:
    """Return `name` if that profile exists; otherwise None, with a problem unless `name` is None."""
    if name is None or name in profiles:
        return name
    tree.add_problem(path, f"unknown profile '{name}'.{suggest(name, profiles)} Profiles: {', '.join(profiles)}.")
    return None


@cache
def local_timezone() -> str:
    """Return the time zone of this machine: $TZ, else /etc/localtime, else UTC."""
    candidates = [os.environ.get("TZ", "").removeprefix(":")]
    try:
        candidates.append(str(Path("/etc/localtime").resolve()).partition("zoneinfo/")[2])
        candidates.append(Path("/etc/timezone").read_text(encoding="utf-8").strip())
    except OSError:
        pass
    return next((name for name in candidates if name and is_timezone(name)), "UTC")


def is_timezone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return True


def check_timezone(tree: YamlTree, path: KeyPath, name: str) -> None:
    """Add a problem for a time zone that does not exist."""
    if is_timezone(name):
        return
    tree.add_problem(path, f"unknown time zone '{name}'.{suggest_timezone(name) or ' Write it like Europe/Lisbon.'}")


def _country(tree: YamlTree, text: str | None) -> str | None:
    if text is None:
        return None
    code = text.upper()
    if code not in COUNTRIES:
        hint = did_you_mean(guess_country(text))
        tree.add_problem(
            ("network", "country"), f"'{text}' is not a country's two-letter code, such as PT (ISO 3166).{hint}"
        )
    return code


def _server_name(tree: YamlTree, text: str | None) -> str | None:
    name = parse_host(text) if text is not None else None
    if text is not None and (name is None or parse_ip(name) is not None or "." not in name):
        tree.add_problem(
            ("network", "server_name"), f"'{text}' is not a fully qualified name, such as dns.home.example"
        )
        return None
    return name


def _store(tree: YamlTree, url: str | None) -> str:
    if url and (mistake := store_url_mistake(url)):
        tree.add_problem(("network", "store"), f"the URL of the store {mistake}")
    return url or ""


def _tunnel(tree: YamlTree, raw: RawTunnel | None) -> TunnelSettings | None:
    if raw is None:
        return None
    path, port = ("network", "tunnel"), TUNNEL_PORT if raw.port is None else raw.port
    host, public_port = _public_endpoint(raw.endpoint, port)
    if host is None:
        tree.add_problem(
            (*path, "endpoint"),
            f"'{raw.endpoint}' is not a name or address with an optional port, such as home.example:51820",
        )
    if not 1 <= port <= 65535:
        tree.add_problem((*path, "port"), f"{port} is not a port from 1 to 65535")
    subnets = TUNNEL_SUBNETS if raw.subnets is None else read_networks(tree, (*path, "subnets"), raw.subnets)
    if (
        not subnets
        or len({subnet.version for subnet in subnets}) < len(subnets)
        or any(each.num_addresses < 4 for each in subnets)
    ):
        tree.add_problem(
            (*path, "subnets"), "the tunnel needs one network of addresses for IPv4, for IPv6 or for each of them"
        )
        return None
    return TunnelSettings(host, public_port, port, subnets) if host is not None else None


def _public_endpoint(text: str, port: int) -> tuple[str | None, int]:
    """Return host and port of a name or an address, with `port` unless the text has one; None for the host if it has
    none.

    >>> [_public_endpoint(text, 51820) for text in ("home.example", "home.example:4500", "[2001:db8::1]:7",
    ...  "2001:db8::1", "home:port")]
    [('home.example', 51820), ('home.example', 4500), ('2001:db8::1', 7), ('2001:db8::1', 51820), (None, 51820)]
    """
    if parse_ip(text.strip("[]")) is None:
        name, separator, number = text.rpartition(":")
        if separator:
            if not number.isdecimal() or not 1 <= int(number) <= 65535:
                return None, port
            text, port = name, int(number)
    address = parse_ip(text.strip("[]"))
    return (str(address) if address is not None else parse_host(text)), port


def _site(tree: YamlTree, name: str | None) -> str:
    if name is not None and (mistake := site_name_mistake(name)):
        tree.add_problem(("network", "site"), mistake)
    return name or DEFAULT_SITE


def _wpad_names(tree: YamlTree, domains: list[str]) -> tuple[str, ...]:
    names = []
    for index, text in enumerate(domains):
        domain = parse_host(text)
        if domain is None or parse_ip(domain) is not None:
            tree.add_problem(("network", "wpad", index), f"'{text}' is not a domain, such as lan")
        else:
            names.append(f"wpad.{domain}")
    return tuple(names)


def _certificate(tree: YamlTree, raw: RawNetwork) -> CertificateFiles | None:
    if raw.certificate is None:
        return None
    for key in ("chain", "key"):
        text = getattr(raw.certificate, key)
        if not Path(text).is_absolute():
            tree.add_problem(("network", "certificate", key), f"'{text}' is not an absolute path")
    return CertificateFiles(raw.certificate.chain, raw.certificate.key)


def _endpoint(tree: YamlTree, key: str, text: str | None) -> str | None:
    if text is not None and not is_endpoint(text):
        tree.add_problem(("network", "listen", key), f"'{text}' is not ADDRESS:PORT, such as 0.0.0.0:53 or [::]:53")
    return text


def read_own_upstreams(
    tree: YamlTree, path: KeyPath, texts: Sequence[str], resolver: ResolverSettings
) -> tuple[str, ...]:
    """Read the upstreams of a person or device. Mistakes become problems of the tree."""
    _check_upstreams(tree, path, texts)
    if texts and resolver.dnssec is DnssecMode.VALIDATE and not any(map(_is_encrypted_upstream, texts)):
        tree.add_problem(path, "network.dnssec: validate needs an encrypted upstream that validates here too")
    return tuple(texts)


def _check_upstreams(tree: YamlTree, path: KeyPath, texts: Sequence[str]) -> None:
    for index, text in enumerate(texts):
        _check_upstream(tree, (*path, index), text)


def _check_upstream(tree: YamlTree, path: KeyPath, text: str) -> None:
    scheme, separator, rest = text.rpartition("://")
    if text == SYSTEM_UPSTREAMS or (
        (not separator or scheme in UPSTREAM_TRANSPORTS)
        and (is_endpoint(rest) or parse_ip(rest.strip("[]")) is not None)
    ):
        return
    if separator and scheme not in UPSTREAM_TRANSPORTS:
        tree.add_problem(
            path,
            f"'{text}': an upstream must begin with one of {', '.join(f'{known}://' for known in UPSTREAM_TRANSPORTS)}",
        )
    elif (
        scheme not in UPSTREAM_TRANSPORTS
        or not UPSTREAM_TRANSPORTS[scheme].is_encrypted
        or not _is_named_upstream(scheme, rest)
    ):
        example = "https://dns.example/dns-query" if scheme == "https" else "9.9.9.9 or tls://dns.quad9.net"
        tree.add_problem(path, f"'{text}' is not a resolver, such as {example}")


def _is_named_upstream(scheme: str, rest: str) -> bool:
    host, _, path = rest.partition("/")
    name, _, port = host.partition(":") if not is_endpoint(host) else ("9.9.9.9", "", "")
    if port and not (port.isdigit() and 0 < int(port) <= 65535):
        return False
    return parse_host(name) is not None and (scheme == "https" or not path) and ("." in name)


def read_networks(tree: YamlTree, path: KeyPath, texts: list[str]) -> tuple[IpNetwork, ...]:
    """Read addresses and networks; invalid ones become problems."""
    found = (read_device_address(tree, (*path, index), text, "cidr") for index, text in enumerate(texts))
    return tuple(network for network in found if network is not None)


def _not_a_network(text: str) -> str:
    try:
        return f"'{text}' is an address inside a network. Did you mean {ip_interface(text).network}?"
    except ValueError:
        return with_hint(
            f"'{text}' is not an IP address or network, such as 192.168.1.0/24", did_you_mean(guess_network(text))
        )


def read_device_address(tree: YamlTree, path: KeyPath, text: str, key: str) -> IpNetwork | None:
    """Read the address (`ip`) or network (`cidr`) of a device."""
    network = parse_network(text)
    if network is None:
        tree.add_problem(path, _not_a_network(text))
    elif key == "ip" and network.num_addresses > 1:
        tree.add_problem(path, f"'{text}' is a network: put it under cidr")
        return None
    return network
