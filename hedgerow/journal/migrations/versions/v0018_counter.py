"""The counter of a café: what was done there and by whom, its staff, and prices of vouchers."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")
_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("vouchers", sa.Column("serial", _TEXT, nullable=False, server_default=""))
    op.add_column("vouchers", sa.Column("price", _NUMBER, nullable=False, server_default="0"))
    op.add_column("vouchers", sa.Column("is_paid", _NUMBER, nullable=False, server_default="1"))
    op.create_table(
        "counter_entries",
        sa.Column("id", _NUMBER, primary_key=True),
        sa.Column("site", _TEXT, nullable=False, server_default="home"),
        sa.Column("at", sa.Float, nullable=False),
        *(sa.Column(name, _TEXT, nullable=False) for name in ("actor", "action", "seat", "session", "kind")),
        *(sa.Column(name, _NUMBER, nullable=False) for name in ("minutes", "count", "due", "taken")),
        *(sa.Column(name, _TEXT, nullable=False) for name in ("currency", "note")),
        sqlite_autoincrement=True,
    )
    op.create_index("counter_entries_at", "counter_entries", ["site", "at"])
    op.create_index("counter_entries_session", "counter_entries", ["session"])
    op.create_table(
        "staff",
        sa.Column("site", _TEXT, primary_key=True, nullable=False, server_default="home"),
        sa.Column("name", _TEXT, primary_key=True),
        sa.Column("role", _TEXT, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("pin", _TEXT, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("staff")
    op.drop_table("counter_entries")
    for column in ("is_paid", "price", "serial"):
        op.drop_column("vouchers", column)
