"""The TLS side of encrypted DNS: which certificate is shown, and which server name a client asked for."""

from __future__ import annotations

import logging
import ssl
import weakref
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

_NO_PASSWORD: Final = ""  # without one OpenSSL asks at the terminal for that of an encrypted key, and all queries wait
_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"  # of TLS 1.2; those of 1.3 are all good


class Renewable(ABC):
    """Shows the certificate of a chain and a key in PEM files, which may be renewed while it serves. Raises OSError or ssl.SSLError."""

    def __init__(self, chain: Path, key: Path) -> None:
        self._load(chain, key)
        self._loaded = _identity(chain, key)

    def refresh(self, chain: Path, key: Path) -> None:
        """Show the files' new certificate to new connections; where they cannot be used, go on with the last one."""
        try:
            identity = _identity(chain, key)
            if identity == self._loaded:
                return
            self._loaded = identity
            trial = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # a pair that does not fit would leave a context with half of it
            trial.load_cert_chain(chain, key, _NO_PASSWORD)
            self._load(chain, key)
            log.info("the certificate for encrypted DNS was renewed")
        except (OSError, ssl.SSLError) as error:
            log.error("The new certificate %s cannot be used, the last one stays: %s", chain, error)

    @abstractmethod
    def _load(self, chain: Path, key: Path) -> None: ...


class ServerTls(Renewable):
    """For TLS over TCP: one context."""

    def __init__(self, chain: Path, key: Path, protocols: Sequence[str]) -> None:
        self._names: weakref.WeakKeyDictionary[object, str | None] = weakref.WeakKeyDictionary()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.set_ciphers(_CIPHERS)
        self.context.set_alpn_protocols(list(protocols))
        self.context.sni_callback = self._note
        super().__init__(chain, key)

    def server_name(self, connection: object) -> str | None:
        """What the client of this SSL object asked for."""
        return self._names.get(connection)

    def _load(self, chain: Path, key: Path) -> None:
        self.context.load_cert_chain(chain, key, _NO_PASSWORD)

    def _note(self, connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        self._names[connection] = name


def _identity(chain: Path, key: Path) -> tuple[object, ...]:
    statuses = (chain.stat(), key.stat())
    return (chain, key, *((status.st_ino, status.st_mtime_ns, status.st_size) for status in statuses))
