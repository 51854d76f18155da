"""Reads the `network` part of a policy file, and addresses wherever they stand in it."""

from __future__ import annotations

import os
import re
from dataclasses import fields
from functools import cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_interface
from pathlib import Path
from zoneinfo import ZoneInfo

from hedgerow.blocklists.names import parse_host
from hedgerow.policies.model import Profile
from hedgerow.policies.network import LOCAL_NETWORKS, CertificateFiles, Listen, Lists, Network, ProxySignIn, shared_ports
from hedgerow.policies.places import meant_country, suggest_timezone
from hedgerow.policies.reading import yaml_tree
from hedgerow.policies.reading.resolving import read_resolver
from hedgerow.policies.reading.schema import RawNetwork
from hedgerow.policies.reading.suggestions import did_you_mean, suggest, with_hint
from hedgerow.policies.reading.yaml_tree import Tree

Networks = IPv4Network | IPv6Network

# ISO 3166-1 alpha-2.
_COUNTRY_CODES = """
AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ CA CC CD CF CG CH CI CK CL
CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU
GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC
MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT
PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA
UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW
"""
COUNTRIES = frozenset(_COUNTRY_CODES.split())

UPSTREAM_SCHEMES = ("udp", "tcp", "tls", "https", "quic")
SYSTEM_UPSTREAMS = "system"


def read_network(raw: RawNetwork, tree: Tree, profiles: dict[str, Profile], default_profile: str) -> Network:
    """The network's settings; what is not said gets its default."""
    if raw.timezone is not None:
        check_timezone(tree, ("network", "timezone"), raw.timezone)
    unknown = raw.unknown_devices
    if unknown is not None and unknown not in profiles:
        message = f"unknown profile '{unknown}'.{suggest(unknown, profiles)} There are {', '.join(profiles)}."
        tree.add_problem(("network", "unknown_devices"), message)
        unknown = None
    lan = read_networks(tree, ("network", "lan"), raw.lan) if raw.lan is not None else LOCAL_NETWORKS
    if raw.lan is not None and not raw.lan:
        tree.add_problem(("network", "lan"), "an empty lan would refuse everybody: leave it out for the private ranges")
    for index, port in enumerate(raw.ports or ()):
        if not 1 <= port <= 65535:
            tree.add_problem(("network", "ports", index), f"{port} is not a port: ports are 1 to 65535")
    for index, upstream in enumerate(raw.upstream):
        _check_upstream(tree, ("network", "upstream", index), upstream)
    listen = Listen(
        *(_endpoint(tree, key, getattr(raw.listen, key)) for key in ("dns", "proxy", "web", "dot", "doh", "doq", "transparent"))
    )
    for one, other in shared_ports({field.name: getattr(listen, field.name) for field in fields(listen)}):
        tree.add_problem(("network", "listen", other), f"this is where '{one}' listens already: give '{other}' another port")
    return Network(
        timezone=raw.timezone or local_timezone(),
        country=_country(tree, raw.country),
        unknown_devices=unknown or default_profile,
        lan=lan,
        listen=listen,
        reachable=read_networks(tree, ("network", "reachable"), raw.reachable),
        ports=(80, 443) if raw.ports is None else tuple(raw.ports),
        upstream=tuple(raw.upstream),
        lists=raw.lists or Lists.RECOMMENDED,
        resolver=read_resolver(raw, tree, _check_upstream),
        server_name=_server_name(tree, raw.server_name),
        certificate=_certificate(tree, raw),
        proxy_sign_in=raw.proxy_sign_in or ProxySignIn.NEVER,
    )


@cache
def local_timezone() -> str:
    """The zone of this machine's clock: $TZ, else /etc/localtime, else UTC."""
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


def check_timezone(tree: Tree, path: yaml_tree.Path, name: str) -> None:
    """Adds a problem for a zone that there is not."""
    if is_timezone(name):
        return
    tree.add_problem(path, f"unknown time zone '{name}'.{suggest_timezone(name) or ' Zones are written like Europe/Lisbon.'}")


def _country(tree: Tree, text: str | None) -> str | None:
    if text is None:
        return None
    code = text.upper()
    if code not in COUNTRIES:
        hint = did_you_mean(meant_country(text))
        tree.add_problem(("network", "country"), f"'{text}' is not a country's two-letter code, such as PT (ISO 3166).{hint}")
    return code


def _server_name(tree: Tree, text: str | None) -> str | None:
    name = parse_host(text) if text is not None else None
    if text is not None and (name is None or _is_ip(name) or "." not in name):
        tree.add_problem(("network", "server_name"), f"'{text}' is not a full name, such as dns.home.example")
        return None
    return name


def _certificate(tree: Tree, raw: RawNetwork) -> CertificateFiles | None:
    if raw.certificate is None:
        return None
    for key in ("chain", "key"):
        text = getattr(raw.certificate, key)
        if not Path(text).is_absolute():
            tree.add_problem(("network", "certificate", key), f"'{text}' is not the whole path of a file, from / on")
    return CertificateFiles(raw.certificate.chain, raw.certificate.key)


