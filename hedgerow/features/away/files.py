"""Files by which a device keeps its rules away from home: through the tunnel, or by encrypted DNS alone.

Sources: Apple, "Device Management Profile", payload com.apple.dnsSettings.managed; Mozilla, policies.json,
DNSOverHTTPS; Chrome Enterprise, DnsOverHttpsMode and DnsOverHttpsTemplates; Microsoft, Add-DnsClientDohServerAddress of
the module DnsClient; wg-quick(8); wireguard-apple, MOBILECONFIG.md, and Apple's payload com.apple.vpn.managed.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from ipaddress import ip_network
from typing import Any

from hedgerow.dashboards.accounts import Principal
from hedgerow.dashboards.control import DOH_PORT, Control, EncryptedDns, InvalidInput
from hedgerow.dashboards.edits.household import find_device
from hedgerow.dashboards.edits.policy_editor import PolicyEditor
from hedgerow.features.away.edits import tunnel_edit
from hedgerow.features.away.tunnel import TunnelHome
from hedgerow.features.away.wireguard import KEEPALIVE_S, key_text, new_private_key, public_key_of
from hedgerow.policies.device_kinds import DeviceKind
from hedgerow.policies.model import Device
from hedgerow.proxy.apple_profile import CONTENT_TYPE, make_payload, make_profile, make_root_payload

_APPLE_FAMILY = "hedgerow.dns"
_NAMESPACE = uuid.UUID("3e9ad0c2-7f0e-4c57-9c61-5b2f0d8a41e6")


class AwayFile(StrEnum):
    """Kinds of files.

    A profile for iOS, iPadOS and macOS, policies of Firefox and of Chrome, Chromium and Edge, and a script for Windows.
    """

    APPLE = "apple"
    FIREFOX = "firefox"
    CHROME = "chrome"
    WINDOWS = "windows"


class TunnelFile(StrEnum):
    """Kinds of files with a device's end of the tunnel: WireGuard's own, and a profile for iOS, iPadOS and macOS."""

    WG_QUICK = "wg-quick"
    APPLE = "apple"


@dataclass(frozen=True, slots=True)
class TunnelShape:
    """A device's use of the tunnel: for all its traffic or, with `only_dns`, for names and this machine's pages.

    An Apple device closes it in the Wi-Fi networks `home_wifi`.
    """

    only_dns: bool = False
    home_wifi: Sequence[str] = ()


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
        raise InvalidInput(
            "No encrypted DNS is served: add `server_name` and `listen` with `dot` or `doh` under `network`."
        )
    if known.client_id is None:
        raise InvalidInput("%(device)s has no id for encrypted DNS yet.", device=device)
    return dns, known.client_id


def away_file(
    form: AwayFile, dns: EncryptedDns, device: str, client_id: str, home_wifi: Sequence[str] = ()
) -> AwayDocument | None:
    """Return a file, or None if encrypted DNS is not served in a way that the system can use.

    An Apple device does not use it in the Wi-Fi networks `home_wifi`, where the router names the resolver.
    """
    url = dns.url(client_id)
    match form:
        case AwayFile.APPLE:
            settings = _apple_settings(dns, client_id)
            return _apple_profile(dns, device, settings, home_wifi) if settings is not None else None
        case AwayFile.FIREFOX if url is not None:
            policy = {
                "policies": {"DNSOverHTTPS": {"Enabled": True, "ProviderURL": url, "Fallback": False, "Locked": True}}
            }
            return AwayDocument("policies.json", "application/json", _json(policy))
        case AwayFile.CHROME if url is not None:
            return AwayDocument(
                "hedgerow.json", "application/json", _json({"DnsOverHttpsMode": "secure", "DnsOverHttpsTemplates": url})
            )
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


def _apple_profile(dns: EncryptedDns, device: str, settings: dict[str, str], home_wifi: Sequence[str]) -> AwayDocument:
    """A profile with the settings and, unless devices trust it anyway, the CA.

    A second one for the device replaces the first.
    """
    identity = uuid.uuid5(_NAMESPACE, f"{dns.server_name}/{device}")
    payload = {
        **make_payload("com.apple.dnsSettings.managed", _APPLE_FAMILY, identity, "dns", f"DNS of {dns.server_name}"),
        "DNSSettings": settings,
        "OnDemandRules": _away_rules(home_wifi),
    }
    contents = [payload]
    if dns.root is not None:
        title = f"Certificate of {dns.server_name}"
        contents.append(make_root_payload(_APPLE_FAMILY, identity, title, dns.root))
    why = f"Asks {dns.server_name} for names, so that the rules of home hold everywhere."
    data = make_profile(_APPLE_FAMILY, identity, f"Hedgerow for {device}", why, contents)
    return AwayDocument("hedgerow-dns.mobileconfig", CONTENT_TYPE, data)


def _away_rules(home_wifi: Sequence[str]) -> list[dict[str, Any]]:
    at_home: list[dict[str, Any]] = [{"Action": "Disconnect", "SSIDMatch": list(home_wifi)}] if home_wifi else []
    return [*at_home, {"Action": "Connect"}]


def _windows_script(server_name: str, url: str) -> bytes:
    """A script for PowerShell as administrator.

    Windows 11 knows encrypted resolvers by address, so it looks the name up when it runs.
    """
    options = "-AllowFallbackToUdp $false -AutoUpgrade $true"
    return f"""# Run in PowerShell as administrator, and again when the address of home has changed.
