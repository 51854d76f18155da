"""Response policy zones: `name CNAME .`, `*.name CNAME .`, and `24.0.2.0.192.rpz-ip CNAME .` for addresses in answers.

Source: https://datatracker.ietf.org/doc/html/draft-vixie-dnsop-dns-rpz. `name` stands for itself, `*.name` for its
subdomains; here the latter covers the name too. `rpz-passthru.` is an exception. Other triggers and local data are
problems.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from operator import methodcaller

from hedgerow.blocklists.formats.line_parser import NO_BLOCK, SINK_ADDRESSES, add_host, add_networks, line_format
from hedgerow.blocklists.names import parse_network
from hedgerow.blocklists.rules import ParsedLines

_RECORD = re.compile(r"(\S++)\s++(?:\d++\s++)?(?:IN\s++)?(?:\d++\s++)?(CNAME|A|AAAA)\s++(\S++)", re.IGNORECASE)
_ZONE_DATA = re.compile(
    r"(?:\S++\s++|\s*+)(?:\d++\s++)?(?:IN\s++)?(?:SOA|NS|TXT)\b.*|[\d\s()]++(?:;.*)?|\$\w++.*", re.IGNORECASE
)
_BLOCKS = frozenset({".", "*.", "rpz-drop.", "rpz-tcp-only."})
_TRIGGER = re.compile(r"(.+)\.(rpz-(?:ip|client-ip|nsip|nsdname))(?:\..*)?", re.IGNORECASE)


def _is_typical(line: str) -> bool:
    record = _RECORD.match(line)
    return record is not None and (record[2].upper() != "CNAME" or record[3].lower() in _BLOCKS | {"rpz-passthru."})


def _parse(lines: Sequence[str], first: int, source: str) -> ParsedLines:
    parsed = _RECORDS.parse(lines, first, source)
    # The usual pair, `name` and `*.name`, is one rule.
    covered = set(parsed.hosts)
    exact = [host for host in parsed.exact if host not in covered]
    if pairs := len(parsed.exact) - len(exact):
        parsed.ignored["names of a pair with their wildcard"] += pairs
    parsed.exact = exact
    return parsed


def _add(line: str, _number: int, parsed: ParsedLines) -> str | None:
    record = _RECORD.fullmatch(line.partition(";")[0].strip())
    if record is None:
        if _ZONE_DATA.fullmatch(line):
            parsed.ignored["zone data"] += 1
            return None
        return "not a record of a policy zone"
    owner, kind, value = record[1].lower(), record[2].upper(), record[3].lower()
    passes = kind == "CNAME" and value == "rpz-passthru."
    if not passes and not (value in _BLOCKS if kind == "CNAME" else value in SINK_ADDRESSES):
        return NO_BLOCK
    if trigger := _TRIGGER.fullmatch(owner):
        return _add_trigger(trigger[1], trigger[2], passes, parsed)
    to = parsed.excepted if passes else parsed.hosts if owner.startswith("*.") else parsed.exact
    return add_host(owner.removeprefix("*."), parsed, to)


def _add_trigger(labels: str, kind: str, passes: bool, parsed: ParsedLines) -> str | None:
    if kind != "rpz-ip" or passes:
        return f"a trigger that is not honoured: {kind}"
    length, *parts = labels.split(".")
    if len(parts) == 4 and all(part.isdigit() for part in parts):
        text = ".".join(parts[::-1])
    else:
        text = ":".join("" if part == "zz" else part for part in parts[::-1])
        text = re.sub(r"^:(?!:)|(?<!:):$", "::", text)
    network = parse_network(f"{text}/{length}")
    return "not an address of a trigger" if network is None else add_networks([network], parsed)


_RECORDS = line_format("rpz", _is_typical, methodcaller("startswith", (";", "$", "#", "@")), _add)
FORMAT = replace(_RECORDS, parse=_parse)
