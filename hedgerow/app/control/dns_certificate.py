"""The certificate of encrypted DNS that is of our own CA: control issues it, so that no resolver needs the CA's key."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from hedgerow.app.files import write_atomically
from hedgerow.app.own_addresses import own_addresses
from hedgerow.app.settings import EVERYWHERE, Endpoint, Settings
from hedgerow.policies.network import Network
from hedgerow.proxy.authority import SERVER_VALIDITY, AuthorityError, issue_server, load_authority

log = logging.getLogger("hedgerow.encrypted")

LOOK_AGAIN_S = 2.0
_RENEW_AFTER_S = SERVER_VALIDITY.total_seconds() / 2


class DnsCertificate:
    """Kept in `settings.dns_certificate` where encrypted DNS is served and the policy names no files of its own."""

    def __init__(self, settings: Settings, network: Callable[[], Network]) -> None:
        self._settings, self._network = settings, network
        self._places = [place for place in (settings.dot, settings.doh, settings.doq) if place is not None]
        self._issued: tuple[object, float] | None = None

    def issue_if_due(self) -> None:
        """Another name, another address, another CA, or half of its time is over: another certificate. Says so where there can be none."""
        network = self._network()
        if not self._places or network.certificate is not None:
            return
        try:
            name, addresses = network.server_name, sorted({each for place in self._places for each in _addresses_of(place)})
            reason = (name, addresses, max(path.stat().st_mtime_ns for path in self._settings.authority.iterdir()))
            if self._issued is not None and self._issued[0] == reason and time.time() - self._issued[1] < _RENEW_AFTER_S:
                return
            pem = issue_server(load_authority(self._settings.authority), [name, f"*.{name}"] if name else [], addresses)
            write_atomically(self._settings.dns_certificate, pem)
            self._issued = (reason, time.time())
        except (OSError, AuthorityError) as error:
            log.error("There is no new certificate for encrypted DNS, the last one stays: %s", error)

    async def run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_AGAIN_S)
            self.issue_if_due()


def _addresses_of(endpoint: Endpoint) -> list[str]:
    if endpoint.host not in EVERYWHERE:
        return [endpoint.host]
    return own_addresses()
