"""Typed JSON: frozen dataclasses for files and pipes between our own processes.

The types that msgspec does not know travel as their text: paths and IP networks. JSON from people and from other
programs is read by pydantic instead, which explains each mistake.
"""

from __future__ import annotations

from abc import ABC
from functools import cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

if TYPE_CHECKING:
    IpNetwork = IPv4Network | IPv6Network
else:

    class IpNetwork(ABC):  # noqa: B024
        """A network of either family, as one class: msgspec takes no union of two custom types."""

    IpNetwork.register(IPv4Network)
    IpNetwork.register(IPv6Network)


def encode(value: object) -> bytes:
    """Return `value` as one line of JSON. Raises TypeError for a type that has no JSON form."""
    return _ENCODER.encode(value)


def decode[T](kind: type[T], data: bytes) -> T:
    """Return the `kind` that `data` contains.

    Unknown fields are ignored. Raises ValueError for a missing field or one of another type.
    """
    try:
        value: T = _decoder(cast(Any, kind)).decode(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not a {getattr(kind, '__name__', kind)}: {error}") from error
    return value


def _to_text(value: object) -> str:
    if isinstance(value, (Path, IPv4Network, IPv6Network)):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _from_text(kind: Any, value: object) -> object:
    if isinstance(value, str) and kind is Path:
        return Path(value)
    if isinstance(value, str) and kind is IpNetwork:
        return ip_network(value)
    raise ValueError(f"{value!r:.60} is not a {kind.__name__}")


_ENCODER = msgspec.json.Encoder(enc_hook=_to_text)


@cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind, dec_hook=_from_text)
