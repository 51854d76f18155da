"""Daily counts in addition to the hourly ones, so that a query over a month reads only a few thousand rows."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "daily",
        sa.Column("day", sa.Integer, primary_key=True),
        *(sa.Column(name, sa.String, primary_key=True) for name in ("device", "verdict", "reason", "what")),
        sa.Column("count", sa.Integer, nullable=False),
    )
    sums = (
        "SELECT hour / 24, device, verdict, reason, what, sum(count) FROM hourly GROUP BY 1, device, verdict, reason,"
        " what"
    )
    op.execute(f"INSERT INTO daily {sums}")


def downgrade() -> None:
    op.drop_table("daily")
