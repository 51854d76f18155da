"""Reading of `network.ddns`: a name that follows the line's changing address."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from hedgerow.blocklists.names import parse_host
from hedgerow.policies.network import DYNAMIC_PLACEHOLDERS, DynamicName, TunnelSettings
from hedgerow.policies.reading.schema import RawDynamicName
from hedgerow.policies.text.addresses import https_mistake, parse_ip
from hedgerow.policies.text.yaml_tree import YamlTree

_PATH = ("network", "ddns")
_USUAL_QUERY = "hostname={host}&myip={addresses}"


def read_dynamic_name(raw: RawDynamicName | None, tunnel: TunnelSettings | None, tree: YamlTree) -> DynamicName | None:
    """Read the name; mistakes become problems of the tree."""
    if raw is None:
        return None
    url, seen_by = _https_url(tree, "server", raw.server), raw.seen_by and _https_url(tree, "seen_by", raw.seen_by)
    unknown = sorted(set(re.findall(r"\{(.*?)\}", url)) - set(DYNAMIC_PLACEHOLDERS))
    if unknown:
        known = ", ".join(f"{{{name}}}" for name in DYNAMIC_PLACEHOLDERS)
        tree.add_problem((*_PATH, "server"), f"unknown placeholder '{{{unknown[0]}}}'. Placeholders: {known}.")
    text = raw.host if raw.host is not None else tunnel.host if tunnel is not None else ""
    host = parse_host(text)
    if host is None or parse_ip(host) is not None or "." not in host:
        what = f"'{text}' is not a fully qualified name" if text else "there is no name yet: add one"
        tree.add_problem((*_PATH, "host"), f"{what}, such as home.example")
    if host is None or not url or unknown:
        return None
    return DynamicName(host, url if urlsplit(url).query else f"{url}?{_USUAL_QUERY}", raw.user, seen_by)


def _https_url(tree: YamlTree, key: str, text: str) -> str:
    """Return the URL, or an empty text with a problem if it is none of HTTPS: passwords and addresses travel by it."""
    mistake = https_mistake(text)
    if mistake.endswith("user name"):
        mistake += ": put it under user, and the password into the file ddns-password of the state directory"
    if mistake:
        tree.add_problem((*_PATH, key), mistake)
    return "" if mistake else text
