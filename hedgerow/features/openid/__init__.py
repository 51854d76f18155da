"""Sign-in to the pages at an organisation's OpenID Connect provider."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hedgerow.features.contract import Feature

if TYPE_CHECKING:
    from hedgerow.dashboards.extensions import Extensions
    from hedgerow.policies.reading.feature_keys import FeatureKey


def _policy_keys() -> Sequence[FeatureKey]:
    from hedgerow.features.openid.settings import OIDC

    return (OIDC,)


def _extensions() -> Extensions:
    from hedgerow.features.openid.pages import EXTENSIONS

    return EXTENSIONS


FEATURE = Feature(
    name="openid",
    summary="Sign-in to the pages at an organisation's OpenID Connect provider",
    policy_keys=_policy_keys,
    extensions=_extensions,
)
