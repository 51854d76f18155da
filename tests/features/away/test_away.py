"""Files by which devices keep their rules away from home: through the tunnel, or by encrypted DNS."""

from __future__ import annotations

import configparser
import json
import plistlib
import re
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from web_server import OWNER, OWNER_PASSWORD, TOKEN, Web

from hedgerow.dashboards.control import DeviceView, EncryptedDns
from hedgerow.features.away.files import AwayFile, away_file
from hedgerow.features.away.wireguard import public_key_of
from hedgerow.policies.identity import Grade
from hedgerow.policies.model import DeviceId

HERE = "127.0.0.7"
ID = "5d0c2ab81e6f4397a2d4f80b6c11e93a"
BOTH = EncryptedDns("dns.home.example", 443, 853, b"the CA")
URL = f"https://dns.home.example/dns-query/{ID}"


def profile(dns: EncryptedDns, *home_wifi: str) -> dict[str, dict[str, object]]:
    found = away_file(AwayFile.APPLE, dns, "mia-phone", ID, home_wifi)
    assert found is not None
    return {payload["PayloadType"]: payload for payload in plistlib.loads(found.data)["PayloadContent"]}


# The keys of our profiles in Apple's published schema (the repository device-management, mdm/profiles, 2024-10-21):
# their types, the values that it allows, and "!" for those that must be there. `RemoteAddress` comes from WireGuard's
# MOBILECONFIG.md.
RULES = ["Connect", "Disconnect", "EvaluateConnection"]
COMMON = {
    "PayloadType": "str!",
    "PayloadVersion": "int!",
    "PayloadIdentifier": "str!",
    "PayloadUUID": "str!",
    "PayloadDisplayName": "str",
}
SCHEMA: dict[str, dict[str, object]] = {
    "Configuration": {
        **COMMON,
        "PayloadDescription": "str",
        "PayloadOrganization": "str",
        "PayloadScope": ["System", "User"],
        "PayloadContent": "list",
    },
    "com.apple.dnsSettings.managed": {
        **COMMON,
        "DNSSettings!": {"DNSProtocol!": ["HTTPS", "TLS"], "ServerURL": "str", "ServerName": "str"},
        "OnDemandRules": {"Action!": RULES, "SSIDMatch": "list"},
    },
    "com.apple.security.root": {**COMMON, "PayloadCertificateFileName": "str", "PayloadContent": "bytes!"},
    "com.apple.vpn.managed": {
        **COMMON,
        "VPNType!": ["VPN", "IKEv2"],
        "VPNSubType": "str",
        "UserDefinedName": "str!",
        "VendorConfig": {"WgQuickConfig": "str"},
        "VPN": {
            "RemoteAddress": "str",
            "AuthenticationMethod": ["Password", "Certificate", "Password+Certificate"],
            "OnDemandEnabled": [0, 1],
            "OnDemandUserOverrideDisabled": [0, 1],
            "OnDemandRules": {"Action!": RULES, "SSIDMatch": "list"},
        },
    },
}


def mistakes(value: dict[str, Any], schema: dict[str, object], where: str) -> Iterator[str]:
    """Compare a dictionary of a profile with its keys in Apple's schema."""
    rules = {key.rstrip("!"): rule for key, rule in schema.items()}
    wanted = [
        key.rstrip("!")
        for key, rule in schema.items()
        if key.endswith("!") or (isinstance(rule, str) and rule.endswith("!"))
    ]
    yield from (f"{where} lacks {key}" for key in wanted if key not in value)
    for key, found in value.items():
        rule = rules.get(key)
        if isinstance(rule, dict):
            for each in found if isinstance(found, list) else [found]:
                yield from mistakes(each, rule, f"{where}.{key}")
        elif not (found in rule if isinstance(rule, list) else type(found).__name__ == str(rule).rstrip("!")):
            yield f"{where}.{key} is {found!r}"


