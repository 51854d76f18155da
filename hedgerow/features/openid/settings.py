"""The key `network.oidc`: an OpenID Connect provider at which people sign in to the pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hedgerow.policies.reading.feature_keys import FeatureKey, KeyReader
from hedgerow.policies.reading.schema_types import RawModel, Texts, reserved
from hedgerow.policies.text.addresses import https_mistake


@dataclass(frozen=True, slots=True)
class OpenIdProvider:
    """An OpenID Connect provider at which people sign in to the pages.

    `roles` has the provider's groups by role of an account, the role with the most rights first. `groups` is the claim
    that names somebody's groups. `address` is where browsers find the pages if another server is in front of them,
    else empty. `ca` is the path of the authority of the provider's certificate, empty for the system's.
    """

    KEY: ClassVar[str] = "network.oidc"

    issuer: str
    client: str
    roles: dict[str, tuple[str, ...]]
    groups: str = "groups"
    label: str = ""
    address: str = ""
    ca: str = ""


class RawOpenIdRoles(RawModel):
    """The provider's groups whose members get a role."""

    admin: Texts = reserved([], description="Groups whose members may do everything.")
    parent: Texts = reserved([], description="Groups whose members see everything and change the policy.")
    operator: Texts = reserved([], description="Groups whose members see devices and answer requests.")


class RawOpenId(RawModel):
    """An OpenID Connect provider, at which people sign in to the pages, besides the local accounts."""

    issuer: str = reserved(description="The provider's address, such as `https://login.school.example/realms/staff`.")
    client: str = reserved(
        description="Hedgerow's client id at the provider; a secret is in `oidc-secret` in the state directory."
    )
    roles: RawOpenIdRoles = reserved(description="Groups by role.")
    groups: str = reserved("groups", description="Claim in which the provider names somebody's groups.")
    label: str = reserved("", description="The provider's name on the sign-in page; by default its host.")
    address: str = reserved("", description="Address of the pages in browsers, if another server is in front of them.")
    ca: str = reserved(
        "", description="Absolute path of the authority of the provider's certificate, PEM; by default the system's."
    )


def _read(raw: RawOpenId, reader: KeyReader) -> OpenIdProvider:
    for key, url in (("issuer", raw.issuer), ("address", raw.address)):
        if url and (mistake := https_mistake(url)):
            reader.add_problem(key, text=mistake)
    if not raw.issuer or not raw.client:
        reader.add_problem(text="an issuer and a client are needed")
    if raw.ca and not raw.ca.startswith("/"):
        reader.add_problem("ca", text=f"'{raw.ca}' is not an absolute path")
    roles = {role: tuple(groups) for role, groups in raw.roles.model_dump().items() if groups}
    if not roles:
        reader.add_problem("roles", text="no group has a role, so nobody could sign in")
    return OpenIdProvider(
        issuer=raw.issuer,
        client=raw.client,
        roles=roles,
        groups=raw.groups,
        label=raw.label,
        address=raw.address.rstrip("/"),
        ca=raw.ca,
    )


OIDC = FeatureKey(
    settings=OpenIdProvider,
    kind=RawOpenId | None,
    declaration=reserved(None, description="OpenID Connect provider at which people sign in to the pages."),
    read=_read,
)
