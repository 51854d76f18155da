"""Changes that other nodes make in the same database: heard of by NOTIFY, and looked for in case that does not get through."""

from __future__ import annotations

import time
from typing import Any

import psycopg

from hedgerow.journal.postgresql_connection import Connector
from hedgerow.journal.postgresql_schema import CHANNEL

_QUERY = "SELECT coalesce(sum(number), 0) FROM site_changes WHERE site = %s OR site LIKE '@%%'"


class ChangeListener:
    """A listener for changes of one site. `wait` is called by one thread at a time.

    PgBouncer passes no notifications on when it pools by transaction. The count of changes is read after each wait, whatever was heard.
    """

    def __init__(self, connector: Connector, site: str) -> None:
        self._connector, self._site = connector, site
        self._connection: Any = None
        self._known: int | None = None

    def wait(self, seconds: float) -> bool:
        """Wait for a change, at most this long. Returns True if there was one, or if the server has just begun to answer."""
        try:
            if self._connection is None:
                self._connection = connection = self._connector.connect()
                connection.autocommit = True
                for name in (self._site, "@"):  # its own changes, and those of the levels above all sites
                    channel = connection.execute(f"SELECT {CHANNEL.format(site='%s')}", (name,)).fetchone()[0]
                    connection.execute(f"LISTEN {channel}")
            else:
                for _ in self._connection.notifies(timeout=seconds, stop_after=1):
                    pass
            known, self._known = self._known, int(self._connection.execute(_QUERY, (self._site,)).fetchone()[0])
            return known != self._known
        except psycopg.Error:
            self.close()
            time.sleep(seconds)
            return False

    def close(self) -> None:
        """Close the connection. The next `wait` opens another one."""
        if self._connection is not None:
            self._connection.close()
        self._connection, self._known = None, None
