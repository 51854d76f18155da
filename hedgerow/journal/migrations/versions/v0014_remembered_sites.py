"""Sites remembered for what their pages turned out to be."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "remembered_sites",
        sa.Column("site", sa.String, primary_key=True, nullable=False, server_default="home"),
        *(sa.Column(name, sa.String, primary_key=True) for name in ("host", "topic")),
        *(sa.Column(name, sa.Float, nullable=False) for name in ("at", "ends")),
        sa.Column("corrected_by", sa.String),
        sa.Column("corrected_at", sa.Float),
    )


def downgrade() -> None:
    op.drop_table("remembered_sites")
