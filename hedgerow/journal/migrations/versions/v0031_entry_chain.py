"""The chain of the counter's entries. Entries from before are linked in the order in which they were written.

On the way back, the older version gets the entries in words that it knows, and all of them wait unchanged next to its
table until the next upgrade.
"""

import hashlib
import json

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None

_TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")
_NUMBER = sa.Integer().with_variant(sa.BigInteger(), "postgresql")
_REQUIRED = ("at", "actor", "action")
_DEFAULTS = {"minutes": 0, "count": 1, "due": 0, "taken": 0, "key": None} | dict.fromkeys(
    ("seat", "session", "kind", "currency", "note"), ""
)
_KNOWN = frozenset(
    {"open", "redeem", "extend", "move", "pause", "resume", "end", "reopen", "pay", "print", "credit", "withdraw"}
    | {"allow", "allow-adult", "duty", "wrong-pin"}
)
"""The actions that older versions can read."""
_MONEY = ("article", "deposit", "charge", "undo")
"""Later actions with an amount, which are payments to an older version, so that its sums are right."""
_COLUMNS = (*_REQUIRED, *_DEFAULTS, "id", "site", "number", "previous", "digest")
_ENTRIES, _KEPT = (sa.table(name, *map(sa.column, _COLUMNS)) for name in ("counter_entries", "counter_entries_aside"))


def upgrade() -> None:
    op.add_column("counter_entries", sa.Column("number", _NUMBER))
    for name in ("previous", "digest"):
        op.add_column("counter_entries", sa.Column(name, _TEXT, nullable=False, server_default=""))
    _link_entries(_bring_back())
    op.create_index("counter_entries_number", "counter_entries", ["site", "number"], unique=True)


def _bring_back() -> set[int]:
    """Give the entries that were set aside their place, words and links back. Return those that had no link."""
    connection = op.get_bind()
    if not sa.inspect(connection).has_table(_KEPT.name):
        return set()
    unlinked = set()
    for row in connection.execute(sa.select(_KEPT).order_by(_KEPT.c.id)).mappings().all():
        values = dict(row)
        is_same = (_ENTRIES.c.at == row["at"]) & (_ENTRIES.c.actor == row["actor"])
        there = _ENTRIES.update().where((_ENTRIES.c.id == row["id"]) & is_same).values(values)
        if not connection.execute(there).rowcount:
            if connection.execute(sa.select(_ENTRIES.c.id).where(_ENTRIES.c.id == row["id"])).first():
                values["id"] = connection.execute(sa.select(sa.func.max(_ENTRIES.c.id))).scalar_one() + 1
            connection.execute(_ENTRIES.insert().values(values))
        if row["number"] is None:
            unlinked.add(values["id"])
    op.drop_table(_KEPT.name)
    return unlinked


def _link_entries(left_out: set[int]) -> None:
    """Link the entries without a number after the last one that has one."""
    connection = op.get_bind()
    last: dict[str, tuple[int, str]] = {}
    rows = connection.execute(sa.select(_ENTRIES).order_by(_ENTRIES.c.id)).mappings().all()
    for row in sorted((each for each in rows if each["number"] is not None), key=lambda each: each["number"]):
        last[row["site"]] = row["number"], row["digest"]
    for row in rows:
        if row["number"] is not None or row["id"] in left_out:
            continue
        number, previous = last.get(row["site"], (0, ""))
        fields = {name: row[name] for name in _REQUIRED} | {
            name: row[name] for name, value in _DEFAULTS.items() if row[name] != value
        }
        text = json.dumps(
            {"entry": fields, "number": number + 1, "previous": previous}, sort_keys=True, separators=(",", ":")
        )
        digest = hashlib.sha256(text.encode()).hexdigest()
        linked = _ENTRIES.update().where(_ENTRIES.c.id == row["id"])
        connection.execute(linked.values(number=number + 1, previous=previous, digest=digest))
        last[row["site"]] = number + 1, digest


def downgrade() -> None:
    op.drop_index("counter_entries_number", "counter_entries")
    op.execute("CREATE TABLE counter_entries_aside AS SELECT * FROM counter_entries")
    connection, entries = op.get_bind(), _ENTRIES.c
    connection.execute(_ENTRIES.update().where(entries.action.in_(_MONEY)).values(action="pay", count=1))
    connection.execute(_ENTRIES.delete().where(entries.action.not_in(_KNOWN)))
    begins = entries.action.in_(("open", "redeem")) & entries.note.contains(" ")  # the payment or serial, then prices
    for row in connection.execute(sa.select(entries.id, entries.note).where(begins)).all():
        connection.execute(_ENTRIES.update().where(entries.id == row.id).values(note=row.note.partition(" ")[0]))
    for name in ("digest", "previous", "number"):
        op.drop_column("counter_entries", name)