def _endpoint(tree: Tree, key: str, text: str | None) -> str | None:
    if text is not None and not is_endpoint(text):
        tree.add_problem(("network", "listen", key), f"'{text}' is not ADDRESS:PORT, such as 0.0.0.0:53 or [::]:53")
    return text


def is_endpoint(text: str) -> bool:
    """Whether `text` is ADDRESS:PORT, an IPv6 address in brackets.

    >>> is_endpoint("0.0.0.0:53"), is_endpoint("[::1]:53"), is_endpoint("::1:53"), is_endpoint("0.0.0.0")
    (True, True, False, False)
    """
    host, _, port = text.rpartition(":")
    if not re.fullmatch(r"\d{1,5}", port) or int(port) > 65535:
        return False
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        return (ip_address(host.strip("[]")).version == 6) == bracketed
    except ValueError:
        return False


def _check_upstream(tree: Tree, path: yaml_tree.Path, text: str) -> None:
    scheme, separator, rest = text.rpartition("://")
    if text == SYSTEM_UPSTREAMS or ((not separator or scheme in UPSTREAM_SCHEMES) and (is_endpoint(rest) or _is_ip(rest.strip("[]")))):
        return
    if separator and scheme not in UPSTREAM_SCHEMES:
        tree.add_problem(path, f"'{text}': an upstream begins with one of {', '.join(f'{known}://' for known in UPSTREAM_SCHEMES)}")
    elif scheme not in {"tls", "https", "quic"} or not _is_named_upstream(scheme, rest):
        example = "https://dns.example/dns-query" if scheme == "https" else "9.9.9.9 or tls://dns.quad9.net"
        tree.add_problem(path, f"'{text}' is not a resolver, such as {example}")


def _is_named_upstream(scheme: str, rest: str) -> bool:
    host, _, path = rest.partition("/")
    name, _, port = host.partition(":") if not is_endpoint(host) else ("9.9.9.9", "", "")
    if port and not (port.isdigit() and 0 < int(port) <= 65535):
        return False
    return parse_host(name) is not None and (scheme == "https" or not path) and ("." in name)


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def parse_mac(text: str) -> str | None:
    """A MAC address as twelve small hex digits with colons, None if it is none.

    >>> parse_mac("AA-BB-CC-DD-EE-01"), parse_mac("aabb.ccdd.ee01"), parse_mac("10.0.0.1")
    ('aa:bb:cc:dd:ee:01', 'aa:bb:cc:dd:ee:01', None)
    """
    if not re.fullmatch(r"(?:[0-9a-f]{2}([:-]))(?:[0-9a-f]{2}\1){4}[0-9a-f]{2}|(?:[0-9a-f]{4}\.){2}[0-9a-f]{4}", text, re.IGNORECASE):
        return None
    digits = re.sub(r"[^0-9a-f]", "", text.lower())
    return ":".join(digits[index : index + 2] for index in range(0, 12, 2))


def parse_network(text: str) -> Networks | None:
    """An address or a network in CIDR form without host bits, None if it is neither."""
    try:
        interface = ip_interface(text)
    except ValueError:
        return None
    return interface.network if "/" not in text or interface.ip == interface.network.network_address else None


def shown_network(network: Networks) -> str:
    """A single address without its prefix length."""
    return str(network.network_address) if network.num_addresses == 1 else str(network)


def read_networks(tree: Tree, path: yaml_tree.Path, texts: list[str]) -> tuple[Networks, ...]:
    """Addresses and networks; those that are none become problems."""
    found = []
    for index, text in enumerate(texts):
        network = parse_network(text)
        if network is None:
            tree.add_problem((*path, index), _not_a_network(text))
        else:
            found.append(network)
    return tuple(found)


def _not_a_network(text: str) -> str:
    try:
        return f"'{text}' is an address inside a network. Did you mean {ip_interface(text).network}?"
    except ValueError:
        return with_hint(f"'{text}' is not an IP address or network, such as 192.168.1.0/24", did_you_mean(_meant_network(text)))


def _meant_network(text: str) -> str | None:
    """
    >>> _meant_network("192.168.1.*"), _meant_network("10.0.*.*"), _meant_network("192,168,1,9"), _meant_network("home")
    ('192.168.1.0/24', '10.0.0.0/16', '192.168.1.9', None)
    """
    parts = re.split(r"[.,]", text.strip())
    named = [part for part in parts if part != "*"]
    if len(parts) != 4 or parts[: len(named)] != named or not all(re.fullmatch(r"\d{1,3}", part) for part in named):
        return None
    meant = ".".join([*named, *["0"] * (4 - len(named))]) + (f"/{8 * len(named)}" if len(named) < 4 else "")
    return meant if meant != text and parse_network(meant) is not None else None


def read_device_address(tree: Tree, path: yaml_tree.Path, text: str, key: str) -> Networks | None:
    """The address of a device (`ip`) or several (`cidr`)."""
    network = parse_network(text)
    if network is None:
        tree.add_problem(path, _not_a_network(text))
    elif key == "ip" and network.num_addresses > 1:
        tree.add_problem(path, f"'{text}' is a network: write it under cidr")
        return None
    return network
