"""Codes that are read out over the phone."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "codes",
        sa.Column("id", sa.String, primary_key=True),
        *(sa.Column(name, sa.String, nullable=False) for name in ("digest", "subject", "how_long", "giver")),
        sa.Column("device", sa.String),
        sa.Column("person", sa.String),
        sa.Column("minutes", sa.Integer, nullable=False),
        sa.Column("request_id", sa.Integer),
        sa.Column("made_at", sa.Float, nullable=False),
        sa.Column("expires", sa.Float, nullable=False),
        sa.Column("used_at", sa.Float),
    )


def downgrade() -> None:
    op.drop_table("codes")
