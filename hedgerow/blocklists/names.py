"""Canonical forms of hosts and URLs, keys of the index, and public suffixes.

Inside Hedgerow a host is a plain `str` in the form that `parse_host` returns. Everything here is pure except
`load_public_suffixes`, which reads the public suffix list of the library publicsuffixlist.
"""

from __future__ import annotations

import functools
import ipaddress
import re
import string
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

import idna
import publicsuffixlist

from hedgerow.blocklists.address_ranges import unwrap_ipv4

HOST = re.compile(r"(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}")
"""A canonical host, apart from its length and from addresses.

Hyphens and underscores are allowed anywhere, as they do in practice.
"""

_NUMERIC_END = re.compile(r"(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)$")
# Only escapes that are not canonical: of unreserved characters (letters, digits, - . _ ~), or with lower-case hex
# digits. The look-ahead skips the commonest canonical ones.
_ESCAPE = re.compile(
    "%(?!2[0-9A-CF]|3[A-F])(?:2[DEa-f]|3[0-9a-f]|[46][1-9A-Fa-f]|5[0-9AFa-f]|7[0-9AEa-f]|[0189A-F][a-f]|[a-f][0-9A-Fa-f])",
)
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")
_OTHER_PORT = r"(?::(?!(?:80|443)/)(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}))?"
_COMMON_START = re.compile(r"https?://((?:[a-z0-9_-]{1,63}\.)*[a-z][a-z0-9_-]{0,62})" + _OTHER_PORT + "/")
_UNCOMMON = bytes([*range(0x21), 0x7F]) + b"\\#"
# the rest is ASCII without space, backslash and fragment
_COMMON_URL = re.compile(_COMMON_START.pattern + r"[!\"$-\[\]-~]*")


def parse_host(text: str) -> str | None:
    """Return the canonical form of a host name or an IP address, None if `text` is neither.

    Names become lower case and A-labels (UTS 46, RFC 5891), without a trailing dot, at most 253 characters with labels
    of at most 63 (RFC 1035, 2.3.4). Addresses become the text of `ipaddress`, without brackets around IPv6.

    >>> parse_host("Bücher.Example.")
    'xn--bcher-kva.example'
    >>> parse_host("[2001:DB8::0:1]")
    '2001:db8::1'
    """
    host = text.strip().lower().removesuffix(".")
    if not host.isascii():
        mapped = _to_ascii(host)
        if mapped is None:
            return None
        host = mapped
    if ":" in host or host.startswith("["):
        return _parse_address(host.removeprefix("[").removesuffix("]"))
    if len(host) > 253 or HOST.fullmatch(host) is None:
        return None
    if host[-1].isdigit() or "0x" in host:
        # The URL standard treats a name whose last label is a number as an IPv4 address; the root has no such zone.
        return _parse_address(host) if _NUMERIC_END.search(host) else host
    return host


def _parse_address(text: str) -> str | None:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None


def _to_ascii(host: str) -> str | None:
    try:
        mapped = idna.uts46_remap(host, std3_rules=False, transitional=False).removesuffix(".")
        return ".".join(label if label.isascii() else _alabel(label) for label in mapped.split("."))
    except (idna.IDNAError, UnicodeError):
        return None


def _alabel(label: str) -> str:
    try:
        return idna.alabel(label).decode("ascii")
    except idna.IDNAError:
        # Emoji are registered in some zones and resolved by browsers, although IDNA 2008 disallows them.
        return "xn--" + label.encode("punycode").decode("ascii")


def is_address(host: str) -> bool:
    """Return whether a canonical host is an IP address."""
    return ":" in host or (host[-1:].isdigit() and _NUMERIC_END.search(host) is not None)


def embedded_ipv4(address: str) -> str | None:
    """Return the IPv4 address that an IPv6 address merely writes in another way (IPv4-mapped, NAT64), else None.

    >>> (embedded_ipv4("::ffff:192.0.2.1"), embedded_ipv4("64:ff9b::c000:201"), embedded_ipv4("2001:db8::1"),
    ...  embedded_ipv4("192.0.2.1"))
    ('192.0.2.1', '192.0.2.1', None, None)
    """
    if ":" not in address:
        return None
    inner = unwrap_ipv4(ipaddress.IPv6Address(address).packed)
    return str(ipaddress.IPv4Address(inner)) if len(inner) == 4 else None


def is_beneath(host: str, domains: frozenset[str]) -> bool:
    """Return whether a host, or a domain above it, is one of `domains`."""
    while host:
        if host in domains:
            return True
        host = host.partition(".")[2]
    return False


