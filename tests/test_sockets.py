"""Order of addresses, and sockets that can be opened."""

from __future__ import annotations

import pytest

from hedgerow.sockets import interleave_families, is_own_address


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        ([], ()),
        (["::1"], ("::1",)),
        (["::1", "127.0.0.1"], ("::1", "127.0.0.1")),
        (["127.0.0.1", "127.0.0.2", "::1"], ("127.0.0.1", "::1", "127.0.0.2")),
    ],
)
def test_families_alternate_and_the_first_address_leads(addresses: list[str], expected: tuple[str, ...]) -> None:
    assert interleave_families(addresses) == expected


def test_loopback_is_this_machine_and_a_documentation_address_is_not() -> None:
    assert is_own_address("127.0.0.1")
    assert not is_own_address("192.0.2.1")
