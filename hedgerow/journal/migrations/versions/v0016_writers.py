"""The newest batch of each process that writes events, so that a batch whose outcome is unknown can be sent again."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "writers",
        sa.Column("site", sa.String, primary_key=True, nullable=False, server_default="home"),
        sa.Column("writer", sa.String, primary_key=True),
        sa.Column("batch", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("writers")
