"""Files by which devices keep their rules away from home."""

from __future__ import annotations

import json
import plistlib

import pytest

from hedgerow.dashboards.away import AwayFile, away_file
from hedgerow.dashboards.control import EncryptedDns

ID = "5d0c2ab81e6f4397a2d4f80b6c11e93a"
BOTH = EncryptedDns("dns.home.example", 443, 853, b"the CA")
URL = f"https://dns.home.example/dns-query/{ID}"


def profile(dns: EncryptedDns, *home_wifi: str) -> dict[str, dict[str, object]]:
    found = away_file(AwayFile.APPLE, dns, "mia-phone", ID, home_wifi)
    assert found is not None
    return {payload["PayloadType"]: payload for payload in plistlib.loads(found.data)["PayloadContent"]}


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
