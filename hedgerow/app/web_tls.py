"""The certificate under which the pages are served over TLS: one of our own CA, so that a device can see whether it trusts that."""

from __future__ import annotations

import logging
import ssl
import time

from hedgerow.app.files import write_atomically
from hedgerow.app.own_addresses import own_addresses
from hedgerow.app.settings import Settings
from hedgerow.proxy.authority import SERVER_VALIDITY, AuthorityError, issue_server, load_authority

log = logging.getLogger("hedgerow.web")

_RENEW_AFTER_S = SERVER_VALIDITY.total_seconds() / 2


class WebTls:
    """Called for every connection: the context in force, None where there is no certificate to show.

    Another CA, another address of the machine, or half of its time is over: another certificate.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._issued: tuple[object, float] | None = None
        self._context: ssl.SSLContext | None = None

    def __call__(self) -> ssl.SSLContext | None:
        try:
            web, folder = self._settings.web, self._settings.authority
            addresses = sorted(own_addresses()) if web.host in {"0.0.0.0", "::"} else [web.host]  # noqa: S104
            reason = (addresses, max(path.stat().st_mtime_ns for path in folder.iterdir()))
            if self._issued is None or self._issued[0] != reason or time.time() - self._issued[1] > _RENEW_AFTER_S:
                self._context = self._issue(addresses)
                self._issued = (reason, time.time())
        except (OSError, ValueError, AuthorityError) as error:
            log.error("There is no new certificate for the pages, the last one stays: %s", error)
        return self._context

    def _issue(self, addresses: list[str]) -> ssl.SSLContext:
        pem = issue_server(load_authority(self._settings.authority), ["localhost"], addresses)
        path = self._settings.run / "web.pem"
        write_atomically(path, pem)  # for the owner alone; Python reads certificates from files only
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(path)
        path.unlink()
        return context
