"""The protocol of RADIUS accounting (RFC 2866), by which access points tell who has signed in at them.

It has no sockets and no clock.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address
from struct import Struct

from hedgerow.policies.text.addresses import parse_mac

_HEAD = Struct("!BBH16s")  # code, identifier, length, authenticator
_REQUEST, _RESPONSE, _MAX_OCTETS = 4, 5, 4095
_USER_NAME, _FRAMED_IP, _CLASS, _CALLING_STATION, _STATUS, _SESSION_ID = 1, 8, 25, 31, 40, 44
_SESSION_TIME, _EVENT_TIMESTAMP, _CHARGEABLE_IDENTITY = 46, 55, 89  # the last by RFC 4372
_FRAMED_IPV6 = 168  # RFC 6911


class AccountingStatus(IntEnum):
    """Acct-Status-Type (RFC 2866, section 5.1). Others are answered and say nothing about a user."""

    START = 1
    STOP = 2
    INTERIM = 3


@dataclass(frozen=True, slots=True)
class Accounting:
    """A report about a user.

    `user` is what the device may have chosen. `class_name` and `chargeable_identity` are what the RADIUS server has
    told the access point. `at` is the time of the event, in seconds since 1970, and `seconds` the age of the session.
    What the request leaves out is empty or None.
    """

    status: AccountingStatus | None
    user: str
    address: str
    mac: str | None
    class_name: str = ""
    chargeable_identity: str = ""
    session: str = ""
    at: int | None = None
    seconds: int | None = None


def parse_accounting(data: bytes, secret: bytes) -> Accounting:
    """Return the report in an Accounting-Request. Raises ValueError if it is none, or was made with another secret."""
    if len(data) < _HEAD.size:
        raise ValueError("it is too short")
    code, _identifier, length, authenticator = _HEAD.unpack_from(data)
    if code != _REQUEST or not _HEAD.size <= length <= min(len(data), _MAX_OCTETS):
        raise ValueError("it is not an Accounting-Request")
    expected = hashlib.md5(data[:4] + bytes(16) + data[_HEAD.size : length] + secret, usedforsecurity=False).digest()
    if not hmac.compare_digest(expected, authenticator):
        raise ValueError("it was made with another secret")
    found = dict(_attributes(data[_HEAD.size : length]))
    status = int.from_bytes(found.get(_STATUS, b""))
    return Accounting(
        AccountingStatus(status) if status in set(AccountingStatus) else None,
        _text(found, _USER_NAME),
        _address(found),
        parse_mac(found.get(_CALLING_STATION, b"").decode("ascii", "replace")),
        class_name=_text(found, _CLASS),
        chargeable_identity=_text(found, _CHARGEABLE_IDENTITY),
        session=_text(found, _SESSION_ID),
        at=_number(found, _EVENT_TIMESTAMP),
        seconds=_number(found, _SESSION_TIME),
    )


def accounting_response(request: bytes, secret: bytes) -> bytes:
    """Return the Accounting-Response to a request that `parse_accounting` takes."""
    head = bytes((_RESPONSE, request[1])) + _HEAD.size.to_bytes(2)
    return head + hashlib.md5(head + request[4 : _HEAD.size] + secret, usedforsecurity=False).digest()


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        length = data[at + 1] if at + 1 < len(data) else 0
        if length < 2 or at + length > len(data):
            raise ValueError("an attribute has a wrong length")
        yield data[at], data[at + 2 : at + length]
        at += length


def _text(found: dict[int, bytes], kind: int) -> str:
    return found.get(kind, b"").decode("utf-8", "replace")


def _number(found: dict[int, bytes], kind: int) -> int | None:
    value = found.get(kind, b"")
    return int.from_bytes(value) if len(value) == 4 else None


def _address(found: dict[int, bytes]) -> str:
    for kind, make, size in ((_FRAMED_IP, IPv4Address, 4), (_FRAMED_IPV6, IPv6Address, 16)):
        value = found.get(kind, b"")
        user_chooses = value == b"\xff" * size  # RFC 2865, section 5.8
        if len(value) == size and any(value) and not user_chooses:
            return str(make(value))
    return ""
