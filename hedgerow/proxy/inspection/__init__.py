"""The inspection lane: decrypted connections, of which each request is judged and each response scanned.

An `Inspector` takes connections from gates. A `ClientHandshake` and then an `InspectedConnection` owns each. A `LayerDriver` runs
mitmproxy's layers for it, unless its `FastPath` suffices. The `InspectionAddon` asks the policy for each decision.

mitmproxy's HTTP layers are imported here, without the parts that they import and that no inspector uses, which take 7 MB.
"""

from __future__ import annotations

import contextlib
import sys
from types import ModuleType

_UNUSED = (
    "mitmproxy.certs",
    "mitmproxy.proxy.layers.dns",
    "mitmproxy.proxy.layers.http._http3",
    "mitmproxy.proxy.layers.quic",
    "mitmproxy.proxy.layers.tls",
    "mitmproxy_rs",
    "ruamel.yaml",
)


class _Placeholder(ModuleType):
    """A module whose names are empty classes, of which nothing is an instance."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def _import_http_layers() -> None:
    placeholders = {name: _Placeholder(name) for name in _UNUSED if name not in sys.modules}
    sys.modules.update(placeholders)
    try:
        with contextlib.suppress(ImportError, AttributeError):  # another version of mitmproxy: `patches.check` names the difference
            import mitmproxy.proxy.layers.http  # noqa: F401
    finally:
        for name in placeholders:  # whoever needs one imports it
            del sys.modules[name]


_import_http_layers()
