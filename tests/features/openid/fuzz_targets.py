"""Claims of an OpenID Connect provider."""

from __future__ import annotations

import json

from fuzz_targets.target import FuzzTarget, Shape

from hedgerow.features.openid.provider import identity_of
from hedgerow.features.openid.settings import OpenIdProvider

_PROVIDER = OpenIdProvider("https://id.example", "hedgerow", {"admin": ("it-staff",), "parent": ("all",)})


def openid_claims(data: bytes) -> None:
    """Read whose account somebody has at the provider, from claims whose signature is valid."""
    claims = json.loads(data)
    if isinstance(claims, dict):
        found = identity_of(_PROVIDER, claims)
        assert found.role in {"", *_PROVIDER.roles}
        assert isinstance(found.name, str)


TARGETS: dict[str, FuzzTarget] = {
    "openid-claims": FuzzTarget(
        openid_claims,
        (
            b'{"sub": "42", "preferred_username": "ana", "groups": ["it-staff", "all"]}',
            b'{"sub": "42", "groups": "all"}',
        ),
        (ValueError, RecursionError),
        grown=(
            Shape(b'{"sub":"1","groups":["a"', b',"g"', b"]}"),
            Shape(b'{"name":', b"[", b""),
            Shape(b"", b'{"name":', b""),
            Shape(b'{"name":', b"9", b"}"),
            Shape(b'{"a":1', b',"k":1', b"}", True),
        ),
    ),
}
