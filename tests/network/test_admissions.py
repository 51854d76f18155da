"""The bounded table of admitted destinations, and the messages that change it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.network.admissions import (
    MAX_ADDRESSES,
    AdmissionRequest,
    Destination,
    DestinationTable,
    elements_by_set,
    pack_reply,
    parse_reply,
    parse_request,
)
from hedgerow.network.nft_sets import SetElement

MAC, OTHER = bytes.fromhex("02000000000a"), bytes.fromhex("02000000000b")


def places(mac: bytes, *numbers: int) -> list[Destination]:
    return [Destination(mac, bytes((192, 0, 2, number))) for number in numbers]


@given(st.binary(max_size=64))
def test_any_datagram_is_a_request_or_none(datagram: bytes) -> None:
    request = parse_request(datagram)
    assert request is None or request.pack() == datagram


def test_requests_and_replies_survive_their_form() -> None:
    request = AdmissionRequest(7, MAC, 7200, (bytes(range(4)), bytes(range(16))))
    assert parse_request(request.pack()) == request
    too_many = AdmissionRequest(8, MAC, 1, (bytes(4),) * (MAX_ADDRESSES + 1))
    assert parse_request(too_many.pack()) is None
    assert [parse_reply(pack_reply(9, is_admitted=each)) for each in (True, False)] == [(9, True), (9, False)]
    assert parse_reply(b"") is None


@pytest.mark.parametrize(
    ("source", "address", "expected"),
    [
        (MAC, bytes(4), {"admitted_v4": [SetElement(MAC + bytes(6), 60)]}),
        (MAC, bytes(16), {"admitted_v6": [SetElement(MAC + bytes(18), 60)]}),
        (bytes((10, 0, 0, 1)), bytes(4), {"routed_v4": [SetElement(bytes((10, 0, 0, 1)) + bytes(4), 60)]}),
        (bytes(16), bytes(16), {"routed_v6": [SetElement(bytes(32), 60)]}),
        (bytes(4), bytes(16), {}),
        (b"", bytes(4), {}),
    ],
)
def test_the_kernels_sets(source: bytes, address: bytes, expected: object) -> None:
    request = AdmissionRequest(1, source, 60, (address,))
    assert elements_by_set((destination, 60) for destination in request.destinations) == expected


def test_a_device_displaces_only_its_own_oldest() -> None:
    table = DestinationTable(per_device=3, total=100)
    assert table.admit(places(OTHER, 1), 50) == []
    assert table.admit(places(MAC, 1, 2, 3), 50) == []
    assert table.admit(places(MAC, 1), 60) == [], "renewed"
    assert table.admit(places(MAC, 4), 60) == places(MAC, 2)
    assert sorted(table.left(0)) == sorted(
        [(Destination(MAC, bytes((192, 0, 2, number))), until) for number, until in ((3, 50), (1, 60), (4, 60))]
        + [(places(OTHER, 1)[0], 50)]
    )


def test_invented_devices_displace_no_other() -> None:
    table = DestinationTable(per_device=8, total=20, sources=5)
    assert table.admit(places(OTHER, 1, 2, 3, 4), 50) == []
    for number in range(100):
        mac = number.to_bytes(6)
        gone = table.admit(places(mac, *range(8)), 50)
        assert OTHER not in {each.source for each in gone}
    assert len(table) <= 20
    table.drop_expired(50)
    assert len(table) == 0
    assert list(table.left(0)) == []


def test_an_earlier_end_does_not_shorten() -> None:
    table = DestinationTable()
    table.admit(places(MAC, 1), 100)
    table.admit(places(MAC, 1), 20)
    assert list(table.left(10)) == [(places(MAC, 1)[0], 90)]
