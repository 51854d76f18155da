"""The machine whose role owns a store, which looks after the connections of sites."""

from __future__ import annotations

import asyncio
from contextlib import closing

import psycopg
import pytest
from postgres_server import running_server
from small_internet.running import wait_until

from hedgerow.app.control.store_follower import SiteConnections
from hedgerow.journal.database import open_journal
from hedgerow.journal.postgresql_rights import grant_site, make_role


def test_the_owners_machine_ends_connections_that_hold_up_others(caplog: pytest.LogCaptureFixture) -> None:
    with running_server() as server:
        server.execute("ALTER ROLE hedgerow CREATEROLE")
        database = server.database()
        with closing(open_journal(server.address(database))) as owner:
            with owner.begin() as connection:
                make_role(connection, "cafe", "a password")
                grant_site(connection, "cafe", "cafe", may_manage=True)
            with closing(open_journal(server.address(database, "cafe"))) as node:
                asyncio.run(SiteConnections(node).run())  # returns: this is the owner's task
            with closing(psycopg.connect(server.address(database, "cafe").url, autocommit=True)) as thief:
                thief.execute("SELECT pg_advisory_lock(1)")

                async def wait_for_the_end() -> None:
                    watching = asyncio.create_task(SiteConnections(owner).run())
                    with pytest.raises(psycopg.OperationalError):
                        await asyncio.to_thread(thief.execute, "SELECT pg_sleep(60)")
                    await asyncio.to_thread(wait_until, lambda: caplog.text, 10, "the warning")
                    watching.cancel()

                asyncio.run(wait_for_the_end())
    assert "A connection of cafe held up others and was ended" in caplog.text
