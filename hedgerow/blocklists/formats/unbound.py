"""Unbound's configuration: `local-zone: "a." always_null` and `local-data: "a. A 0.0.0.0"`.

Source: https://unbound.docs.nlnetlabs.nl/en/latest/manpages/unbound.conf.html. A zone stands for its subdomains. A zone
of type `redirect` blocks or redirects by its data, which are on a line of their own.
"""

from __future__ import annotations

import re
from operator import methodcaller

from hedgerow.blocklists.formats.line_parser import NO_BLOCK, SINK_ADDRESSES, add_host, line_format
from hedgerow.blocklists.rules import ParsedLines

_ZONE = re.compile(r"local-zone:\s*\"?([^\s\"]+)\"?\s+\"?([a-z_]+)\"?", re.IGNORECASE)
_DATA = re.compile(r"local-data:\s*+[\"'](\S++)(?:\s++\d++)?(?:\s++IN)?\s++([A-Z0-9]++)\s++(.*?)[\"']", re.IGNORECASE)
_SETTING = re.compile(r"[a-z][a-z0-9-]*:.*", re.IGNORECASE)
_BLOCKS = frozenset(
    {
        "always_null",
        "always_nxdomain",
        "always_refuse",
        "always_nodata",
        "always_deny",
        "refuse",
        "static",
        "deny",
        "inform_deny",
    }
)
_PASSES = frozenset({"transparent", "typetransparent", "always_transparent", "inform"})


def _is_typical(line: str) -> bool:
    return line.startswith(("local-zone:", "local-data:"))


def _add(line: str, _number: int, parsed: ParsedLines) -> str | None:
    text = re.split(r"\s#", line, maxsplit=1)[0].strip()
    if zone := _ZONE.fullmatch(text):
        kind = zone[2].lower()
        if kind in _BLOCKS or kind in _PASSES:
            return add_host(zone[1], parsed, parsed.hosts if kind in _BLOCKS else parsed.excepted)
        parsed.ignored["zones that their data explains"] += 1
        return None if kind in ("redirect", "inform_redirect", "nodefault") else f"no such type of zone: {kind[:30]}"
    if data := _DATA.fullmatch(text):
        is_sink = data[2].upper() in ("A", "AAAA") and data[3].strip() in SINK_ADDRESSES
        return add_host(data[1], parsed) if is_sink else NO_BLOCK
    if _is_typical(text) or not _SETTING.fullmatch(text):
        return "not a line of Unbound's configuration"
    parsed.ignored["other settings"] += 1
    return None


FORMAT = line_format("unbound", _is_typical, methodcaller("startswith", "#"), _add)
