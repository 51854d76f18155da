"""The client of the running Hedgerow's API, over the Unix socket in its state directory.

No secret goes over it: nobody but the user that runs Hedgerow and root can listen or connect there.
"""

from __future__ import annotations

import httpx

from hedgerow.app.settings import Settings


def control_client(settings: Settings, timeout: float) -> httpx.Client:
    """A client whose relative URLs are those of the pages and the API. Close it. `timeout` is in seconds."""
    transport = httpx.HTTPTransport(uds=str(settings.control_socket))
    return httpx.Client(base_url="http://localhost", transport=transport, trust_env=False, timeout=timeout)
