"""Devices under a new name: everything that the journal keeps about them moves along, in one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from sqlalchemy import Connection, Table, func

from hedgerow.journal.store import Store
from hedgerow.journal.tables import (
    access_requests,
    bonuses,
    codes,
    daily,
    decisions,
    devices_seen,
    events,
    grants,
    hourly,
    pauses,
    protections_seen,
    sessions,
    usage,
)  # fmt: skip
from hedgerow.policies.model import DeviceId

_COLUMNS = (
    *((table, "device") for table in (decisions, access_requests, grants, pauses, sessions, codes)),
    *((pauses, "spared_device"), (events, "subject")),
)
_KEYED = ((hourly, "count"), (daily, "count"), (usage, "minutes"), (protections_seen, "at"), (devices_seen, "last_seen"))
"""Tables with the device in their key, and the column that is merged where the new name has a row already."""


def rename_devices(store: Store, names: Mapping[DeviceId, DeviceId]) -> int:
    """Give the rows of each device to its new name. Returns their number. Waits for the disk: call it from a thread."""
    with store.begin() as connection:
        return sum(_rename(store, connection, old, new) for old, new in names.items())


def _rename(store: Store, connection: Connection, old: str, new: str) -> int:
    moved = 0
    for table, column in _COLUMNS:
        moved += connection.execute(store.update(table).where(table.c[column] == old).values({column: new})).rowcount
    change = store.update(bonuses).where(bonuses.c.account == f"device:{old}").values(account=f"device:{new}")
    moved += connection.execute(change).rowcount
    for table, column in _KEYED:
        name, before, after = ("account", f"device:{old}", f"device:{new}") if table is usage else ("device", old, new)
        rows = [dict(row._mapping) | {name: after} for row in connection.execute(store.select(table).where(table.c[name] == before))]
        if rows:
            connection.execute(store.delete(table).where(table.c[name] == before))
            connection.execute(store.upsert(table, partial(_merged, store, table, column)), rows)
        moved += len(rows)
    return moved


def _merged(store: Store, table: Table, column: str, new: Any) -> dict[str, Any]:
    """Return the changes of a row that is there already under the new name."""
    old = table.c
    if table is usage:
        return {column: old[column].op("|")(new[column])}
    if column == "count":
        return {column: old[column] + new[column]}
    more = {"mac": func.coalesce(old.mac, new.mac)} if table is devices_seen else {}
    for text in ("address", "name") if table is devices_seen else ():
        more[text] = func.coalesce(func.nullif(old[text], ""), new[text])
    return {column: store.dialect.greatest(old[column], new[column]), **more}
