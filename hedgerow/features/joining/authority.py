"""The certificate authority of the site's other machines: `hedgerow ca rotate` on one of them holds on all."""

from __future__ import annotations

import asyncio
import logging

from sqlalchemy.exc import DatabaseError

from hedgerow.app.ipc import restart_inspectors
from hedgerow.app.sealed_authority import open_authority
from hedgerow.app.settings import Settings
from hedgerow.features.contract import ControlService, Core
from hedgerow.files import error_text
from hedgerow.journal.authorities import AuthorityStore
from hedgerow.journal.store import Store, cause_of
from hedgerow.proxy.certificate_authority import CertificateAuthorityError, load_ca, replace_ca
from hedgerow.task_state import Area
from hedgerow.ticks import next_tick

log = logging.getLogger("hedgerow.control")

CHECK_S = 30.0


class AuthorityFollower:
    """Follower of the site's authority in a store that several machines share."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings, self._store = settings, store

    async def run(self) -> None:
        """Follow until cancelled. Does nothing without a shared store."""
        while self._store.dialect.is_partitioned:
            try:
                await asyncio.to_thread(self.follow)
            except DatabaseError as error:
                log.debug("The certificate authority of the other machines can't be read: %s", cause_of(error))
            except (CertificateAuthorityError, OSError) as error:
                log.error(
                    "The certificate authority of the other machines can't be used, the last one stays: %s",
                    error_text(error),
                )
            await next_tick(CHECK_S)

    def follow(self) -> bool:
        """Take over the newest authority.

        Returns False if it is the one here. Raises DatabaseError, CertificateAuthorityError, OSError.
        """
        authorities, folder = AuthorityStore(self._store), self._settings.authority
        first = current = load_ca(folder)
        while (sealed := authorities.successor(current.fingerprint)) is not None:
            current = open_authority(current, sealed)
        if current is first:
            return False
        replace_ca(folder, current)
        restart_inspectors(self._settings.state)
        log.warning(
            "%s has replaced %s, as on another machine of this site: devices need the new certificate",
            current.name,
            first.name,
        )
        return True


def authority_service(core: Core) -> ControlService:
    """Return the service that follows the authority."""
    follower = AuthorityFollower(core.settings, core.store)
    return ControlService(name="authority", run=follower.run, area=Area.MACHINES, may_end=True)
