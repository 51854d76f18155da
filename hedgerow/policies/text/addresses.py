"""Parsing of addresses as people write them:

IP and MAC addresses, networks, endpoints, URLs of stores, and names of sites. Pure.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface
from urllib.parse import parse_qs, quote, unquote, urlsplit

from hedgerow.codec import IpNetwork as IpNetwork

type IpAddress = IPv4Address | IPv6Address
DEFAULT_SITE = "home"
"""The site of a store with only one."""

_SITE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
_STORE_SCHEMES = ("postgresql", "postgres", "postgresql+psycopg")


def parse_ip(text: str) -> IpAddress | None:
    """Return the IP address that `text` is, else None."""
    try:
        return ip_address(text)
    except ValueError:
        return None


def parse_client_address(text: str) -> IpAddress | None:
    """Return a client's address as sockets report it, without a zone, and IPv4-mapped IPv6 as IPv4; None if it is not
    an address.
    """
    address = parse_ip(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def https_mistake(text: str) -> str:
    """Return a sentence about the mistake in an HTTPS URL, empty if there is none. A user name is a mistake."""
    try:
        url = urlsplit(text)
        if url.username or url.password:
            return "the address has a user name"
        is_url = url.scheme == "https" and bool(url.hostname) and url.port != 0
    except ValueError:
        is_url = False
    return "" if is_url else f"'{text}' is not an address that begins with https://"


def is_endpoint(text: str) -> bool:
    """Return whether `text` is ADDRESS:PORT, with an IPv6 address in brackets.

    >>> is_endpoint("0.0.0.0:53"), is_endpoint("[::1]:53"), is_endpoint("::1:53"), is_endpoint("0.0.0.0")
    (True, True, False, False)
    """
    host, _, port = text.rpartition(":")
    if not re.fullmatch(r"\d{1,5}", port) or int(port) > 65535:
        return False
    bracketed = host.startswith("[") and host.endswith("]")
    address = parse_ip(host.strip("[]"))
    return address is not None and (address.version == 6) == bracketed


def parse_mac(text: str) -> str | None:
    """Return a MAC address in lower case with colons, or None if `text` is not one.

    >>> parse_mac("AA-BB-CC-DD-EE-01"), parse_mac("aabb.ccdd.ee01"), parse_mac("10.0.0.1")
    ('aa:bb:cc:dd:ee:01', 'aa:bb:cc:dd:ee:01', None)
    """
    if not re.fullmatch(
        r"(?:[0-9a-f]{2}([:-]))(?:[0-9a-f]{2}\1){4}[0-9a-f]{2}|(?:[0-9a-f]{4}\.){2}[0-9a-f]{4}", text, re.IGNORECASE
    ):
        return None
    digits = re.sub(r"[^0-9a-f]", "", text.lower())
    return ":".join(digits[index : index + 2] for index in range(0, 12, 2))


def parse_network(text: str) -> IpNetwork | None:
    """Return an address, or a network in CIDR form without host bits; None if `text` is neither."""
    try:
        interface = ip_interface(text)
    except ValueError:
        return None
    return interface.network if "/" not in text or interface.ip == interface.network.network_address else None


def format_network(network: IpNetwork) -> str:
    """Format a network; a single address goes without its prefix length."""
    return str(network.network_address) if network.num_addresses == 1 else str(network)


def store_url_mistake(text: str) -> str:
    """Return the mistake in the URL of a store, as the end of a sentence about it; empty if there is none.

    It never repeats a password.

    >>> store_url_mistake("postgresql://hedgerow@db.example/hedgerow"), store_url_mistake("mysql://db.example/hedgerow")
    ('', 'is not the URL of a PostgreSQL database, such as postgresql://hedgerow@db.example/hedgerow')
    """
    try:
        url = urlsplit(text)
        password = url.password or "".join(parse_qs(url.query).get("password", ()))
    except ValueError:
        return "is not a URL"
    if url.scheme not in _STORE_SCHEMES or url.fragment or not text.isprintable():
        return "is not the URL of a PostgreSQL database, such as postgresql://hedgerow@db.example/hedgerow"
    if password:
        return (
            "contains a password, which everybody would know who can read it: put it into the file "
            "store-password of the state "
            "directory, into ~/.pgpass, or into the environment as PGPASSWORD"
        )
    if len(url.path) < 2:
        return "names no database: put its name at the end, such as /hedgerow"
    return ""


def site_name_mistake(name: str) -> str:
    """Return a sentence about the mistake in a site's name; empty if there is none.

    >>> site_name_mistake("cafe-3"), bool(site_name_mistake("Café 3"))
    ('', True)
    """
    if _SITE_NAME.fullmatch(name):
        return ""
    return (
        f"'{name}' is no name of a site: use up to 31 lower-case letters (a to z), digits and hyphens, such as cafe-3"
    )


def is_local_host(host: str) -> bool:
    """Return True for a Unix socket, a loopback address, or `localhost`, as in URLs of stores.

    >>> is_local_host("/run/postgresql"), is_local_host("[::1]"), is_local_host(""), is_local_host("db.example")
    (True, True, True, False)
    """
    address = parse_ip(host.strip("[]"))
    return (
        address.is_loopback if address is not None else not host or host.startswith(("/", "@")) or host == "localhost"
    )


def with_user(text: str, user: str) -> str:
    """Return the URL of a store for another user.

    >>> with_user("postgresql://hedgerow@db.example/hedgerow?sslmode=require", "hedgerow_home")
    'postgresql://hedgerow_home@db.example/hedgerow?sslmode=require'
    """
    url = urlsplit(text)
    place = url.netloc.rpartition("@")[2]
    return url._replace(netloc=f"{quote(user)}@{place}").geturl()


def split_password(text: str) -> tuple[str, str]:
    """Return the URL of a store without its password, and the password, empty if there is none.

    >>> split_password("postgresql://ana:s3cret@db.example:5433/hedgerow")
    ('postgresql://ana@db.example:5433/hedgerow', 's3cret')
    """
    try:
        url = urlsplit(text)
        password, user = url.password or "", url.username or ""
    except ValueError:
        return text, ""
    if not password:
        return text, ""
    place = url.netloc.rpartition("@")[2]
    return url._replace(netloc=f"{quote(unquote(user))}@{place}").geturl(), unquote(password)
