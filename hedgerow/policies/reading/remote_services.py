"""Reading of other servers that the `network` section names: bundle and OpenID Connect provider.

Mistakes become problems of the tree.
"""

from __future__ import annotations

import base64
from urllib.parse import urlsplit

from hedgerow.policies.network import (
    BundleSource,
    OpenIdProvider,
)
from hedgerow.policies.reading.schema import RawBundle, RawOpenId
from hedgerow.policies.text.addresses import https_mistake, site_name_mistake
from hedgerow.policies.text.yaml_tree import YamlTree

_KEY_BYTES = 32


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
