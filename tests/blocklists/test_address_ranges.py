"""Classification of addresses: one table of examples for all enforcement points."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.blocklists.address_ranges import embedded_ipv4, is_private, is_public, unwrap_ipv4

PRIVATE = (
    "0.0.0.0 0.0.0.1 10.1.2.3 100.64.0.1 100.127.255.255 127.0.0.1 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.1"
    " 192.168.1.1 198.18.0.1 198.19.255.255 :: ::1 fc00::1 fdff::1 fe80::1 fec0::1 ::ffff:10.0.0.1 64:ff9b::c0a8:101"
    " 64:ff9b:1::c0a8:101 64:ff9b:1:a::c0a8:101 2002:c0a8:101::1 2001:0:7f00:1:: 2001:0:909:909:0:0:3f57:fefe"
)
PUBLIC = (
    "9.9.9.9 100.63.255.255 100.128.0.1 172.15.0.1 172.32.0.1 192.0.1.1 192.167.1.1 198.17.0.1 223.255.255.255"
    " 2620:fe::fe 2000:: 2001:200::1 ::ffff:9.9.9.9 64:ff9b::909:909 2002:909:909::1"
)
NEITHER = (
    "192.0.0.9 192.0.2.1 192.88.99.1 198.51.100.1 203.0.113.1 224.0.0.251 239.255.255.250 240.0.0.1 255.255.255.255"
    " 2001:db8::1 3fff::1 ff02::1 64:ff9b:1::909:909 64:ff9b:1:0:8:808:a00:0 64:ff9b::e000:1 ::93.184.215.14 4000::1"
    " 5f00::1 fe00::1 2001:0:909:909::f6f6:f6f6 2002:cb00:7101::1"
)


@pytest.mark.parametrize(
    ("texts", "expected"), [(PRIVATE, (True, False)), (PUBLIC, (False, True)), (NEITHER, (False, False))]
)
def test_private_and_public(texts: str, expected: tuple[bool, bool]) -> None:
    for text in texts.split():
        packed = ip_address(text).packed
        assert (is_private(packed), is_public(packed)) == expected, text


@given(st.ip_addresses())
def test_no_address_is_both(address: object) -> None:
    packed = ip_address(str(address)).packed
    assert not (is_private(packed) and is_public(packed))


@given(st.ip_addresses(v=4), st.sampled_from(["::ffff:0:0", "64:ff9b::", "64:ff9b:1::", "64:ff9b:1:2::"]))
def test_translated_addresses_stand_for_their_ipv4_address(address: object, prefix: str) -> None:
    inner = ip_address(str(address)).packed
    packed = ip_address(prefix).packed[:12] + inner
    assert unwrap_ipv4(packed) == inner
    assert embedded_ipv4(packed) == (inner,)
    assert is_private(packed) == is_private(inner)


@given(st.ip_addresses(v=6))
def test_python_agrees_on_what_is_not_global(address: object) -> None:
    parsed = ip_address(str(address))
    if not embedded_ipv4(parsed.packed) and not parsed.is_global:
        assert not is_public(parsed.packed)
