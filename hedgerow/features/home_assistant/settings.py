"""The key `network.mqtt`: the broker through which Home Assistant shows and controls this home."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar
from urllib.parse import urlsplit

from hedgerow.policies.host_facts import Services
from hedgerow.policies.reading.feature_keys import FeatureKey, KeyReader
from hedgerow.policies.reading.schema_types import RawModel, Texts, managed, reserved
from hedgerow.policies.text.locales import LANGUAGES
from hedgerow.policies.text.suggestions import suggest

_PORTS = {"mqtt": 1883, "mqtts": 8883}


class BrokerRights(StrEnum):
    """Commands that are taken from an MQTT broker."""

    READ = "read"  # nothing: it only shows
    OPERATE = "operate"  # pauses, extra minutes, later bedtimes, answers to requests; the default
    MANAGE = "manage"  # also switches of services, which change the policy


@dataclass(frozen=True, slots=True)
class Broker:
    """An MQTT broker through which Home Assistant shows and controls this home. Our topics begin with `base`.

    `services` get a switch for each child. `ca` is the path of the authority of the broker's certificate, empty for the
    system's.
    """

    KEY: ClassVar[str] = "network.mqtt"

    host: str
    port: int
    is_encrypted: bool
    user: str = ""
    may: BrokerRights = BrokerRights.OPERATE
    services: tuple[str, ...] = ()
    base: str = "hedgerow"
    language: str = "en"
    ca: str = ""


class RawBroker(RawModel):
    broker: str = reserved(description="Address of the MQTT broker, such as `mqtts://broker.lan`.")
    user: str = reserved(
        "", description="Name with which Hedgerow signs in; the password is in `mqtt-password` in the state directory."
    )
    may: BrokerRights | None = reserved(None, description="What the broker may ask for; by default `operate`.")
    services: Texts = managed([], description="Services with a switch for each child, such as `tiktok`.")
    home: str = managed("hedgerow", description="First part of all topics; different for each home on the same broker.")
    language: str = managed("en", description="Language of the names in Home Assistant.")
    ca: str = reserved(
        "", description="Absolute path of the authority of the broker's certificate, PEM; by default the system's."
    )


def _read(raw: RawBroker, reader: KeyReader) -> Broker | None:
    known = Services.load().by_id
    for index, service in enumerate(raw.services):
        if service not in known:
            reader.add_problem("services", index, text=f"unknown service '{service}'.{suggest(service, known)}")
    if raw.language not in LANGUAGES:
        languages = ", ".join(LANGUAGES)
        reader.add_problem("language", text=f"unknown language '{raw.language}'. Languages: {languages}.")
    if re.fullmatch("[a-z0-9_-]{1,40}", raw.home) is None:
        reader.add_problem("home", text=f"'{raw.home}' may contain small letters, digits, - and _ only")
    if raw.ca and not raw.ca.startswith("/"):
        reader.add_problem("ca", text=f"'{raw.ca}' is not an absolute path")
    try:
        url = urlsplit(raw.broker)
        host, port = url.hostname, url.port
    except ValueError:
        host, port, url = None, None, urlsplit("")
    if url.password:
        where = "put it into the file mqtt-password of the state directory"
        reader.add_problem("broker", text=f"the broker's address contains a password: {where}")
        return None
    if url.scheme not in _PORTS or not host or url.path.strip("/") or url.query or url.username:
        example = "mqtts://broker.lan"
        reader.add_problem("broker", text=f"'{raw.broker}' is not the address of a broker, such as {example}")
        return None
    return Broker(
        host=host,
        port=port or _PORTS[url.scheme],
        is_encrypted=url.scheme == "mqtts",
        user=raw.user,
        may=raw.may or BrokerRights.OPERATE,
        services=tuple(raw.services),
        base=raw.home,
        language=raw.language,
        ca=raw.ca,
    )


MQTT = FeatureKey(
    settings=Broker,
    kind=RawBroker | None,
    declaration=managed(None, description="MQTT broker through which Home Assistant shows and controls this home."),
    read=_read,
)