def mistakes_of_profile(data: bytes) -> list[str]:
    whole = plistlib.loads(data)
    parts = [whole, *whole["PayloadContent"]]
    uuids = [part["PayloadUUID"] for part in parts]
    form = re.compile(r"[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}")
    found = [
        f"{number} is no UUID of its own" for number in uuids if uuids.count(number) > 1 or not form.fullmatch(number)
    ]
    return found + [text for part in parts for text in mistakes(part, SCHEMA[part["PayloadType"]], part["PayloadType"])]


def test_apple_profiles_keep_to_apples_schema(web: Web) -> None:
    for dns in (BOTH, EncryptedDns("dns.home.example", None, 853)):
        for home_wifi in ((), ("Home 5 GHz",)):
            found = away_file(AwayFile.APPLE, dns, "mia-phone", ID, home_wifi)
            assert found is not None
            assert mistakes_of_profile(found.data) == []
    with_tunnel(web)
    for home_wifi in ((), ("Home 5 GHz",)):
        assert mistakes_of_profile(opened(web, format="apple", home_wifi=home_wifi).content) == []


def test_a_profile_with_another_key_or_type_does_not_pass() -> None:
    found = away_file(AwayFile.APPLE, BOTH, "mia-phone", ID)
    assert found is not None
    whole = plistlib.loads(found.data)
    whole["PayloadContent"][0]["DNSSettings"] = {"DNSProtocol": "QUIC", "ServerUrl": "https://dns.home.example/"}
    del whole["PayloadVersion"]
    assert len(mistakes_of_profile(plistlib.dumps(whole))) == 3


def test_an_apple_profile_has_settings_and_ca() -> None:
    parts = profile(BOTH)
    assert parts["com.apple.dnsSettings.managed"]["DNSSettings"] == {"DNSProtocol": "HTTPS", "ServerURL": URL}
    assert parts["com.apple.dnsSettings.managed"]["OnDemandRules"] == [{"Action": "Connect"}]
    assert parts["com.apple.security.root"]["PayloadContent"] == b"the CA"
    assert "com.apple.security.root" not in profile(EncryptedDns("dns.home.example", 443))


def test_an_apple_profile_without_doh_uses_tls_with_the_id_in_the_name() -> None:
    settings = profile(EncryptedDns("dns.home.example", None, 853))["com.apple.dnsSettings.managed"]["DNSSettings"]
    assert settings == {"DNSProtocol": "TLS", "ServerName": f"{ID}.dns.home.example"}


def test_an_apple_profile_is_not_used_in_the_wifi_at_home() -> None:
    rules = profile(BOTH, "Home 5 GHz")["com.apple.dnsSettings.managed"]["OnDemandRules"]
    assert rules == [{"Action": "Disconnect", "SSIDMatch": ["Home 5 GHz"]}, {"Action": "Connect"}]


def test_a_second_profile_replaces_the_first_and_no_other_devices() -> None:
    numbers = [
        plistlib.loads(found.data)["PayloadUUID"]
        for device, client_id in (("mia-phone", ID), ("mia-phone", ID[::-1]), ("tom-phone", ID))
        if (found := away_file(AwayFile.APPLE, BOTH, device, client_id)) is not None
    ]
    assert numbers[0] == numbers[1] != numbers[2]


def test_browsers_get_policies_that_do_not_fall_back() -> None:
    firefox, chrome = (away_file(form, BOTH, "pc", ID) for form in (AwayFile.FIREFOX, AwayFile.CHROME))
    assert firefox is not None
    assert chrome is not None
    wanted = {"Enabled": True, "ProviderURL": URL, "Fallback": False, "Locked": True}
    assert json.loads(firefox.data) == {"policies": {"DNSOverHTTPS": wanted}}
    assert json.loads(chrome.data) == {"DnsOverHttpsMode": "secure", "DnsOverHttpsTemplates": URL}


@pytest.mark.parametrize(
    ("form", "dns"),
    [
        (AwayFile.APPLE, EncryptedDns("dns.home.example", None, 8853)),
        (AwayFile.WINDOWS, EncryptedDns("dns.home.example", 8443)),
        (AwayFile.FIREFOX, EncryptedDns("dns.home.example", None, 853)),
        (AwayFile.CHROME, EncryptedDns("dns.home.example", None, 853)),
    ],
)
def test_no_file_for_what_the_system_cannot_reach(form: AwayFile, dns: EncryptedDns) -> None:
    assert away_file(form, dns, "pc", ID) is None


