"""Names that are an address in disguise, in every spelling that providers use."""

from __future__ import annotations

from ipaddress import IPv6Address

from hypothesis import given
from hypothesis import strategies as st

from hedgerow.blocklists.address_ranges import is_private
from hedgerow.policies.mirrored_sites import names_an_address

_IPV4 = st.binary(min_size=4, max_size=4).filter(lambda packed: not is_private(packed))
_OTHER = bytes((198, 51, 100, 1))


@given(_IPV4, st.sampled_from(".-"), st.booleans(), st.sampled_from(("{}", "{:03}")))
def test_four_numbers_in_either_order_are_found(address: bytes, separator: str, is_reversed: bool, number: str) -> None:
    octets = address[::-1] if is_reversed else address
    host = f"ip-{separator.join(map(number.format, octets))}.example.net"
    assert names_an_address(host, [_OTHER, address])


@given(_IPV4)
def test_hex_digits_are_found(address: bytes) -> None:
    assert names_an_address(f"{address.hex()}.example.net", [address])


@given(st.binary(min_size=16, max_size=16).filter(lambda packed: not is_private(packed)))
def test_ipv6_with_hyphens_is_found(address: bytes) -> None:
    text = str(IPv6Address(address))
    assert names_an_address(f"{text.replace(':', '-')}.example.net", [address]) is (
        "." not in text and text.count(":") > 1
    )


@given(_IPV4, _IPV4)
def test_another_address_is_not(address: bytes, other: bytes) -> None:
    host = f"{'-'.join(map(str, address))}.example.net"
    assert names_an_address(host, [other]) is (other in (address, address[::-1]))
