"""The key `network.radius`: who reports the users of the network, where they are heard, and what names a user."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

from hedgerow.policies.model import Policy
from hedgerow.policies.reading.feature_keys import FeatureKey, KeyReader
from hedgerow.policies.reading.schema_types import RawModel, Texts, reserved
from hedgerow.policies.text.addresses import IpNetwork, is_endpoint, parse_network

type Identity = Literal["user-name", "class", "chargeable-user-identity"]

_DEVICE_CHOOSES = (
    "network.radius takes the user from User-Name, which a device with WPA-Enterprise can choose, and with it "
    "the rules of another person. Name what your RADIUS server confirms: identity: chargeable-user-identity, "
    "or class. If it rewrites User-Name, or a captive portal asks for passwords, identity: user-name ends this warning"
)


@dataclass(frozen=True, slots=True)
class RadiusSettings:
    """RADIUS accounting from the access points and switches `clients`, at a UDP address of this machine.

    `identity` is what names a user, None if the file leaves it out. `users` are the persons of values that name nobody.
    """

    KEY: ClassVar[str] = "network.radius"

    clients: tuple[IpNetwork, ...]
    host: str
    port: int
    identity: Identity | None
    users: dict[str, str]


class RawRadius(RawModel):
    clients: Texts = reserved(
        description="Addresses and networks of the access points, switches and servers that report users."
    )
    listen: str = reserved("0.0.0.0:1813", description="Address and UDP port at which they are heard.")
    identity: Identity | None = reserved(
        None,
        description=(
            "What names a user: `chargeable-user-identity` or `class`, which the RADIUS server chooses, or "
            "`user-name`, which a device with WPA-Enterprise can choose unless the server rewrites it."
        ),
    )
    users: dict[str, str] = reserved(
        {}, description="Persons of the policy by what names them in reports, where it is not their name."
    )


def _read(raw: RawRadius, reader: KeyReader) -> RadiusSettings | None:
    networks = [parse_network(text) for text in raw.clients]
    for index, network in enumerate(networks):
        if network is None:
            reader.add_problem("clients", index, text=f"'{raw.clients[index]}' is not an IP address or network")
    for value, person in raw.users.items():
        if person not in reader.policy.people:
            reader.add_problem("users", value, text=f"'{person}' is not a person of the policy")
    if not is_endpoint(raw.listen):
        reader.add_problem("listen", text=f"'{raw.listen}' is not ADDRESS:PORT, such as 0.0.0.0:1813 or [::]:1813")
        return None
    host, _, port = raw.listen.rpartition(":")
    return RadiusSettings(tuple(filter(None, networks)), host.strip("[]"), int(port), raw.identity, raw.users)


def _warnings(policy: Policy) -> Iterable[str]:
    settings = policy.settings(RadiusSettings)
    return (_DEVICE_CHOOSES,) if settings is not None and settings.identity is None else ()


RADIUS = FeatureKey(
    settings=RadiusSettings,
    kind=RawRadius | None,
    declaration=reserved(None, description="Users of the network by RADIUS accounting."),
    read=_read,
    warnings=_warnings,
)