$ErrorActionPreference = "Stop"
$addresses = @((Resolve-DnsName -Name "{server_name}" -Type A).IPAddress | Where-Object {{ $_ }})
foreach ($address in $addresses) {{
    Remove-DnsClientDohServerAddress -ServerAddress $address -ErrorAction SilentlyContinue
    Add-DnsClientDohServerAddress -ServerAddress $address -DohTemplate "{url}" {options}
}}
Get-NetAdapter -Physical | Set-DnsClientServerAddress -ServerAddresses $addresses
""".replace("\n", "\r\n").encode()


async def open_tunnel(
    control: Control,
    home: TunnelHome,
    editor: PolicyEditor,
    author: Principal,
    summary: str,
    device: str,
    form: TunnelFile,
    shape: TunnelShape,
) -> AwayDocument:
    """Give a device an end of the tunnel, or a new key for its own, and return the only copy. Raises `InvalidInput`.

    The device's private key is in this file and nowhere else.
    """
    private = new_private_key()
    await editor.change(author, summary, tunnel_edit(control.policy(), device, public_key_of(private)))
    config = tunnel_config(home, find_device(control.policy(), device), private, shape)
    if form is TunnelFile.WG_QUICK:
        return AwayDocument("hedgerow.conf", "text/plain; charset=utf-8", config.encode())
    profile = _tunnel_profile(home, find_device(control.policy(), device), config, shape)
    return replace(profile, data=control.signed_profile(profile.data))


def tunnel_config(home: TunnelHome, device: Device, private: bytes, shape: TunnelShape) -> str:
    """Return a device's end of the tunnel as WireGuard's apps read it (wg-quick(8))."""
    assert device.tunnel is not None
    own = home.settings.addresses()
    through = (
        [*map(str, own), *(str(ip_network(page)) for page in home.pages)] if shape.only_dns else ["0.0.0.0/0", "::/0"]
    )
    return "\n".join(
        (
            "[Interface]",
            f"PrivateKey = {key_text(private)}",
            f"Address = {', '.join(map(str, device.tunnel.networks))}",
            f"DNS = {', '.join(str(each.network_address) for each in own)}",
            "",
            "[Peer]",
            f"PublicKey = {home.public_key}",
            f"PresharedKey = {home.preshared_key(device.tunnel.key)}",
            f"Endpoint = {home.settings.endpoint}",
            f"AllowedIPs = {', '.join(through)}",
            f"PersistentKeepalive = {KEEPALIVE_S}",
            "",
        )
    )


def _tunnel_profile(home: TunnelHome, device: Device, config: str, shape: TunnelShape) -> AwayDocument:
    """A profile for WireGuard's app, which must be installed. A second one for the device replaces the first."""
    identity = uuid.uuid5(_NAMESPACE, f"tunnel/{home.settings.endpoint}/{device.id}")
    app = "com.wireguard.macos" if device.kind is DeviceKind.COMPUTER else "com.wireguard.ios"
    payload = {
        **make_payload("com.apple.vpn.managed", _APPLE_FAMILY, identity, "vpn", "VPN"),
        "UserDefinedName": "Hedgerow",
        "VPNType": "VPN",
        "VPNSubType": app,
        "VendorConfig": {"WgQuickConfig": config},
        "VPN": {
            "RemoteAddress": home.settings.endpoint,
            "AuthenticationMethod": "Password",
            "OnDemandEnabled": 1,
            "OnDemandUserOverrideDisabled": 1,  # iOS 14 and later
            "OnDemandRules": _away_rules(shape.home_wifi),
        },
    }
    why = f"Connects to {home.settings.host}, so that the rules of home hold everywhere."
    data = make_profile(_APPLE_FAMILY, identity, f"Hedgerow for {device.id}, everywhere", why, [payload])
    return AwayDocument("hedgerow-tunnel.mobileconfig", CONTENT_TYPE, data)
