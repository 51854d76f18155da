"""The configuration of hostapd, dnsmasq and nftables, and the radios that can open a Wi-Fi."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from ipaddress import IPv4Network, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.features.wifi.access_point import (
    NETWORKS,
    AccessPoint,
    dnsmasq_options,
    free_network,
    removal_rules,
    render_hostapd,
    render_rules,
)
from hedgerow.features.wifi.keeper import Wanted, obstacle
from hedgerow.features.wifi.radios import Radio, parse_phys, quietest_channel
from hedgerow.features.wifi.report import (
    WifiReport,
    WifiState,
    is_password,
    join_code,
    read_password,
    replace_password,
)
from hedgerow.features.wifi.settings import WifiSettings, name_mistake

PHYS = """Wiphy phy0
\twiphy index: 0
\tBand 1:
\t\tFrequencies:
\t\t\t* 2412.0 MHz [1] (20.0 dBm)
\t\t\t* 2484.0 MHz [14] (disabled)
\tSupported interface modes:
\t\t * IBSS
\t\t * managed
\t\t * AP
\t\t * AP/VLAN
\tBand 2:
Wiphy phy1
\tSupported interface modes:
\t\t * managed
\t\t * AP/VLAN
\tFrequencies:
\t\t\t* 2412 MHz [1] (20.0 dBm)
Wiphy phy2
\tFrequencies:
\t\t\t* 2412 MHz [1] (disabled)
\t\t\t* 5180 MHz [36] (20.0 dBm)
\tSupported interface modes:
\t\t * AP
"""


def point(name: str = "Children", password: str = "abcd-efgh", *, isolate: bool = False) -> AccessPoint:
    return AccessPoint(WifiSettings(name, isolate), "wlan0", "GB", password, NETWORKS[0], 6)


def test_only_a_radio_that_can_be_an_access_point_at_a_band_of_all_devices_is_taken() -> None:
    assert parse_phys(PHYS) == {"phy0": True, "phy1": False, "phy2": False}
    assert parse_phys("") == {}


@given(st.text(max_size=200))
def test_whatever_iw_prints_is_read(text: str) -> None:
    parse_phys(text)
    assert quietest_channel(text) in {1, 6, 11}


def test_the_channel_with_the_fewest_networks_is_taken() -> None:
    assert quietest_channel("") == 6
    assert quietest_channel("\tfreq: 2437.0\n\tfreq: 2432\n\tfreq: 2412\n") == 11
    assert quietest_channel("\tfreq: 5180\n") == 6


@pytest.mark.parametrize(
    ("taken", "found"),
    [
        ([], "10.43.1.0/24"),
        (["192.168.1.0/24", "fd00::/8"], "10.43.1.0/24"),
        (["10.0.0.0/8"], "172.29.43.0/24"),
        (["10.43.0.0/16", "172.16.0.0/12"], "192.168.243.0/24"),
        (["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"], None),
    ],
)
def test_the_network_of_the_router_is_never_that_of_the_children(taken: list[str], found: str | None) -> None:
    network = free_network([ip_network(each) for each in taken])
    assert (str(network) if network is not None else None) == found


@given(st.text(min_size=1, max_size=32).filter(lambda name: not name_mistake(name)))
def test_no_name_adds_a_line_to_the_configuration_of_hostapd(name: str) -> None:
    lines = render_hostapd(point(name), Path("/run/x")).splitlines()
    assert f"ssid2={name.encode().hex()}" in lines
    assert len(lines) == 19
    assert all("=" in line for line in lines)


def test_the_wifi_is_encrypted_and_isolates_by_choice() -> None:
    config = render_hostapd(point(), Path("/run/x")).splitlines()
    assert {"wpa=2", "rsn_pairwise=CCMP", "wpa_key_mgmt=WPA-PSK SAE", "ieee80211w=1", "country_code=GB"} <= set(config)
    assert "ap_isolate=0" in config
    assert "ap_isolate=1" in render_hostapd(point(isolate=True), Path("/run/x"))


def test_dnsmasq_serves_no_names_and_only_the_wifi() -> None:
    options = dnsmasq_options(point(), Path("/run/x/leases"))
    assert {"--port=0", "--interface=wlan0", "--bind-interfaces", "--conf-file=/dev/null"} <= set(options)
    assert "--dhcp-option=option:dns-server,10.43.1.1" in options


@pytest.fixture
def space(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    name = f"wifi-{id(request)}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    yield ["ip", "netns", "exec", name]
    subprocess.run(["ip", "netns", "delete", name], check=True)


def load(space: list[str], rules: str) -> None:
    subprocess.run([*space, "nft", "-f", "-"], input=rules, check=True, text=True, capture_output=True)


def listed(space: list[str]) -> str:
    done = subprocess.run([*space, "nft", "list", "ruleset"], check=True, text=True, capture_output=True)
    return done.stdout


@pytest.mark.root
def test_nftables_takes_the_rules_and_nothing_passes_before_the_gateway_is_in_place(space: list[str]) -> None:
    load(space, render_rules("wlan0", NETWORKS[0], is_filtered=False))
    closed = listed(space)
    assert closed.index('iifname "wlan0" drop') < closed.index('iifname "wlan0" accept')
    load(space, render_rules("wlan0", NETWORKS[0], is_filtered=True, isolate=True))
    opened = listed(space)
    assert 'iifname "wlan0" drop' not in opened
    assert 'iifname "wlan0" oifname "wlan0" drop' in opened
    assert opened.index("192.168.0.0/16") < opened.index('iifname "wlan0" accept')
    load(space, removal_rules())
    load(space, removal_rules())
    assert listed(space) == ""


WANTED = Wanted(WifiSettings("Children"), "GB")
ABLE, UNABLE = Radio("phy0", "wlan0", opens=True), Radio("phy1", "wlan1", opens=False)


@pytest.mark.parametrize(
    ("wanted", "radios", "state"),
    [
        (None, [ABLE], WifiState.OFF),
        (WANTED, [], WifiState.NO_RADIO),
        (WANTED, [UNABLE], WifiState.NO_ACCESS_POINT),
        (Wanted(WifiSettings("Children"), ""), [ABLE], WifiState.NO_COUNTRY),
        (WANTED, [UNABLE, ABLE], None),
    ],
)
def test_what_is_in_the_way_is_named(wanted: Wanted | None, radios: list[Radio], state: WifiState | None) -> None:
    assert obstacle(wanted, radios) is state


def test_the_password_is_made_once_and_kept_and_replaced_when_it_is_torn(tmp_path: Path) -> None:
    made = read_password(tmp_path)
    assert is_password(made)
    assert read_password(tmp_path) == made
    file = tmp_path / "wifi/password"
    assert file.stat().st_mode & 0o077 == 0
    assert replace_password(tmp_path) == read_password(tmp_path) != made
    for torn in (b"", b"abc\n", b"\xff" * 12):
        file.write_bytes(torn)
        assert is_password(read_password(tmp_path))
    file.write_text("a word that somebody chose\n")
    assert read_password(tmp_path) == "a word that somebody chose"


def test_an_old_or_torn_report_says_nothing(tmp_path: Path) -> None:
    report = WifiReport(WifiState.OPEN, 1000.0, ("wlan0",), "wlan0", "10.43.1.0/24", 2)
    report.save(tmp_path)
    assert WifiReport.load(1010.0, tmp_path) == report
    assert WifiReport.load(1100.0, tmp_path) is None
    (tmp_path / "report.json").write_text(json.dumps({"state": "open"}))
    assert WifiReport.load(1010.0, tmp_path) is None


@given(st.text(max_size=40), st.text(max_size=40))
def test_a_code_to_join_has_one_name_and_one_password(name: str, password: str) -> None:
    code = join_code(name, password)
    plain = code.replace("\\\\", "").replace("\\;", "").replace("\\:", "").replace("\\,", "").replace('\\"', "")
    assert plain.count(";") == 4
    assert IPv4Network("10.43.1.0/24") == NETWORKS[0]
