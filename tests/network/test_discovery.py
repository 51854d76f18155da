"""Lease files as DHCP servers write them, cut off and mixed up; names by multicast DNS; vendors by MAC address."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from dnslib import PTR, QTYPE, RR, DNSRecord
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.network.discovery import (
    IEEE_DATA,
    LEASE_FILES,
    MAKERS,
    Lease,
    VendorLookup,
    is_randomised_mac,
    parse_dnsmasq,
    parse_isc,
    parse_kea,
    parse_mdns_name,
)
from hedgerow.policies.device_kinds import DeviceKind, guess_kind

DNSMASQ = """\
1764072000 02:00:00:00:00:01 192.168.1.5 mias-tablet 01:02:00:00:00:00:01
0 02:00:00:00:00:02 192.168.1.6 * *
duid 00:01:00:01:2a:2b:2c:2d:02:00:00:00:00:99
1764072000 16909060 fd00::5 mias-tablet 00:01:00:01:2a:2b:2c:2d:02:00:00:00:00:01
1764072000 33 fd00::7 nobody 00:04:aa:bb
1764072000 02:00:00:00:00:03 not-an-address name *
1764072000 02:00:00:00:00:04 192.168.1.8 <script>alert(1)</script> *
1764072000 02:00:00:00:00:05 192.1"""

ISC = """\
# The format of this file is documented in the dhcpd.leases(5) manual page.
lease 192.168.1.5 {
  starts 2 2025/11/25 11:00:00;
  ends 2 2025/11/25 12:00:00;
  binding state active;
  hardware ethernet 02:00:00:00:00:01;
  client-hostname "mias-tablet";
}
lease 192.168.1.6 {
  ends never;
  binding state active;
  hardware ethernet 02:00:00:00:00:02;
}
lease 192.168.1.7 {
  ends epoch 1764072000;
  binding state active;
  hardware ethernet 02:00:00:00:00:03;
}
lease 192.168.1.7 {
  binding state free;
  hardware ethernet 02:00:00:00:00:03;
}
lease 192.168.1.8 {
  hardware ethernet 02:00:"""

KEA = """\
address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context,pool_id
192.168.1.5,02:00:00:00:00:01,01:02:00:00:00:00:01,3600,1764070000,1,0,0,old-name,0,,0
192.168.1.5,02:00:00:00:00:01,01:02:00:00:00:00:01,3600,1764072000,1,0,0,mias-tablet.,0,,0
192.168.1.6,02:00:00:00:00:02,,3600,1764072000,1,0,0,,0,,0
192.168.1.6,02:00:00:00:00:02,,3600,1764072000,1,0,0,,2,,0
192.168.1.7,02:00:00"""


@pytest.mark.parametrize(
    ("parse", "text", "expected"),
    [
        (
            parse_dnsmasq,
            DNSMASQ,
            [
                Lease("02:00:00:00:00:01", "192.168.1.5", "mias-tablet", 1764072000.0),
                Lease("02:00:00:00:00:02", "192.168.1.6"),
                Lease("02:00:00:00:00:01", "fd00::5", "mias-tablet", 1764072000.0),
                Lease("02:00:00:00:00:04", "192.168.1.8", "", 1764072000.0),
            ],
        ),
        (
            parse_isc,
            ISC,
            [
                Lease("02:00:00:00:00:01", "192.168.1.5", "mias-tablet", 1764072000.0),
                Lease("02:00:00:00:00:02", "192.168.1.6"),
            ],
        ),
        (parse_kea, KEA, [Lease("02:00:00:00:00:01", "192.168.1.5", "mias-tablet.", 1764072000.0)]),
    ],
)
def test_lease_files(parse: object, text: str, expected: list[Lease]) -> None:
    assert list(parse(text)) == expected  # type: ignore[operator]


@given(st.text(max_size=300), st.sampled_from([parse for _, parse in LEASE_FILES]), st.integers(0, 400))
def test_parsers_accept_any_text(noise: str, parse: object, cut: int) -> None:
    for text in (noise, DNSMASQ[:cut] + noise, ISC[:cut] + noise, KEA[:cut] + noise):
        for lease in parse(text):  # type: ignore[operator]
            assert len(lease.mac) == 17
            assert "<" not in lease.name


def test_a_quotation_mark_in_a_name_affects_one_lease_only() -> None:
    head, line = KEA.split("\n")[0], "192.168.1.{0},02:00:00:00:00:{0:02x},,3600,1764072000,1,0,0,{1},0,,0\n"
    text = f"{head}\n" + line.format(5, '"x') + "".join(line.format(6 + i % 200, "tablet") for i in range(5000))
    leases = parse_kea(text)
    assert len(leases) == 201
    assert leases[0].name == ""


def test_an_overlong_line_is_skipped() -> None:
    whole = KEA.split("\n", 2)[1]
    assert [lease.address for lease in parse_kea(KEA.split("\n")[0] + f"\n{'x' * 200_000}\n{whole}\n")] == [
        "192.168.1.5"
    ]


@pytest.mark.parametrize("digit", ["²", "٣", "１"])
def test_digits_of_other_scripts_raise_nothing(digit: str) -> None:
    parse_dnsmasq(f"{digit} 02:00:00:00:00:01 192.168.1.5 x *\n")
    parse_kea(KEA.replace("1764072000", digit))
    parse_isc(ISC.replace("1764070000", digit))


def test_an_unfinished_block_hides_no_other() -> None:
    assert [lease.address for lease in parse_isc("lease 192.168.1.9 {\n  hardware ethernet" + "\n" + ISC)] == [
        "192.168.1.5",
        "192.168.1.6",
    ]


ASKED = DNSRecord.question("12.50.168.192.in-addr.arpa", "PTR")
QUESTION = ASKED.pack()


def answer(name: str, *, about: str = "12.50.168.192.in-addr.arpa", same_id: bool = True) -> bytes:
    reply = ASKED.reply() if same_id else DNSRecord.question("12.50.168.192.in-addr.arpa", "PTR").reply()
    reply.add_answer(RR(about, QTYPE.PTR, rdata=PTR(name), ttl=10))
    return bytes(reply.pack())


def test_mdns_names() -> None:
    assert parse_mdns_name(answer("lunas-phone.local"), QUESTION) == "lunas-phone"
    assert parse_mdns_name(answer("lunas-phone.lan"), QUESTION) == "", "not a .local name"
    assert parse_mdns_name(answer("x.local", about="13.50.168.192.in-addr.arpa"), QUESTION) == "", (
        "about another address"
    )
    other = answer("x.local", same_id=False)
    assert parse_mdns_name(other, QUESTION) == "" or other[:2] == QUESTION[:2]


@given(st.binary(max_size=200))
def test_malformed_answers_have_no_name(data: bytes) -> None:
    assert parse_mdns_name(QUESTION[:2] + data, QUESTION) == "" or b"local" in data


HEAD = "Registry,Assignment,Organization Name,Organization Address\n"


@pytest.fixture
def vendors(tmp_path: Path) -> VendorLookup:
    large = (
        'MA-L,AA0001,"Toys, Ltd.",1 Road AA0002\nMA-L,A80002,IEEE Registration Authority,Piscataway\nMA-L,A80003,Clock'
        " Works ,Somewhere\n"
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


def test_without_registers_no_vendor_is_known(tmp_path: Path) -> None:
    assert VendorLookup(tmp_path / "nowhere").vendor("a8:00:03:00:00:01") == ""


def test_without_registers_makers_of_printers_and_the_like_are_known_all_the_same(tmp_path: Path) -> None:
    found = [VendorLookup(tmp_path / "nowhere").vendor(f"{prefix}:00:00:01") for prefix in ("00:00:48", "00:11:32")]
    assert found == ["Epson", "Synology"]
    assert guess_kind(vendor=found[0]) is DeviceKind.PRINTER


def test_every_maker_of_the_small_register_is_of_one_kind_or_of_the_network() -> None:
    lines = [line for line in MAKERS.read_text(encoding="ascii").splitlines() if not line.startswith("#")]
    makers = {line.partition(":")[0] for line in lines}
    assert {maker for maker in makers if guess_kind(vendor=maker) is None} == {"AVM"}
    prefixes = [prefix for line in lines for prefix in line.partition(": ")[2].split()]
    assert len(set(prefixes)) == len(prefixes)
    assert all(re.fullmatch("[0-9A-F]{6}", prefix) for prefix in prefixes)


@pytest.mark.skipif(not (IEEE_DATA / "oui.csv").exists(), reason="not installed: ieee-data")
def test_the_registers_of_debian() -> None:
    assert "Raspberry Pi" in VendorLookup().vendor("b8:27:eb:00:00:01")


def test_random_mac_addresses() -> None:
    assert [
        is_randomised_mac(mac)
        for mac in ("02:00:00:00:00:01", "00:00:00:00:00:01", "d2:00:00:00:00:01", "b8:27:eb:00:00:01")
    ] == [*(True, False, True, False)]
