"""Which certificate authorities are believed for encrypted upstreams: the system's, and those of a file."""

from __future__ import annotations

import ssl
from pathlib import Path


class Trust:
    """`more` is a PEM file of CAs beside the usual ones. Contexts are made when they are first wanted, and shared: each holds all CAs."""

    def __init__(self, more: Path | None = None) -> None:
        self.more = more
        self._contexts: dict[str | None, ssl.SSLContext] = {}

    def context(self, protocol: str | None = None) -> ssl.SSLContext:
        """For TLS over TCP, offering one application protocol (ALPN) or none. Raises OSError or ssl.SSLError for a bad file."""
        found = self._contexts.get(protocol)
        if found is None:
            found = self._contexts[protocol] = ssl.create_default_context()
            if self.more is not None:
                found.load_verify_locations(self.more)
            if protocol is not None:
                found.set_alpn_protocols([protocol])
        return found
