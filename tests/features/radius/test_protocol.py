"""RADIUS accounting against the layout of RFC 2866, and requests that others made."""

from __future__ import annotations

import hashlib

import pytest

from hedgerow.features.radius.protocol import Accounting, AccountingStatus, accounting_response, parse_accounting

SECRET = b"a shared secret"


def attribute(kind: int, value: bytes) -> bytes:
    return bytes((kind, len(value) + 2)) + value


def request(*attributes: bytes, secret: bytes = SECRET) -> bytes:
    """Return an Accounting-Request with the identifier 7, by the rules of RFC 2866, section 3."""
    body = b"".join(attributes)
    head = b"\x04\x07" + (20 + len(body)).to_bytes(2)
    return head + hashlib.md5(head + bytes(16) + body + secret).digest() + body


USER = attribute(1, b"mia")


def test_a_report_is_read_and_answered() -> None:
    data = request(
        attribute(40, b"\0\0\0\1"), USER, attribute(8, bytes((10, 9, 0, 5))), attribute(31, b"02-00-5E-00-53-01")
    )
    assert parse_accounting(data, SECRET) == Accounting(AccountingStatus.START, "mia", "10.9.0.5", "02:00:5e:00:53:01")
    response = accounting_response(data, SECRET)
    assert response[:4] == b"\x05\x07\0\x14"
    assert response[4:] == hashlib.md5(response[:4] + data[4:20] + SECRET).digest()


def test_what_the_server_confirmed_and_the_times_are_read() -> None:
    data = request(
        attribute(40, b"\0\0\0\3"),
        attribute(25, b"group-7"),
        attribute(89, b"x-7781"),
        attribute(44, b"5F00A1"),
        attribute(46, (900).to_bytes(4)),
        attribute(55, (1_796_200_000).to_bytes(4)),
    )
    assert parse_accounting(data, SECRET) == Accounting(
        AccountingStatus.INTERIM,
        "",
        "",
        None,
        class_name="group-7",
        chargeable_identity="x-7781",
        session="5F00A1",
        at=1_796_200_000,
        seconds=900,
    )


def test_what_a_report_leaves_out_is_empty() -> None:
    sixth = attribute(168, bytes.fromhex("20010db8000000000000000000000005"))
    assert parse_accounting(request(attribute(40, b"\0\0\0\2"), sixth), SECRET) == Accounting(
        AccountingStatus.STOP, "", "2001:db8::5", None
    )
    chosen = attribute(8, b"\xff\xff\xff\xff")  # the user chooses the address
    assert parse_accounting(request(attribute(40, b"\0\0\0\7"), USER, chosen), SECRET) == Accounting(
        None, "mia", "", None
    )


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "too short"),
        (request(USER)[:-1], "not an Accounting-Request"),
        (b"\x01" + request(USER)[1:], "not an Accounting-Request"),
        (request(USER, secret=b"another secret"), "another secret"),
        (request(b"\x01\x01"), "wrong length"),
        (request(b"\x01\x09mia"), "wrong length"),
        (request(b"\x01"), "wrong length"),
    ],
)
def test_other_requests_are_refused(data: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_accounting(data, SECRET)
