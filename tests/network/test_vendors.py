"""Makers by MAC address, from files as the IEEE publishes them, and from Debian's own where they are installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from hedgerow.network.discovery import IEEE_DATA, VendorLookup, is_randomised_mac

HEAD = "Registry,Assignment,Organization Name,Organization Address\n"


@pytest.fixture
def vendors(tmp_path: Path) -> VendorLookup:
    large = (
        'MA-L,AA0001,"Toys, Ltd.",1 Road AA0002\nMA-L,A80002,IEEE Registration Authority,Piscataway\nMA-L,A80003,Clock Works ,Somewhere\n'
    )
    (tmp_path / "oui.csv").write_text(HEAD + large)
    (tmp_path / "mam.csv").write_text(HEAD + "MA-M,A800025,Tablet Makers,Somewhere\n")
    (tmp_path / "oui36.csv").write_text(HEAD + "MA-S,A80003FFF,A Small Shop,Somewhere\n")
    return VendorLookup(tmp_path)


@pytest.mark.parametrize(
    ("mac", "vendor"),
    [
        ("a8:00:03:00:00:01", "Clock Works"),
        ("a8:00:03:ff:f0:01", "A Small Shop"),
        ("a8:00:02:5f:00:01", "Tablet Makers"),
        ("a8:00:02:6f:00:01", ""),
        ("aa:00:01:00:00:01", ""),
        ("a4:aa:00:02:00:01", ""),
    ],
    ids=[
        "a block",
        "a small block within it",
        "a part of a shared block",
        "another part of it",
        "a random address",
        "an address in an address",
    ],
)
def test_vendor(vendors: VendorLookup, mac: str, vendor: str) -> None:
    assert vendors.vendor(mac) == vendor


def test_without_registers_nobody_made_it(tmp_path: Path) -> None:
    assert VendorLookup(tmp_path / "nowhere").vendor("a8:00:03:00:00:01") == ""


@pytest.mark.skipif(not (IEEE_DATA / "oui.csv").exists(), reason="not installed: ieee-data")
def test_debians_registers() -> None:
    assert "Raspberry Pi" in VendorLookup().vendor("b8:27:eb:00:00:01")


def test_random() -> None:
    assert [is_randomised_mac(mac) for mac in ("02:00:00:00:00:01", "00:00:00:00:00:01", "d2:00:00:00:00:01", "b8:27:eb:00:00:01")] == [
        *(True, False, True, False)
    ]
