"""The key `network.registration_age`: who is asked when a site that is new here was registered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hedgerow.policies.feature_settings import WorkerReport
from hedgerow.policies.reading.feature_keys import FeatureKey, KeyReader
from hedgerow.policies.reading.schema_types import reserved
from hedgerow.policies.text.addresses import https_mistake

REGISTRIES = "registries"
"""The value by which each site's registry is asked."""


@dataclass(frozen=True, slots=True)
class RegistrationAge:
    """The one to ask: `REGISTRIES`, or the URL of an RDAP server, which ends with a slash."""

    KEY: ClassVar[str] = "network.registration_age"

    whom: str


def _read(text: str, reader: KeyReader) -> RegistrationAge | None:
    if text == REGISTRIES:
        return RegistrationAge(text)
    mistake = https_mistake(text)
    if not mistake and ("?" in text or "#" in text):
        mistake = "the address of an RDAP server ends with a path"
    if mistake:
        reader.add_problem(text=f"{mistake}: write `registries`, or the URL of an RDAP server")
        return None
    return RegistrationAge(f"{text.rstrip('/')}/")


REGISTRATION_AGE = FeatureKey(
    settings=RegistrationAge,
    kind=str | None,
    declaration=reserved(
        None,
        description="Who is asked by RDAP when a site that is closed as new was registered: `registries`, or one "
        "server's URL.",
    ),
    read=_read,
    reports=(WorkerReport.NEW_SITES,),
)
