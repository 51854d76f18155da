"""Print the rows of a journal that a later one lacks: `lost_rows.py BEFORE AFTER`. Compares the columns that both have.

Tables whose rows change by themselves are left out, as are tables that only one of the journals has.
"""

from __future__ import annotations

import sqlite3
import sys
from collections import Counter

CHANGING = {
    *(
        "alembic_version",
        "daily",
        "devices_seen",
        "hourly",
        "protections_seen",
        "rules_told",
        "sqlite_sequence",
        "usage",
        "writers",
    ),
}


def columns(journal: sqlite3.Connection) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for table, column in journal.execute(
        "SELECT m.name, c.name FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table'"
    ):
        found.setdefault(table, []).append(column)
    return found


def main() -> None:
    before, after = (sqlite3.connect(name) for name in sys.argv[1:3])
    here, there = columns(before), columns(after)
    for table in sorted((here.keys() & there.keys()) - CHANGING):
        shared = ", ".join(f'"{name}"' for name in here[table] if name in there[table])
        query = f'SELECT {shared} FROM "{table}"'  # noqa: S608 (names from the journal itself)
        for row in Counter(before.execute(query)) - Counter(after.execute(query)):
            print(table, row)


if __name__ == "__main__":
    main()