def with_tunnel(web: Web) -> None:
    web.policy_path.write_text(
        "network: {tunnel: {endpoint: 'home.example:4500'}}\ndevices: {phone: {ip: 192.168.1.9}, laptop: {ip:"
        " 192.168.1.8}}\n"
    )


def client(web: Web) -> httpx.Client:
    headers = {"authorization": f"Bearer {TOKEN}", "origin": web.url}
    return httpx.Client(
        base_url=web.url, trust_env=False, timeout=30, headers=headers, follow_redirects=True, verify=False
    )


def opened(web: Web, device: str = "phone", **order: object) -> httpx.Response:
    with client(web) as api:
        return api.post(f"/api/v1/devices/{device}/tunnel", json=order)


def ini(config: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read_string(config)
    return parser


def test_a_file_for_wireguard_has_the_only_copy_of_the_key(web: Web) -> None:
    with_tunnel(web)
    config = ini(opened(web).text)
    tunnel = web.control.policy().devices["phone"].tunnel
    assert tunnel is not None
    private = b64decode(config["Interface"]["PrivateKey"])
    assert public_key_of(private) == tunnel.key
    assert config["Interface"]["PrivateKey"] not in web.policy_path.read_text()
    assert config["Interface"]["Address"] == "10.87.214.2/32, fd5e:3a81:c7d4:9b26::2/128"
    assert config["Interface"]["DNS"] == "10.87.214.1, fd5e:3a81:c7d4:9b26::1"
    assert config["Peer"]["Endpoint"] == "home.example:4500"
    assert config["Peer"]["AllowedIPs"] == "0.0.0.0/0, ::/0"
    assert len(b64decode(config["Peer"]["PresharedKey"])) == 32


def test_a_second_file_replaces_the_key_and_keeps_the_address(web: Web) -> None:
    with_tunnel(web)
    first, second = (ini(opened(web).text) for _ in range(2))
    assert first["Interface"]["PrivateKey"] != second["Interface"]["PrivateKey"]
    assert first["Peer"]["PresharedKey"] != second["Peer"]["PresharedKey"]
    assert first["Interface"]["Address"] == second["Interface"]["Address"]
    assert ini(opened(web, "laptop").text)["Interface"]["Address"].startswith("10.87.214.3/32")


def test_names_alone_need_the_resolver_and_the_pages(web: Web) -> None:
    with_tunnel(web)
    config = ini(opened(web, only_dns=True).text)
    assert config["Peer"]["AllowedIPs"] == "10.87.214.1/32, fd5e:3a81:c7d4:9b26::1/128, 192.168.1.2/32"


def test_an_apple_device_closes_the_tunnel_in_the_wifi_at_home(web: Web) -> None:
    with_tunnel(web)
    profile = plistlib.loads(opened(web, format="apple", home_wifi=["Home 5 GHz"]).content)
    (payload,) = profile["PayloadContent"]
    assert (payload["PayloadType"], payload["VPNType"], payload["VPNSubType"]) == (
        "com.apple.vpn.managed",
        "VPN",
        "com.wireguard.ios",
    )
    assert (
        ini(payload["VendorConfig"]["WgQuickConfig"])["Peer"]["Endpoint"]
        == payload["VPN"]["RemoteAddress"]
        == "home.example:4500"
    )
    assert payload["VPN"]["OnDemandRules"] == [
        {"Action": "Disconnect", "SSIDMatch": ["Home 5 GHz"]},
        {"Action": "Connect"},
    ]


def test_the_api_lists_and_removes_tunnels(web: Web) -> None:
    with_tunnel(web)
    opened(web)
    with client(web) as api:
        (known,) = api.get("/api/v1/tunnels").json()
        assert known["device"] == "phone"
        assert known["addresses"] == ["10.87.214.2", "fd5e:3a81:c7d4:9b26::2"]
        assert api.delete("/api/v1/devices/phone/tunnel").status_code == 204
        assert api.get("/api/v1/tunnels").json() == []
        assert api.delete("/api/v1/devices/phone/tunnel").json()["detail"] == "phone has no tunnel."


@pytest.mark.parametrize("device", ["nobody", "192.168.1.7"])
def test_no_tunnel_for_a_device_without_a_name(web: Web, device: str) -> None:
    with_tunnel(web)
    assert opened(web, device).status_code == 422


def test_no_tunnel_where_the_policy_has_none(web: Web) -> None:
    web.policy_path.write_text("devices: {phone: {ip: 192.168.1.9}}\n")
    assert opened(web).status_code == 422
    assert "tunnel" not in web.policy_path.read_text()


def test_the_page_shows_a_code_once(web: Web) -> None:
    with_tunnel(web)
    with client(web) as browser:
        page = browser.post("/devices/phone/away/tunnel", data={"form": "qr"}).text
        code = re.search(r'<svg width="(\d+)"', page[page.index("It is not shown again") :])
        assert code is not None
        assert int(code[1]) <= 270, "it fits the narrowest phones"
        again = browser.get("/devices/phone/away").text
        assert "It is not shown again" not in again
        assert "Last connected" in again
        assert browser.post("/devices/phone/away/tunnel", data={"form": "wg-quick", "only_dns": "yes"}).text.startswith(
            "[Interface]"
        )
        assert "Last connected" not in browser.post("/devices/phone/away/tunnel/remove").text


def test_the_devices_page_leads_there_for_devices_with_a_name(web: Web) -> None:
    with client(web) as browser:
        page = browser.get("/devices").text
        assert page.count("/away") == page.count('href="/devices/mia-tablet/away"') == 1
        assert browser.get("/devices/mia-tablet/away").status_code == 200


def test_an_adults_device_can_be_known_by_its_tunnel_only(web: Web) -> None:
    """Another device can copy its MAC address, and has its rules then."""
    house = "people:\n  mia: {age: 9, devices: [tablet]}\n  Ana: {profile: adult, devices: [phone]}\n"
    mac = "02:00:00:00:00:0"
    devices = f"devices:\n  phone: {{mac: '{mac}1', ip: 192.168.1.9}}\n  tablet: {{mac: '{mac}2'}}\n"
    web.policy_path.write_text(f"network: {{tunnel: {{endpoint: home.example}}}}\n{house}{devices}")
    with client(web) as browser:
        assert browser.get("/devices").text.count("Can another device copy this one?") == 1, "the adult's"
        assert "Know it by its tunnel only" not in browser.get("/devices/phone/away").text, "it has none yet"
        refused = browser.post("/devices/phone/away/tunnel/only")
        assert refused.status_code == 422
        for device in ("phone", "tablet"):
            assert opened(web, device).status_code == 200
        assert "Know it by its tunnel only" not in browser.get("/devices/tablet/away").text, "it grants a child nothing"
        assert "Know it by its tunnel only" in browser.get("/devices/phone/away").text
        web.control.devices[HERE] = DeviceView(
            DeviceId("phone"), "Ana", "adult", may_sign_in=True, grade=Grade.MAC_AND_ADDRESS
        )
        asked_by = httpx.HTTPTransport(local_address=HERE)
        phone = httpx.Client(base_url=web.url, transport=asked_by, headers={"origin": web.url}, timeout=60)
        phone.post("/sign-in", data={"name": OWNER, "password": OWNER_PASSWORD})
        assert phone.get("/people").status_code == 200
        done = browser.post("/devices/phone/away/tunnel/only").text
        assert "phone is known by its tunnel only." in done
        assert "Know it by its tunnel only" not in done
    known = web.control.policy().devices["phone"]
    assert (known.macs, known.tunnel is not None) == ((), True)
    assert phone.get("/people").status_code == 200, "in its tunnel it stays signed in"
    phone.close()
