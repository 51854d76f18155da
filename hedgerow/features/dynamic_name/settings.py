"""The key `network.ddns`: a name that follows the changing address of the line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import urlsplit

from hedgerow.blocklists.names import parse_host
from hedgerow.policies.reading.feature_keys import FeatureKey, KeyReader
from hedgerow.policies.reading.schema_types import RawModel, reserved
from hedgerow.policies.text.addresses import https_mistake, parse_ip

_USUAL_QUERY = "hostname={host}&myip={addresses}"


@dataclass(frozen=True, slots=True)
class DynamicName:
    """A name that follows the changing address of the line, at a provider of dynamic DNS (the protocol dyndns2).

    `url` is the provider's address for updates; its query has the placeholders `DYNAMIC_PLACEHOLDERS`. `seen_by` is the
    URL of a page that shows the IPv4 address from which it is asked, for a machine behind another router; empty to use
    the machine's own address.
    """

    KEY: ClassVar[str] = "network.ddns"

    host: str
    url: str
    user: str = ""
    seen_by: str = ""


DYNAMIC_PLACEHOLDERS = ("host", "addresses", "ipv4", "ipv6")
"""The name, all addresses with a comma between them, and the address of each family."""


class RawDynamicName(RawModel):
    """A name that follows the line's changing address, at a provider of dynamic DNS."""

    server: str = reserved(
        description="The provider's address for updates (dyndns2), such as "
        "`https://dynupdate.no-ip.com/nic/update`, with a query of its own if the provider wants other "
        "parameters: `?hostname={host}&myip={ipv4}&myipv6={ipv6}`."
    )
    user: str = reserved(
        "", description="Name with which Hedgerow signs in; the password is in `ddns-password` in the state directory."
    )
    host: str | None = reserved(None, description="The name; by default that of the tunnel's `endpoint`.")
    seen_by: str = reserved(
        "",
        description="URL of a page that shows the IPv4 address of whoever asks, for a machine behind another router.",
    )


def _read(raw: RawDynamicName, reader: KeyReader) -> DynamicName | None:
    url = _https_url(reader, "server", raw.server)
    seen_by = raw.seen_by and _https_url(reader, "seen_by", raw.seen_by)
    unknown = sorted(set(re.findall(r"\{(.*?)\}", url)) - set(DYNAMIC_PLACEHOLDERS))
    if unknown:
        known = ", ".join(f"{{{name}}}" for name in DYNAMIC_PLACEHOLDERS)
        reader.add_problem("server", text=f"unknown placeholder '{{{unknown[0]}}}'. Placeholders: {known}.")
    tunnel = reader.policy.network.tunnel
    text = raw.host if raw.host is not None else tunnel.host if tunnel is not None else ""
    host = parse_host(text)
    if host is None or parse_ip(host) is not None or "." not in host:
        what = f"'{text}' is not a fully qualified name" if text else "there is no name yet: add one"
        reader.add_problem("host", text=f"{what}, such as home.example")
    if host is None or not url or unknown:
        return None
    return DynamicName(host, url if urlsplit(url).query else f"{url}?{_USUAL_QUERY}", raw.user, seen_by)


def _https_url(reader: KeyReader, key: str, text: str) -> str:
    """Return the URL, or an empty text with a problem if it is none of HTTPS: passwords and addresses travel by it."""
    mistake = https_mistake(text)
    if mistake.endswith("user name"):
        mistake += ": put it under user, and the password into the file ddns-password of the state directory"
    if mistake:
        reader.add_problem(key, text=mistake)
    return "" if mistake else text


DDNS = FeatureKey(
    settings=DynamicName,
    kind=RawDynamicName | None,
    declaration=reserved(None, description="A name that follows this line's changing address (dynamic DNS)."),
    read=_read,
)
