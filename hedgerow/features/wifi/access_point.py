"""The files and rules by which hostapd, dnsmasq and nftables open the children's Wi-Fi. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from hedgerow.features.wifi.settings import WifiSettings
from hedgerow.policies.text.addresses import IpNetwork

TABLE = "hedgerow_wifi"
NETWORKS = tuple(IPv4Network(text) for text in ("10.43.1.0/24", "172.29.43.0/24", "192.168.243.0/24"))
"""Networks for the children's devices. The first is taken that nothing else on this machine uses."""
LEASE_HOURS = 12
_OUTER = "10.0.0.0/8, 100.64.0.0/10, 169.254.0.0/16, 172.16.0.0/12, 192.168.0.0/16"


@dataclass(frozen=True, slots=True)
class AccessPoint:
    """A Wi-Fi as it is to be opened."""

    settings: WifiSettings
    interface: str
    country: str
    password: str
    network: IPv4Network
    channel: int

    @property
    def address(self) -> str:
        """This machine's address in it."""
        return str(self.network[1])


def free_network(taken: Collection[IpNetwork]) -> IPv4Network | None:
    """Return the first of `NETWORKS` that overlaps no network of another interface, or None.

    >>> str(free_network([IPv4Network("10.0.0.0/8")]))
    '172.29.43.0/24'
    """
    others = [each for each in taken if isinstance(each, IPv4Network)]
    return next((each for each in NETWORKS if not any(each.overlaps(other) for other in others)), None)


def render_hostapd(wanted: AccessPoint, control: Path) -> str:
    """Return hostapd's configuration: WPA2 and WPA3, with protected management frames for whoever has them."""
    lines = {
        "interface": wanted.interface,
        "driver": "nl80211",
        "ctrl_interface": control,
        "ssid2": wanted.settings.name.encode().hex(),
        "utf8_ssid": 1,
        "country_code": wanted.country,
        "ieee80211d": 1,
        "hw_mode": "g",
        "channel": wanted.channel,
        "ieee80211n": 1,
        "wmm_enabled": 1,
        "auth_algs": 1,
        "wpa": 2,
        "rsn_pairwise": "CCMP",
        "wpa_key_mgmt": "WPA-PSK SAE",
        "ieee80211w": 1,
        "sae_require_mfp": 1,
        "wpa_passphrase": wanted.password,
        "ap_isolate": int(wanted.settings.isolate),
    }
    return "".join(f"{name}={value}\n" for name, value in lines.items())


def dnsmasq_options(wanted: AccessPoint, leases: Path) -> list[str]:
    """Return dnsmasq's options: DHCP in the Wi-Fi only, with this machine as gateway and DNS server."""
    first, last = wanted.network[20], wanted.network[-6]
    return [
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--pid-file=",
        "--port=0",
        f"--interface={wanted.interface}",
        "--bind-interfaces",
        "--except-interface=lo",
        f"--dhcp-range={first},{last},{wanted.network.netmask},{LEASE_HOURS}h",
        f"--dhcp-option=option:router,{wanted.address}",
        f"--dhcp-option=option:dns-server,{wanted.address}",
        f"--dhcp-leasefile={leases}",
        "--dhcp-authoritative",
        "--no-ping",
        "--log-facility=-",
    ]


def render_rules(interface: str, network: IPv4Network, *, is_filtered: bool, isolate: bool = False) -> str:
    """Return the commands of nft that create or replace the Wi-Fi's own table.

    The gateway's table decides what its devices may do. This one shares the line's address, keeps the other networks at
    home out of their reach, and lets nothing pass while `is_filtered` is False.
    """
    inside = f'iifname "{interface}"'
    forward = [
        f'oifname "{interface}" ct state established,related accept',
        *([] if is_filtered else [f"{inside} drop"]),
        *([f'{inside} oifname "{interface}" drop'] if isolate else []),
        f"{inside} ip daddr {network} accept",
        f"{inside} meta nfproto ipv6 reject",
        f"{inside} ip daddr {{ {_OUTER} }} counter reject",
        f"{inside} accept",
        f'oifname "{interface}" drop',
    ]
    rules = "\n".join(f"    {rule}" for rule in forward)
    return f"""table inet {TABLE}
delete table inet {TABLE}
table inet {TABLE} {{
  chain forward {{
    type filter hook forward priority -20; policy accept;
{rules}
  }}
  chain leave {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {network} oifname != "{interface}" masquerade
  }}
}}
"""


def removal_rules() -> str:
    """Return the commands of nft that remove the Wi-Fi's own table, if there is one."""
    return f"table inet {TABLE}\ndelete table inet {TABLE}\n"
