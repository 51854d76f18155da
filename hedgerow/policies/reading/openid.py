"""Reading of `network.oidc`: the provider at which people sign in to the pages."""

from __future__ import annotations

from hedgerow.policies.network import OpenIdProvider
from hedgerow.policies.reading.schema import RawOpenId
from hedgerow.policies.text.addresses import https_mistake
from hedgerow.policies.text.yaml_tree import YamlTree

_PATH = ("network", "oidc")


def read_openid_provider(raw: RawOpenId | None, tree: YamlTree) -> OpenIdProvider | None:
    """Read the provider; mistakes become problems of the tree."""
    if raw is None:
        return None
    for key, url in (("issuer", raw.issuer), ("address", raw.address)):
        if url and (mistake := https_mistake(url)):
            tree.add_problem((*_PATH, key), mistake)
    if not raw.issuer or not raw.client:
        tree.add_problem(_PATH, "an issuer and a client are needed")
    if raw.ca and not raw.ca.startswith("/"):
        tree.add_problem((*_PATH, "ca"), f"'{raw.ca}' is not an absolute path")
    roles = {role: tuple(groups) for role, groups in raw.roles.model_dump().items() if groups}
    if not roles:
        tree.add_problem((*_PATH, "roles"), "no group has a role, so nobody could sign in")
    return OpenIdProvider(raw.issuer, raw.client, roles, raw.groups, raw.label, raw.address.rstrip("/"), raw.ca)
