"""The key `network.follow_law`: what the law of the country closes to a child's age is closed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hedgerow.policies.model import Policy
from hedgerow.policies.reading.feature_keys import FeatureKey, KeyReader
from hedgerow.policies.reading.schema_types import managed

NAME = "follow_law"


@dataclass(frozen=True, slots=True)
class LawSettings:
    """Settings of a policy that follows the law."""

    KEY: ClassVar[str] = f"network.{NAME}"

    follows: bool = True


def follows_law(policy: Policy) -> bool:
    """Return whether what the law closes is closed."""
    return policy.settings(LawSettings) is not None


def _read(follows: bool, reader: KeyReader) -> LawSettings | None:
    if not follows:
        return None
    if reader.policy.network.country is None:
        reader.add_problem(text=f"`{NAME}` needs `network.country`: whose law is it?")
        return None
    return LawSettings()


FOLLOW_LAW = FeatureKey(
    settings=LawSettings,
    kind=bool,
    declaration=managed(
        False,
        description="Close what the law of `country` closes to a child's age, such as social networks, even where the "
        "profile leaves it open. By default Hedgerow only says so.",
    ),
    read=_read,
    title="Follows the law",
)
