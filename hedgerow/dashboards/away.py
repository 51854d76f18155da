"""Files by which a device asks Hedgerow over encrypted DNS wherever it is.

Sources: Apple, "Device Management Profile", payload com.apple.dnsSettings.managed; Mozilla, policies.json, DNSOverHTTPS; Chrome Enterprise,
DnsOverHttpsMode and DnsOverHttpsTemplates; Microsoft, Add-DnsClientDohServerAddress of the module DnsClient.
"""

from __future__ import annotations

import json
import plistlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from hedgerow.dashboards.control import DOH_PORT, Control, EncryptedDns, InvalidInput
from hedgerow.dashboards.edits.household import find_device

_NAMESPACE = uuid.UUID("3e9ad0c2-7f0e-4c57-9c61-5b2f0d8a41e6")


class AwayFile(StrEnum):
    """Kinds of files: a profile for iOS, iPadOS and macOS; policies of Firefox, and of Chrome, Chromium and Edge; a script for Windows."""

    APPLE = "apple"
    FIREFOX = "firefox"
    CHROME = "chrome"
    WINDOWS = "windows"


@dataclass(frozen=True, slots=True)
class AwayDocument:
    """A file to open on a device."""

    name: str
    content_type: str
    data: bytes


def away_document(control: Control, form: AwayFile, device: str, home_wifi: Sequence[str] = ()) -> AwayDocument:
    """Return a device's file; an Apple profile is signed. Raises `InvalidInput` if anything is missing."""
    dns, client_id = away_settings(control, device)
    found = away_file(form, dns, device, client_id, home_wifi)
    if found is None:
        raise InvalidInput("Such a device needs DNS over HTTPS on port 443: add `doh` under `network: listen`.")
    return replace(found, data=control.signed_profile(found.data)) if form is AwayFile.APPLE else found


def away_settings(control: Control, device: str) -> tuple[EncryptedDns, str]:
    """Return encrypted DNS and a device's client id. Raises `InvalidInput` if there is none."""
    known = find_device(control.policy(), device)
    dns = control.encrypted_dns()
    if dns is None:
        raise InvalidInput("No encrypted DNS is served: add `server_name` and `listen` with `dot` or `doh` under `network`.")
    if known.client_id is None:
        raise InvalidInput("%(device)s has no id for encrypted DNS yet.", device=device)
    return dns, known.client_id


def away_file(form: AwayFile, dns: EncryptedDns, device: str, client_id: str, home_wifi: Sequence[str] = ()) -> AwayDocument | None:
    """Return a file, or None if encrypted DNS is not served in a way that the system can use.

    An Apple device does not use it in the Wi-Fi networks `home_wifi`, where the router names the resolver.
    """
    url = dns.url(client_id)
    match form:
        case AwayFile.APPLE:
            settings = _apple_settings(dns, client_id)
            return _apple_profile(dns, device, settings, home_wifi) if settings is not None else None
        case AwayFile.FIREFOX if url is not None:
            policy = {"policies": {"DNSOverHTTPS": {"Enabled": True, "ProviderURL": url, "Fallback": False, "Locked": True}}}
            return AwayDocument("policies.json", "application/json", _json(policy))
        case AwayFile.CHROME if url is not None:
            return AwayDocument("hedgerow.json", "application/json", _json({"DnsOverHttpsMode": "secure", "DnsOverHttpsTemplates": url}))
        case AwayFile.WINDOWS if url is not None and dns.doh_port == DOH_PORT:
            return AwayDocument("hedgerow-dns.ps1", "text/plain; charset=utf-8", _windows_script(dns.server_name, url))
        case _:
            return None


def _json(value: object) -> bytes:
    return json.dumps(value, indent=2).encode() + b"\n"


def _apple_settings(dns: EncryptedDns, client_id: str) -> dict[str, str] | None:
    if (url := dns.url(client_id)) is not None:
        return {"DNSProtocol": "HTTPS", "ServerURL": url}
    if (host := dns.host(client_id)) is not None:
        return {"DNSProtocol": "TLS", "ServerName": host}
    return None


def _apple_profile(
    dns: EncryptedDns, device: str, settings: dict[str, str], home_wifi: Sequence[str]
) -> AwayDocument:  # fmt: skip
    """A profile with the settings and, unless devices trust it anyway, the CA. A second one for the device replaces the first."""
    identity = uuid.uuid5(_NAMESPACE, f"{dns.server_name}/{device}")
    rules: list[dict[str, Any]] = [{"Action": "Disconnect", "SSIDMatch": list(home_wifi)}] if home_wifi else []
    payload = {
        **_payload("com.apple.dnsSettings.managed", identity, "dns", f"DNS of {dns.server_name}"),
        "DNSSettings": settings,
        "OnDemandRules": [*rules, {"Action": "Connect"}],
    }
    contents = [payload]
    if dns.root is not None:
        root = _payload("com.apple.security.root", identity, "root", f"Certificate of {dns.server_name}")
        contents.append({**root, "PayloadCertificateFileName": "hedgerow-ca.crt", "PayloadContent": dns.root})
    profile = {
        **_payload("Configuration", identity, "", f"Hedgerow for {device}"),
        "PayloadDescription": f"Asks {dns.server_name} for names, so that the rules of home hold everywhere.",
        "PayloadOrganization": "Hedgerow",
        "PayloadScope": "System",
        "PayloadContent": contents,
    }
    return AwayDocument("hedgerow-dns.mobileconfig", "application/x-apple-aspen-config", plistlib.dumps(profile))


def _payload(kind: str, identity: uuid.UUID, part: str, title: str) -> dict[str, Any]:
    number = uuid.uuid5(identity, part) if part else identity
    return {
        "PayloadType": kind,
        "PayloadVersion": 1,
        "PayloadIdentifier": f"hedgerow.dns.{identity}" + (f".{part}" if part else ""),
        "PayloadUUID": str(number).upper(),
        "PayloadDisplayName": title,
    }


def _windows_script(server_name: str, url: str) -> bytes:
    """A script for PowerShell as administrator. Windows 11 knows encrypted resolvers by address, so it looks the name up when it runs."""
    return f"""# Run in PowerShell as administrator, and again when the address of home has changed.
$ErrorActionPreference = "Stop"
$addresses = @((Resolve-DnsName -Name "{server_name}" -Type A).IPAddress | Where-Object {{ $_ }})
foreach ($address in $addresses) {{
    Remove-DnsClientDohServerAddress -ServerAddress $address -ErrorAction SilentlyContinue
    Add-DnsClientDohServerAddress -ServerAddress $address -DohTemplate "{url}" -AllowFallbackToUdp $false -AutoUpgrade $true
}}
Get-NetAdapter -Physical | Set-DnsClientServerAddress -ServerAddresses $addresses
""".replace("\n", "\r\n").encode()
