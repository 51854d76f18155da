"""Connections of the household of the tests of pages."""

from __future__ import annotations

from web_server import NOW, Web

from hedgerow.journal.messages import ProtectionSeen
from hedgerow.policies.identity import Protection
from hedgerow.policies.model import DeviceId

PAGES = ()


def fill(web: Web) -> None:
    """Let the tablet ask DNS and the phone use the proxy. The console does neither."""
    web.recorder.add(
        [
            ProtectionSeen(NOW - 60, DeviceId("mia-tablet"), Protection.DNS),
            ProtectionSeen(NOW - 200, DeviceId("tom-phone"), Protection.PROXY),
            ProtectionSeen(NOW - 500, DeviceId("b8:27:eb:11:22:33"), Protection.DNS),
        ]
    )
    web.recorder.flush()
