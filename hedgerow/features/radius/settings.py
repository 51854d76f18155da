"""The key `network.radius`: who reports the users of the network, and where they are heard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hedgerow.policies.reading.feature_keys import FeatureKey, KeyReader
from hedgerow.policies.reading.schema_types import RawModel, Texts, reserved
from hedgerow.policies.text.addresses import IpNetwork, is_endpoint, parse_network


@dataclass(frozen=True, slots=True)
class RadiusSettings:
    """RADIUS accounting from the access points and switches `clients`, at a UDP address of this machine."""

    KEY: ClassVar[str] = "network.radius"

    clients: tuple[IpNetwork, ...]
    host: str
    port: int


class RawRadius(RawModel):
    clients: Texts = reserved(
        description="Addresses and networks of the access points, switches and servers that report users."
    )
    listen: str = reserved("0.0.0.0:1813", description="Address and UDP port at which they are heard.")


def _read(raw: RawRadius, reader: KeyReader) -> RadiusSettings | None:
    networks = [parse_network(text) for text in raw.clients]
    for index, network in enumerate(networks):
        if network is None:
            reader.add_problem("clients", index, text=f"'{raw.clients[index]}' is not an IP address or network")
    if not is_endpoint(raw.listen):
        reader.add_problem("listen", text=f"'{raw.listen}' is not ADDRESS:PORT, such as 0.0.0.0:1813 or [::]:1813")
        return None
    host, _, port = raw.listen.rpartition(":")
    return RadiusSettings(tuple(filter(None, networks)), host.strip("[]"), int(port))


RADIUS = FeatureKey(
    settings=RadiusSettings,
    kind=RawRadius | None,
    declaration=reserved(None, description="Users of the network by RADIUS accounting."),
    read=_read,
)
