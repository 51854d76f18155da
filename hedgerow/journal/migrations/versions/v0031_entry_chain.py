"""The chain of the counter's entries. Entries from before are linked in the order in which they were written."""

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


def upgrade() -> None:
    op.add_column("counter_entries", sa.Column("number", _NUMBER))
    for name in ("previous", "digest"):
        op.add_column("counter_entries", sa.Column(name, _TEXT, nullable=False, server_default=""))
    _link_entries()
    op.create_index("counter_entries_number", "counter_entries", ["site", "number"], unique=True)


def _link_entries() -> None:
    columns = (*_REQUIRED, *_DEFAULTS, "id", "site", "number", "previous", "digest")
    entries = sa.table("counter_entries", *(sa.column(name) for name in columns))
    connection = op.get_bind()
    last: dict[str, tuple[int, str]] = {}
    for row in connection.execute(sa.select(entries).order_by(entries.c.id)).mappings().all():
        number, previous = last.get(row["site"], (0, ""))
        fields = {name: row[name] for name in _REQUIRED} | {
            name: row[name] for name, value in _DEFAULTS.items() if row[name] != value
        }
        text = json.dumps(
            {"entry": fields, "number": number + 1, "previous": previous}, sort_keys=True, separators=(",", ":")
        )
        digest = hashlib.sha256(text.encode()).hexdigest()
        linked = entries.update().where(entries.c.id == row["id"])
        connection.execute(linked.values(number=number + 1, previous=previous, digest=digest))
        last[row["site"]] = number + 1, digest


def downgrade() -> None:
    op.drop_index("counter_entries_number", "counter_entries")
    for name in ("digest", "previous", "number"):
        op.drop_column("counter_entries", name)
