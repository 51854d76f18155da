"""Reads what the `network` part of a policy file says about resolving names."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from hedgerow.blocklists.names import parse_host
from hedgerow.policies.reading.schema import RawNetwork, RawQueryLimit
from hedgerow.policies.reading.yaml_tree import Path, Tree
from hedgerow.policies.resolver_settings import BlockedAnswer, Dnssec, Forward, LocalRecord, QueryLimit, ResolverSettings, Strategy

_LONGEST_SUBNET = {4: 24, 6: 56}

type CheckUpstream = Callable[[Tree, Path, str], None]


def read_resolver(raw: RawNetwork, tree: Tree, check_upstream: CheckUpstream) -> ResolverSettings:
    """What the keys mean; what is wrong with them becomes problems of the tree."""
    page = _addresses(tree, ("network", "block_page"), raw.block_page)
    if raw.blocked_answer is BlockedAnswer.PAGE and not page:
        tree.add_problem(("network", "blocked_answer"), "'page' needs the address at which the block page is: add block_page")
    if raw.dnssec is Dnssec.VALIDATE and not any(map(_is_secure, raw.upstream)):
        message = "'validate' believes upstreams that are encrypted: add one that validates, such as tls://dns.quad9.net, under upstream"
        tree.add_problem(("network", "dnssec"), message)
    return ResolverSettings(
        blocked_answer=raw.blocked_answer or BlockedAnswer.ZERO,
        block_page=page,
        strategy=raw.upstream_strategy or Strategy.STRICT,
        forward=tuple(_read_forward(raw, tree, check_upstream)),
        records=tuple(_read_records(raw, tree)),
        dnssec=raw.dnssec or Dnssec.OFF,
        limit=_read_limit(raw.query_limit, tree),
        forwarders=_addresses(tree, ("network", "forwarders"), raw.forwarders),
        client_subnet=_read_subnet(raw, tree),
    )


def _read_subnet(raw: RawNetwork, tree: Tree) -> IPv4Network | IPv6Network | None:
    """Never so small a network that it says who asks (RFC 7871, section 11.1)."""
    if raw.client_subnet is None:
        return None
    path: Path = ("network", "client_subnet")
    try:
        network = ip_network(raw.client_subnet)
    except ValueError:
        tree.add_problem(path, f"'{raw.client_subnet}' is not a network, such as 203.0.113.0/24")
        return None
    longest = _LONGEST_SUBNET[network.version]
    if network.prefixlen > longest:
        tree.add_problem(path, f"'{raw.client_subnet}' says too well where you are: write /{longest} or a larger network")
        return None
    return network


def _is_secure(upstream: str) -> bool:
    """Can nobody change on the way what this upstream says? One on this machine is as good as an encrypted one."""
    return upstream.startswith(("tls://", "https://", "quic://")) or upstream.rpartition("//")[2].startswith(("127.", "[::1]", "::1"))


def reverse_zones(network: IPv4Network | IPv6Network) -> tuple[str, ...]:
    """The zones in which the addresses of a network, and no others, have their names (RFC 1035, 3.5; RFC 3596, 2.5): one where the network
    ends with a label, else up to 128.

    >>> reverse_zones(ip_network("192.168.1.0/24")), reverse_zones(ip_network("fd12:3456::/31"))
    (('1.168.192.in-addr.arpa',), ('6.5.4.3.2.1.d.f.ip6.arpa', '7.5.4.3.2.1.d.f.ip6.arpa'))
    """
    bits = 8 if network.version == 4 else 4
    kept = -(-network.prefixlen // bits)
    names = [part.network_address.reverse_pointer.split(".") for part in network.subnets(new_prefix=kept * bits)]
    return tuple(".".join(labels[len(labels) - 2 - kept :]) for labels in names)


def _read_forward(raw: RawNetwork, tree: Tree, check_upstream: CheckUpstream) -> list[Forward]:
    found = []
    for name, upstreams in raw.forward.items():
        path: Path = ("network", "forward", name)
        zones = _zones(name)
        if not zones:
            tree.add_problem(path, f"'{name}' is neither a domain, such as lan, nor a network, such as 192.168.1.0/24")
        for index, upstream in enumerate(upstreams):
            check_upstream(tree, (*path, index), upstream)
        if not upstreams:
            tree.add_problem(path, f"'{name}' needs the address of a resolver")
        if upstreams:
            found += [Forward(zone, tuple(upstreams)) for zone in zones]
    return found


def _zones(name: str) -> tuple[str, ...]:
    if "/" in name:
        try:
            return reverse_zones(ip_network(name))
        except ValueError:
            return ()
    host = parse_host(name.strip("."))
    return () if host is None or _is_address(host) else (host,)


def _read_records(raw: RawNetwork, tree: Tree) -> list[LocalRecord]:
    found = []
    for name, texts in raw.records.items():
        path: Path = ("network", "records", name)
        host = parse_host(name)
        if host is None or _is_address(host):
            tree.add_problem(path, f"'{name}' is not a name, such as nas.lan")
            continue
        addresses = _addresses(tree, path, texts)
        if addresses:
            found.append(LocalRecord(host, addresses))
    return found


def _read_limit(raw: RawQueryLimit, tree: Tree) -> QueryLimit:
    default = QueryLimit()
    exempt = default.exempt
    if raw.exempt is not None:
        networks = []
        for index, text in enumerate(raw.exempt):
            try:
                networks.append(ip_network(text))
            except ValueError:
                tree.add_problem(("network", "query_limit", "exempt", index), f"'{text}' is not an IP address or network")
        exempt = tuple(networks)
    per_client = default.per_client if raw.per_client is None else raw.per_client
    return QueryLimit(per_client, default.total if raw.total is None else raw.total, exempt)


def _addresses(tree: Tree, path: Path, texts: list[str]) -> tuple[str, ...]:
    found = []
    for index, text in enumerate(texts):
        if _is_address(text):
            found.append(str(ip_address(text)))
        else:
            tree.add_problem((*path, index), f"'{text}' is not an IP address, such as 192.168.1.5")
    return tuple(found)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
