"""Reading of other servers that the `network` section names: bundle, dynamic name and OpenID Connect provider.

Mistakes become problems of the tree.
"""

from __future__ import annotations

import base64
import re
from urllib.parse import urlsplit

from hedgerow.blocklists.names import parse_host
from hedgerow.policies.network import (
    DYNAMIC_PLACEHOLDERS,
    BundleSource,
    DynamicName,
    OpenIdProvider,
    TunnelSettings,
)
from hedgerow.policies.reading.schema import RawBundle, RawDynamicName, RawOpenId
from hedgerow.policies.text.addresses import https_mistake, parse_ip, site_name_mistake
from hedgerow.policies.text.yaml_tree import YamlTree

_KEY_BYTES = 32
_USUAL_QUERY = "hostname={host}&myip={addresses}"


def read_bundle(raw: RawBundle | None, tree: YamlTree) -> BundleSource | None:
    """Read the place of the signed bundle."""
    if raw is None:
        return None
    if not _is_address(raw.url):
        tree.add_problem(
            ("network", "bundle", "url"), f"'{raw.url}' is not the address of a bundle, such as https://office.example/bundle.json"
        )
    if not _is_key(raw.key):
        tree.add_problem(("network", "bundle", "key"), f"'{raw.key}' is not a key: copy the one that `hedgerow organisation bundle` prints")
    if raw.group and (mistake := site_name_mistake(raw.group)):
        tree.add_problem(("network", "bundle", "group"), mistake)
    return BundleSource(raw.url, raw.key, raw.group, raw.lists)


def _is_address(text: str) -> bool:
    try:
        url = urlsplit(text)
        return url.scheme in ("http", "https") and bool(url.hostname) and not url.username and not url.fragment and url.port != 0
    except ValueError:
        return False


def _is_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == _KEY_BYTES
    except ValueError:
        return False


def read_dynamic_name(raw: RawDynamicName | None, tunnel: TunnelSettings | None, tree: YamlTree) -> DynamicName | None:
    """Read the name that follows the line's changing address."""
    if raw is None:
        return None
    url, seen_by = _https_url(tree, "server", raw.server), raw.seen_by and _https_url(tree, "seen_by", raw.seen_by)
    unknown = sorted(set(re.findall(r"\{(.*?)\}", url)) - set(DYNAMIC_PLACEHOLDERS))
    if unknown:
        known = ", ".join(f"{{{name}}}" for name in DYNAMIC_PLACEHOLDERS)
        tree.add_problem(("network", "ddns", "server"), f"unknown placeholder '{{{unknown[0]}}}'. Placeholders: {known}.")
    text = raw.host if raw.host is not None else tunnel.host if tunnel is not None else ""
    host = parse_host(text)
    if host is None or parse_ip(host) is not None or "." not in host:
        what = f"'{text}' is not a fully qualified name" if text else "there is no name yet: add one"
        tree.add_problem(("network", "ddns", "host"), f"{what}, such as home.example")
    if host is None or not url or unknown:
        return None
    return DynamicName(host, url if urlsplit(url).query else f"{url}?{_USUAL_QUERY}", raw.user, seen_by)


def _https_url(tree: YamlTree, key: str, text: str) -> str:
    """Return the URL, or an empty text with a problem if it is none of HTTPS: passwords and addresses travel by it."""
    mistake = https_mistake(text)
    if mistake.endswith("user name"):
        mistake += ": put it under user, and the password into the file ddns-password of the state directory"
    if mistake:
        tree.add_problem(("network", "ddns", key), mistake)
    return "" if mistake else text


def read_openid_provider(raw: RawOpenId | None, tree: YamlTree) -> OpenIdProvider | None:
    """Read the provider at which people sign in to the pages."""
    if raw is None:
        return None
    for key, url in (("issuer", raw.issuer), ("address", raw.address)):
        if url and (mistake := https_mistake(url)):
            tree.add_problem(("network", "oidc", key), mistake)
    if not raw.issuer or not raw.client:
        tree.add_problem(("network", "oidc"), "an issuer and a client are needed")
    if raw.ca and not raw.ca.startswith("/"):
        tree.add_problem(("network", "oidc", "ca"), f"'{raw.ca}' is not an absolute path")
    roles = {role: tuple(groups) for role, groups in raw.roles.model_dump().items() if groups}
    if not roles:
        tree.add_problem(("network", "oidc", "roles"), "no group has a role, so nobody could sign in")
    return OpenIdProvider(raw.issuer, raw.client, roles, raw.groups, raw.label, raw.address.rstrip("/"), raw.ca)
