"""Requests for Hedgerow's own pages through the proxy, and the proxy auto-configuration file (PAC; by name WPAD). Pure.

The gate relays each of them, with the address of its client, to the process that serves the pages: over a Unix socket,
since what came from the proxy's own address would count as this machine. They never leave the machine, whatever the
policy blocks.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass

from hedgerow.blocklists.names import LOCAL_DOMAINS, LOCAL_SUFFIXES, parse_host
from hedgerow.policies.network import NetworkSettings
from hedgerow.proxy.http_head import Authority, RequestHead, RequestTarget
from hedgerow.proxy.pages.response import ProxyResponse

PAGES_NAME = "hedgerow.internal"
"""A name for the pages under which every device that uses the proxy finds them, at port 80 too (.internal:

ICANN, reserved 2024).
"""

_REPLACED = frozenset({"host", "connection", "proxy-connection", "proxy-authorization", "keep-alive", "via", "upgrade"})
PAC_PATHS = frozenset({"/proxy.pac", "/wpad.dat"})

_PAC_SCRIPT = """function FindProxyForURL(url, host) {
  // Machines of the local network are reached directly.
  if (isPlainHostName(host) || /(^|\\.)(%s)$/i.test(host)) return "DIRECT";
  if (/^(127|10|192\\.168|172\\.(1[6-9]|2\\d|3[01])|169\\.254)(\\.\\d+)+$/.test(host)) return "DIRECT";
  if (/^\\[?(::1|f[cd][0-9a-f]{2}:|fe[89ab][0-9a-f]:)/i.test(host)) return "DIRECT";
  return "PROXY %s";
}
"""
_LOCAL_NAMES = "|".join(sorted(name.replace(".", "\\.") for name in LOCAL_SUFFIXES | LOCAL_DOMAINS))


def web_host_names(network: NetworkSettings) -> tuple[str, ...]:
    """The host names of the pages: this machine's name, alone and under `.local`, `PAGES_NAME`, and the policy's
    `server_name`.
    """
    name = (parse_host(socket.gethostname()) or "localhost").partition(".")[0]
    own = [network.server_name] if network.server_name is not None else []
    return tuple(dict.fromkeys(["localhost", name, f"{name}.local", PAGES_NAME, *own]))


@dataclass(frozen=True, slots=True)
class OwnPages:
    """The place of the pages: their `port`, their host `names`, this machine's addresses, and the Unix socket of the
    relay.

    `wpad` are the names under which browsers look for the proxy auto-configuration file, at port 80.
    """

    socket: str
    port: int
    names: frozenset[str]
    own: Callable[[], frozenset[str]]
    wpad: tuple[str, ...] = ()

    def serves(self, authority: Authority) -> bool:
        """True if a request to `authority` is for the pages."""
        if authority.host == PAGES_NAME:
            return authority.port in (80, self.port)
        if authority.host in self.wpad:
            return authority.port == 80
        return authority.port == self.port and (authority.host in self.names or authority.host in self.own())


def relay_line(client: str, own: str, port: int) -> bytes:
    """The line that introduces a client to the pages: its address, our address that it reached, and the port of the
    pages.
    """
    return f"{client} {own} {port}\r\n".encode("ascii")


def relayed_head(head: RequestHead, target: RequestTarget) -> bytes:
    """The request head in origin form.

    The connection ends with the response, since the next request may be for another host.

    A Via field keeps the request from counting as one of this machine itself.
    """
    host = target.authority.as_in_url("http")
    lines = [f"{head.method} {target.path} HTTP/1.1", f"Host: {host}", "Connection: close", "Via: 1.1 hedgerow"]
    lines += [f"{name}: {value}" for name, value in head.fields if name.lower() not in _REPLACED]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def pac_response(proxy: Authority) -> ProxyResponse:
    """The response with the file that sends browsers to `proxy`, and never round it: it has no `DIRECT` after the
    proxy.

    >>> b'return "PROXY 192.0.2.1:3128";' in pac_response(Authority("192.0.2.1", 3128)).body
    True
    """
    headers = (("Content-Type", "application/x-ns-proxy-autoconfig"), ("Cache-Control", "max-age=300"))
    return ProxyResponse(200, headers, (_PAC_SCRIPT % (_LOCAL_NAMES, proxy)).encode("ascii"))
