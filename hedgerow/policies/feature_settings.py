"""Settings of features, as a policy carries them:

JSON by key, so that a process that uses no feature has no need of its types.
"""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache
from typing import ClassVar, Protocol

from hedgerow.codec import decode


class WorkerReport(StrEnum):
    """Reports that workers send only if a feature that is in use wants them."""

    NEW_SITES = "new-sites"  # the names of sites that were closed as new


class FeatureSettings(Protocol):
    """Settings of a feature: a frozen dataclass.

    `KEY` is the dotted path of the key of the policy file that they are read from.
    """

    KEY: ClassVar[str]


@lru_cache(maxsize=64)
def decode_settings[Kind](kind: type[Kind], text: str) -> Kind:
    """Return the settings in a policy's JSON."""
    return decode(kind, text.encode())
