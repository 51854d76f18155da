"""Notices that wait, and those that were sent."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "notices",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("at", sa.Float, nullable=False),
        *(sa.Column(name, sa.String, nullable=False) for name in ("receiver", "topic", "key", "text")),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("next_at", sa.Float, nullable=False),
        sa.Column("sent_at", sa.Float),
        sa.Column("problem", sa.String, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("notices_receiver", "notices", ["receiver", "state", "id"])
    op.create_index("notices_key", "notices", ["receiver", "topic", "key", "id"])


def downgrade() -> None:
    op.drop_table("notices")
