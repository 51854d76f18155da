"""Client of the running Hedgerow's API, over the Unix socket in its state directory.

It sends no secret: only root and the user that runs Hedgerow can listen or connect there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hedgerow.app.ipc import WorkersFile
from hedgerow.app.settings import Settings

if TYPE_CHECKING:  # `hedgerow up` calls no API
    import httpx


def problem_of_control(settings: Settings) -> str:
    """Why control does not run, as far as the supervisor knows; else empty."""
    try:
        rows = WorkersFile.load(settings.workers_file).workers
    except (OSError, ValueError):
        return ""
    return next((row.problem for row in rows if row.role == "control"), "")


def control_client(settings: Settings, timeout: float) -> httpx.Client:
    """Return a client for relative URLs of the pages and the API, to be closed by the caller. `timeout` is in seconds."""
    import httpx

    transport = httpx.HTTPTransport(uds=str(settings.control_socket))
    return httpx.Client(base_url="http://localhost", transport=transport, trust_env=False, timeout=timeout)
