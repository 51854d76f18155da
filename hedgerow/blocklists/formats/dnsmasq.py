"""dnsmasq's configuration: `address=/a/b/0.0.0.0`, `local=/a/`, `server=/a/`.

Source: https://thekelleys.org.uk/dnsmasq/docs/dnsmasq-man.html. A name stands for itself and its subdomains.
`server=/a/#`, which sends a name to the usual servers again, is an exception. A name that is sent to a server or an
address of its own is not a block.
"""

from __future__ import annotations

import re
from operator import methodcaller

from hedgerow.blocklists.formats.line_parser import NO_BLOCK, SINK_ADDRESSES, add_host, line_format
from hedgerow.blocklists.rules import ParsedLines

_RULE = re.compile(r"(address|local|server)\s*=\s*/(.*)/([^/]*)", re.IGNORECASE)
_SETTING = re.compile(r"[a-z][a-z0-9-]*(?:\s*=.*)?", re.IGNORECASE)


def _is_typical(line: str) -> bool:
    return _RULE.match(line) is not None


def _add(line: str, _number: int, parsed: ParsedLines) -> str | None:
    rule = _RULE.fullmatch(re.split(r"\s#", line, maxsplit=1)[0].strip())
    if rule is None:
        if _SETTING.fullmatch(line) and not re.match(r"(?:address|local|server)\s*=\s*/", line, re.IGNORECASE):
            parsed.ignored["other settings"] += 1
            return None
        return "not a line of dnsmasq's configuration"
    option, names, target = rule[1].lower(), rule[2].split("/"), rule[3].strip().lower()
    if option == "server" and target == "#":
        to = parsed.excepted
    elif (target in SINK_ADDRESSES and option == "address") or not target:
        to = parsed.hosts
    else:
        return NO_BLOCK
    problems = [problem for name in names if (problem := add_host(name.removeprefix("*."), parsed, to)) is not None]
    return problems[0] if problems else None


FORMAT = line_format("dnsmasq", _is_typical, methodcaller("startswith", "#"), _add)
