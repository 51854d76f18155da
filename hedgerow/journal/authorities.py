"""Successors of a site's certificate authority, for the other machines of the site: each sealed for those that hold the
one before.
"""

from __future__ import annotations

from hedgerow.journal.store import Store
from hedgerow.journal.tables import authorities


class AuthorityStore:
    """Every method waits for the disk: call it from a thread."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, at: float, replaces: str, sealed: str) -> None:
        """Add the successor of the authority with the fingerprint `replaces`.

        Raises IntegrityError if there is one already.
        """
        self._store.execute(self._store.insert(authorities).values(at=at, replaces=replaces, sealed=sealed))

    def successor(self, fingerprint: str) -> str | None:
        """Return the sealed successor of an authority, or None."""
        rows = self._store.rows(self._store.select(authorities).where(authorities.c.replaces == fingerprint))
        return rows[0].sealed if rows else None
