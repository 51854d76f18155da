"""Minutes of use, minutes given on top, and who sits where."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "usage",
        sa.Column("account", sa.String, primary_key=True),
        sa.Column("subject", sa.String, primary_key=True),
        sa.Column("hour", sa.Integer, primary_key=True),
        sa.Column("minutes", sa.BigInteger, nullable=False),
    )
    op.create_index("usage_hour", "usage", ["hour"])
    op.create_table(
        "bonuses",
        sa.Column("id", sa.String, primary_key=True),
        *_texts("account", "subject", "giver"),
        sa.Column("minutes", sa.Integer, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )
    op.create_table(
        "sittings",
        sa.Column("id", sa.String, primary_key=True),
        *_texts("device", "giver", "name"),
        sa.Column("person", sa.String),
        sa.Column("profile", sa.String),
        sa.Column("starts", sa.Float, nullable=False),
        sa.Column("ends", sa.Float),
    )


def downgrade() -> None:
    for table in ("sittings", "bonuses", "usage"):
        op.drop_table(table)


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.String, nullable=False) for name in names]
