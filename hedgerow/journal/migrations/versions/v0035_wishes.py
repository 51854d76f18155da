"""Wishes of children for minutes, a later bedtime or another rule."""

import sqlalchemy as sa
from alembic import op

revision = "0035"
down_revision = "0032"
branch_labels = None
depends_on = None

_TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")
_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "wishes",
        sa.Column("id", _NUMBER, primary_key=True),
        sa.Column("site", _TEXT, nullable=False, server_default="home"),
        *(sa.Column(name, sa.Float, nullable=False) for name in ("at", "last_at")),
        *(sa.Column(name, _NUMBER, nullable=False) for name in ("asked", "minutes", "given")),
        *(
            sa.Column(name, _TEXT, nullable=False)
            for name in ("person", "device", "kind", "subject", "note", "state", "why")
        ),
        *(sa.Column(name, sa.Float) for name in ("base", "answered_at")),
        *(sa.Column(name, _TEXT) for name in ("answered_by", "result")),
        sqlite_autoincrement=True,
    )
    op.create_index("wishes_person", "wishes", ["site", "person", "id"])
    op.create_index("wishes_state", "wishes", ["site", "state", "id"])


def downgrade() -> None:
    op.drop_table("wishes")
