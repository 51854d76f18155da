"""The proxy auto-configuration file (PAC; WPAD is the same file under a name that browsers look for).

It has no `DIRECT` after the proxy: a browser that cannot reach the filter must not go round it.
"""

from __future__ import annotations

from hedgerow.proxy.http_head import Authority
from hedgerow.proxy.pages.response import ProxyResponse

PAC_PATHS = frozenset({"/proxy.pac", "/wpad.dat"})

_PAC_SCRIPT = """function FindProxyForURL(url, host) {
  // Machines of the local network are reached directly.
  if (isPlainHostName(host) || /\\.(local|lan|localhost|home\\.arpa|internal)$/i.test(host)) return "DIRECT";
  if (/^(127|10|192\\.168|172\\.(1[6-9]|2\\d|3[01])|169\\.254)(\\.\\d+)+$/.test(host)) return "DIRECT";
  if (/^\\[?(::1|f[cd][0-9a-f]{2}:|fe[89ab][0-9a-f]:)/i.test(host)) return "DIRECT";
  return "PROXY %s";
}
"""


def pac_response(proxy: Authority) -> ProxyResponse:
    """The response with the file that sends browsers to `proxy`.

    >>> b'return "PROXY 192.0.2.1:3128";' in pac_response(Authority("192.0.2.1", 3128)).body
    True
    """
    headers = (("Content-Type", "application/x-ns-proxy-autoconfig"), ("Cache-Control", "max-age=300"))
    return ProxyResponse(200, headers, (_PAC_SCRIPT % proxy).encode("ascii"))
