"""Configuration profiles for Apple's devices. Source: Apple, "Device Management Profile"."""

from __future__ import annotations

import plistlib
import uuid
from collections.abc import Sequence
from typing import Any

CONTENT_TYPE = "application/x-apple-aspen-config"


def make_profile(family: str, identity: uuid.UUID, title: str, why: str, contents: Sequence[dict[str, Any]]) -> bytes:
    """Return a profile with these payloads. One with the same identity replaces it."""
    return plistlib.dumps(
        {
            **make_payload("Configuration", family, identity, "", title),
            "PayloadDescription": why,
            "PayloadOrganization": "Hedgerow",
            "PayloadScope": "System",
            "PayloadContent": list(contents),
        }
    )


def make_payload(kind: str, family: str, identity: uuid.UUID, part: str, title: str) -> dict[str, Any]:
    """Return what all payloads have. `part` tells those of one profile apart, and is empty for the profile itself."""
    return {
        "PayloadType": kind,
        "PayloadVersion": 1,
        "PayloadIdentifier": f"{family}.{identity}" + (f".{part}" if part else ""),
        "PayloadUUID": str(uuid.uuid5(identity, part) if part else identity).upper(),
        "PayloadDisplayName": title,
    }


def make_root_payload(family: str, identity: uuid.UUID, title: str, der: bytes) -> dict[str, Any]:
    """Return the payload of a root certificate, which the device trusts once the profile is installed."""
    return {
        **make_payload("com.apple.security.root", family, identity, "root", title),
        "PayloadCertificateFileName": "hedgerow-ca.crt",
        "PayloadContent": der,
    }
