"""Sealed lists: digests of expressions, and the expressions of a host or URL that are looked up in them.

The expressions are those of Safe Browsing (https://developers.google.com/safe-browsing/reference/URLs.and.Hashing): the
host and its parents, each with the whole path, the path without the query, and the path's parents. `host/` stands for a
whole host, so that such an entry also refuses the name; any other stands for everything that begins with it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from operator import methodcaller
from urllib.parse import quote_from_bytes, unquote_to_bytes

from hedgerow.blocklists.formats.line_parser import line_format
from hedgerow.blocklists.names import is_address, load_public_suffixes, parse_host
from hedgerow.blocklists.rules import ParsedLines

_URL = re.compile(
    r"(?:[a-z][a-z0-9+.-]*:)?//(?:[^/?#@]*@)?(\[[^\]/]*\]|[^/?#:]*)(?::\d*)?([^?#]*)(\?[^#]*)?", re.IGNORECASE
)
_HEX = b"0123456789abcdefABCDEF"
_CONTROLS = re.compile(r"[\t\r\n]")
_KEPT = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in "#%")


def hash_key(digest: str) -> str:
    """Return the index key of a digest. Two digits are separate, so that keys can be split into shards."""
    return f"~{digest[:2]}.{digest[2:]}"


def hash_expression(expression: str) -> str:
    """Return the SHA-256 of an expression, in hexadecimal digits.

    >>> hash_expression("example.com/")[:16]
    '73d986e009065f18'
    """
    return hashlib.sha256(expression.encode("utf-8", "surrogatepass")).hexdigest()


def host_expressions(host: str) -> Iterator[str]:
    """Yield the expressions of a canonical host and its parents, except public suffixes, under which strangers have
    their sites.
    """
    suffixes = load_public_suffixes().registries
    while host and host not in suffixes:
        yield f"{host}/"
        host = "" if is_address(host) else host.partition(".")[2]


def url_expressions(url: str) -> list[str]:
    """Return the expressions of an absolute URL, canonical or not: at most five hosts with at most six paths each.

    >>> url_expressions("http://a.example.com/1/2.html?p=1")[:3]
    ['a.example.com/1/2.html?p=1', 'a.example.com/1/2.html', 'a.example.com/']
    """
    found = _URL.match(_CONTROLS.sub("", url.strip()).replace("\\", "/"))
    host = parse_host(_unescape(found[1]).strip(".")) if found else None
    if found is None or host is None:
        return []
    path, query = _clean_path(found[2]), _escape(_unescape_bytes(found[3] or ""))
    paths = [path + query, path] if query else [path]
    parents = path.split("/")[1:-1]
    paths += ["/" + "".join(f"{parent}/" for parent in parents[:depth]) for depth in range(min(len(parents), 3) + 1)]
    return [f"{name}{each}" for name in _hosts(host) for each in dict.fromkeys(paths)]


def _hosts(host: str) -> list[str]:
    labels = host.split(".")
    if is_address(host) or len(labels) < 2:
        return [host]
    suffixes = [".".join(labels[-count:]) for count in range(min(len(labels), 5), 1, -1)]
    return list(dict.fromkeys([host, *suffixes]))[:5] if len(labels) > 5 else suffixes


def _unescape_bytes(text: str) -> bytes:
    """Undo percent escapes, including escapes of escapes.

    >>> _unescape_bytes("%2525%2541")
    b'%A'
    """
    data = unquote_to_bytes(text.encode("utf-8", "surrogatepass"))
    if b"%" not in data:
        return data
    unescaped = bytearray()  # one pass over all layers, of which a hostile URL has thousands
    for octet in data:
        unescaped.append(octet)
        while octet in _HEX and unescaped[-2:-1] in _HEX and unescaped[-3:-2] == b"%":
            octet = int(unescaped[-2:], 16)
            unescaped[-3:] = (octet,)
    return bytes(unescaped)


def _unescape(text: str) -> str:
    return _unescape_bytes(text).decode("utf-8", "replace")


def _escape(data: bytes) -> str:
    return quote_from_bytes(data, safe=_KEPT)


def _clean_path(text: str) -> str:
    resolved: list[str] = []
    segments = _escape(_unescape_bytes(text or "/")).split("/")[1:] or [""]
    for segment in segments:
        if segment == "..":
            del resolved[-1:]
        elif segment not in (".", ""):
            resolved.append(segment)
    end = "/" if resolved and segments[-1] in ("", ".", "..") else ""
    return "/" + "/".join(resolved) + end


_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{64})(?:\s+#.*)?", re.IGNORECASE)


def _is_typical(line: str) -> bool:
    return _DIGEST.fullmatch(line) is not None


def _parse(lines: Sequence[str], first: int, source: str) -> ParsedLines:
    parsed = _DIGESTS.parse(lines, first, source)
    # A problem never shows the line: it may hold what was to be sealed.
    parsed.problems = [replace(problem, text="") for problem in parsed.problems]
    return parsed


def _add(line: str, _number: int, parsed: ParsedLines) -> str | None:
    digest = _DIGEST.fullmatch(line)
    if digest is None:
        return "not a SHA-256 digest: 64 hexadecimal digits"
    parsed.sealed.append(digest[1].lower())
    return None


_DIGESTS = line_format("sealed", _is_typical, methodcaller("startswith", "#"), _add)
FORMAT = replace(_DIGESTS, parse=_parse)
