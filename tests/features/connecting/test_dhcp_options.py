"""Options by which DHCP servers and routers tell devices of the resolver, read back as RFC 9463 describes them."""

from __future__ import annotations

import json
import shutil
import subprocess
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from struct import unpack_from

import dnslib
import pytest

from hedgerow.app.settings import Endpoint, Settings
from hedgerow.app.snapshot import Snapshot
from hedgerow.blocklists.compiler import compile_generation
from hedgerow.features.connecting.commands import DhcpServer, dhcp_options
from hedgerow.features.connecting.dhcp_options import (
    MAX_V4_OCTETS,
    Announcement,
    EncryptedService,
    dnsmasq_lines,
    kea_lines,
    ra_options,
    v4_instances,
    v6_options,
)
from hedgerow.policies.reading.load import parse_policy
from hedgerow.policies.transports import ENCRYPTED_TRANSPORTS

NAME = "dns.home.example"
FOUR, SIX = (IPv4Address("192.168.1.2"), IPv4Address("192.168.1.3")), (IPv6Address("fd00::2"),)
SERVICES = tuple(
    EncryptedService(number, NAME, ENCRYPTED_TRANSPORTS[transport], port, FOUR, SIX)
    for number, (transport, port) in enumerate({"doh": 8443, "dot": 853}.items(), 1)
)
TOLD = Announcement(FOUR, SIX, SERVICES)
type Read = tuple[int, str, bytes, dict[int, bytes]]
"""Priority, name, addresses, and service parameters by their keys."""


def parameters(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while data:
        key, size = unpack_from("!HH", data)
        assert key > max(found, default=0), "in ascending order (RFC 9460, section 2.2)"
        found[key], data = data[4 : 4 + size], data[4 + size :]
    return found


def name_of(data: bytes) -> str:
    return str(dnslib.DNSBuffer(data).decode_name()).rstrip(".")


def read_v4(instance: bytes) -> Read:
    size, priority, name_size = unpack_from("!HHB", instance)
    assert size == len(instance) - 2
    name, rest = instance[5 : 5 + name_size], instance[5 + name_size :]
    return priority, name_of(name), rest[1 : 1 + rest[0]], parameters(rest[1 + rest[0] :])


def read_v6(data: bytes) -> Read:
    priority, name_size = unpack_from("!HH", data)
    name, rest = data[4 : 4 + name_size], data[4 + name_size :]
    (size,) = unpack_from("!H", rest)
    return priority, name_of(name), rest[2 : 2 + size], parameters(rest[2 + size :])


def read_ra(data: bytes) -> Read:
    kind, size, priority, lifetime, name_size = unpack_from("!BBHIH", data)
    assert (kind, size * 8, lifetime) == (144, len(data), 1800)
    name, rest = data[10 : 10 + name_size], data[10 + name_size :]
    (size,) = unpack_from("!H", rest)
    addresses, rest = rest[2 : 2 + size], rest[2 + size :]
    (size,) = unpack_from("!H", rest)
    assert not any(rest[2 + size :]), "padded with zeros"
    return priority, name_of(name), addresses, parameters(rest[2 : 2 + size])


EXPECTED = [
    (1, NAME, {1: b"\x02h2\x08http/1.1", 3: (8443).to_bytes(2), 7: b"/dns-query{?dns}"}),
    (2, NAME, {1: b"\x03dot", 3: (853).to_bytes(2)}),
]


def test_devices_read_what_is_served() -> None:
    four, six = b"".join(each.packed for each in FOUR), SIX[0].packed
    assert [read_v4(each) for each in v4_instances(SERVICES)] == [(*each[:2], four, each[2]) for each in EXPECTED]
    for options in (map(read_v6, v6_options(SERVICES)), map(read_ra, ra_options(SERVICES))):
        assert list(options) == [(*each[:2], six, each[2]) for each in EXPECTED]


def test_option_162_is_not_longer_than_servers_can_send() -> None:
    many = [
        EncryptedService(number, NAME, transport, 853, FOUR)
        for number, transport in enumerate((*ENCRYPTED_TRANSPORTS.values(), *ENCRYPTED_TRANSPORTS.values()), 1)
    ]
    kept = v4_instances(many)
    assert sum(map(len, kept)) <= MAX_V4_OCTETS
    assert [read_v4(each)[0] for each in kept] == list(range(1, len(kept) + 1)), "the best ones stay"
    assert v4_instances([EncryptedService(1, NAME, ENCRYPTED_TRANSPORTS["dot"], 853, six=SIX)]) == []


@pytest.mark.skipif(shutil.which("dnsmasq") is None, reason="dnsmasq is not installed")
def test_dnsmasq_takes_its_lines(tmp_path: Path) -> None:
    (tmp_path / "dnsmasq.conf").write_text("\n".join(dnsmasq_lines(TOLD)))
    done = subprocess.run(
        [str(shutil.which("dnsmasq")), "--test", f"--conf-file={tmp_path}/dnsmasq.conf"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_keas_lines_are_json() -> None:
    text = "\n".join(line for line in kea_lines(TOLD) if not line.startswith("//")).rstrip(",")
    four, six = (json.loads(f"{{{part}]}}") for part in text.split("],\n") for part in [part.removesuffix("]")])
    (content,) = (each["data"] for each in four["option-data"] if each.get("code") == 162)
    assert bytes.fromhex(content) == b"".join(v4_instances(SERVICES))
    assert [bytes.fromhex(each["data"]) for each in six["option-data"] if "code" in each] == v6_options(SERVICES)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    compile_generation((), tmp_path / "generation")
    policy = parse_policy(f"network: {{server_name: {NAME}}}".encode(), None)
    everywhere = Endpoint("0.0.0.0", 53)
    settings = Settings(
        tmp_path, None, everywhere, everywhere, everywhere, encrypted={"dot": Endpoint("192.168.1.2", 853)}
    )
    settings.run.mkdir(exist_ok=True)
    settings.save()
    Snapshot(1, 0.0, policy, tmp_path / "generation").save(tmp_path)
    return tmp_path


def test_the_command_prints_what_runs(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dhcp_options(DhcpServer.OPENWRT, ["192.168.1.2", "192.168.1.3"], state)
    lines = capsys.readouterr().out.splitlines()
    assert "uci add_list dhcp.lan.dhcp_option='6,192.168.1.2,192.168.1.3'" in lines
    dnr = f"uci add_list dhcp.lan.dnr='1 {NAME} 192.168.1.2 alpn=dot port=853'"
    assert dnr in lines, "DNS over TLS listens at one address"
    dhcp_options(None, ["192.168.1.2"], state, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["dns"] == ["192.168.1.2"]
    assert read_v4(bytes.fromhex(found["dhcpv4"]["162"]))[:2] == (1, NAME)


def test_a_port_that_dhcp_cannot_name_is_said(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings.load(state)
    Settings(state, None, Endpoint("0.0.0.0", 5300), settings.proxy, settings.web).save()
    dhcp_options(DhcpServer.DNSMASQ, ["192.168.1.2"], state)
    out = capsys.readouterr().out
    assert "dhcp-option" not in out
    assert "start Hedgerow with --dns 0.0.0.0:53" in out
    assert "No encrypted DNS is served" in out


def test_an_address_that_nobody_serves_is_said(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings.load(state)
    Settings(state, None, Endpoint("192.168.1.2", 53), settings.proxy, settings.web).save()
    dhcp_options(DhcpServer.DNSMASQ, ["192.168.1.9"], state)
    assert "name it with --address" in capsys.readouterr().out