LOCAL_SUFFIXES = frozenset(
    {"corp", "home", "internal", "intranet", "lan", "local", "localdomain", "localhost", "private"}
)
LOCAL_DOMAINS = frozenset({"home.arpa", "fritz.box", "speedport.ip"})
"""Suffixes of names in the local network (RFC 6762, RFC 8375 and the customs of routers), which no public zone has."""


def is_local_name(host: str) -> bool:
    """Return whether a name is that of a machine in the local network."""
    return host.rpartition(".")[2] in LOCAL_SUFFIXES or is_beneath(host, LOCAL_DOMAINS)


def rule_key(host: str, exact: bool = False) -> str:
    """Return the index key of a rule: labels reversed, each closed by a dot, so that prefixes end on label borders.

    An exact rule's key ends in `$`. Look a host up with the key of an exact rule: its prefixes are the rules that
    match.

    >>> rule_key("www.example.com"), rule_key("example.com", exact=True)
    ('com.example.www.', 'com.example.$')
    """
    return ".".join(host.split(".")[::-1]) + (".$" if exact else ".")


def host_of_key(key: str) -> str:
    """Return the host of an index key: the reverse of `rule_key`."""
    return ".".join(key.removesuffix("$")[:-1].split(".")[::-1])


def network_key(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> str:
    """Return the index key of a network: its bits, so that the networks that hold an address are prefixes of the
    address's key.

    >>> network_key(ipaddress.ip_network("192.0.2.0/24"))
    '!4.110000000000000000000010'
    """
    bits = f"{int(network.network_address):0{network.max_prefixlen}b}"
    return f"!{network.version}.{bits[: network.prefixlen]}"


def parse_network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """Parse an address or a network in CIDR notation, host bits allowed; None if `text` is neither."""
    try:
        return ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        return None


def registered_domain(host: str) -> str:
    """Return the registered part of a canonical host, one label under a public suffix; the host itself if it has none.

    >>> registered_domain("www.example.co.uk"), registered_domain("a.b.example.com"), registered_domain("com")
    ('example.co.uk', 'example.com', 'com')
    """
    return short_domain(host) or _registered_domain(host)


def short_domain(host: str) -> str:
    """Return the last two labels of a host, if they are its registered domain; empty if that may be longer, or if there
    is none.

    >>> short_domain("www.example.com"), short_domain("www.example.co.uk"), short_domain("com")
    ('example.com', '', '')
    """
    front, _, top = host.rpartition(".")
    last_two = f"{front.rpartition('.')[2]}.{top}"
    # Most suffixes are top-level domains, and the library takes ten times as long.
    return last_two if front and last_two not in _longer_suffixes() and top not in _uncommon_tops() else ""


@functools.lru_cache(maxsize=8192)
def _registered_domain(host: str) -> str:
    return host if is_address(host) else _suffix_list().privatesuffix(host) or host


def is_public_suffix(host: str) -> bool:
    """Return whether anybody can register or get names under a canonical host.

    >>> is_public_suffix("co.uk"), is_public_suffix("github.io"), is_public_suffix("example.co.uk")
    (True, True, False)
    """
    return not is_address(host) and _suffix_list().privatesuffix(host) is None


@functools.cache
def _longer_suffixes() -> frozenset[str]:
    """Return the last two labels of the public suffixes that have as many or more."""
    return frozenset(".".join(rule.split(".")[-2:]) for rule in _suffix_rules() if "." in rule)


@functools.cache
def _uncommon_tops() -> frozenset[str]:
    """Return the last labels of names that are suffixes whatever their last but one is, and those of IPv4 addresses."""
    wildcards = {rule.removeprefix("*.") for rule in _suffix_rules() if rule.startswith("*.") and rule.count(".") == 1}
    return frozenset(wildcards | {str(number) for number in range(256)})


def _suffix_rules() -> list[str]:
    lines = map(str.strip, Path(publicsuffixlist.PSLFILE).read_text(encoding="utf-8").splitlines())
    rules = [line.removeprefix("!") for line in lines if line and not line.startswith("//")]
    return [rule if rule.isascii() else parse_host(rule.replace("*", "x")) or "" for rule in rules]


@functools.cache
def _suffix_list() -> publicsuffixlist.PublicSuffixList:
    return publicsuffixlist.PublicSuffixList()


def parse_url(text: str) -> str | None:
    """Return the canonical form of an absolute URL, None if `text` is not one.

    The host is canonical; default port, user, password and fragment are removed; dot segments are resolved; escapes of
    unreserved characters are undone (RFC 3986, 6.2.2); spaces and everything outside ASCII are escaped. So nobody
    evades a rule by writing a URL in another way.

    >>> parse_url("HTTP://Example.COM:80/a/../%62?q=%7e#top")
    'http://example.com/b?q=~'
    """
    if _COMMON_URL.fullmatch(text):
        unescaped = unescape(text)
        if "/." not in unescaped:
            return unescaped
    try:
        # Browsers treat a backslash as a slash. Without that, http://a.example\@b.example/ has another host here than
        # there.
        parts = urlsplit(text.strip().replace("\\", "/").replace(" ", "%20"))
        host = parse_host(parts.hostname or "")
        port = parts.port
    except ValueError:
        return None
    if host is None or not parts.scheme:
        return None
    netloc = f"[{host}]" if ":" in host else host
    if port is not None and port != _DEFAULT_PORTS.get(parts.scheme):
        netloc += f":{port}"
    # An empty query counts too: a pattern may contain the question mark.
    query = f"?{unescape(parts.query)}" if parts.query or "?" in text.partition("#")[0] else ""
    return f"{parts.scheme}://{netloc}{_resolve_dots(unescape(parts.path) or '/')}{query}"


def split_url(text: str) -> tuple[str, str] | None:
    """Return the canonical form of an absolute URL and its host, None if `text` is not one.

    Faster than `parse_url` and `host_of_url`.

    >>> split_url("http://Example.com/a")
    ('http://example.com/a', 'example.com')
    """
    end = text.find("/", 8)
    host = _common_host(text[:end]) if end > 0 else None
    # Equivalent to _COMMON_URL, and several times faster.
    if host is None or not text.isascii() or len((written := text.encode()).translate(None, _UNCOMMON)) != len(written):
        canonical = parse_url(text)
        found = host_of_url(canonical) if canonical is not None else None
        return None if canonical is None or found is None else (canonical, found)
    if "%" in text:
        text = unescape(text)
    if "/." in text:
        canonical = parse_url(text)
        return None if canonical is None else (canonical, host)
    return text, host


@functools.lru_cache(maxsize=8192)
def _common_host(start: str) -> str | None:
    """Return the host of `http://host` if it is canonical and the port is not a default one.

    Cached, since hosts repeat.
    """
    found = _COMMON_START.fullmatch(start + "/")
    return found[1] if found and len(found[1]) < 254 else None


def host_of_url(url: str) -> str | None:
    """Return the canonical host of an absolute URL, None if `url` is not one."""
    common = _COMMON_START.match(url)
    if common is not None:
        return common[1]
    try:
        return parse_host(urlsplit(url.strip().replace("\\", "/")).hostname or "")
    except ValueError:
        return None


def _resolve_dots(path: str) -> str:
    """Remove dot segments (RFC 3986, 5.2.4) from a path that begins with a slash."""
    if "/." not in path:
        return path
    resolved: list[str] = []
    *parents, last = path.split("/")[1:]
    for segment in parents:
        if segment == "..":
            del resolved[-1:]
        elif segment != ".":
            resolved.append(segment)
    if last == "..":
        del resolved[-1:]
    return "/".join(["", *resolved, "" if last in (".", "..") else last])


def unescape(text: str) -> str:
    """Undo percent escapes of unreserved characters, write the others in upper case, and escape everything outside
    ASCII.
    """
    if not text.isascii():
        text = _NOT_ASCII.sub(lambda match: quote(match[0], errors="surrogateescape"), text)
    return _ESCAPE.sub(lambda match: _CANONICAL[match[0]], text) if "%" in text else text


_CANONICAL = {
    f"%{high}{low}": character if (character := chr(int(high + low, 16))) in _UNRESERVED else f"%{high}{low}".upper()
    for high in string.hexdigits
    for low in string.hexdigits
}
"""The canonical form of each escape."""


@dataclass(frozen=True, slots=True)
class PublicSuffixes:
    """The public suffix list (publicsuffix.org): names under which anybody can register names.

    `registries` are the suffixes of its ICANN section; `hosters` those of its private section, such as `blogspot.com`.
    """

    registries: frozenset[str]
    hosters: frozenset[str]


@functools.cache
def load_public_suffixes() -> PublicSuffixes:
    """Read the list of publicsuffixlist. A rule `*.ck` counts as the suffix `ck`: blocking it blocks them all."""
    text = Path(publicsuffixlist.PSLFILE).read_text(encoding="utf-8")
    icann, _, private = text.partition("===END ICANN DOMAINS===")
    return PublicSuffixes(_suffixes(icann), _suffixes(private))


def _suffixes(section: str) -> frozenset[str]:
    lines = (line.strip() for line in section.splitlines())
    rules = (line.removeprefix("*.") for line in lines if line and not line.startswith(("//", "!")))
    hosts = (rule if rule.isascii() else parse_host(rule) for rule in rules)  # those in ASCII are canonical
    return frozenset(host for host in hosts if host is not None)
