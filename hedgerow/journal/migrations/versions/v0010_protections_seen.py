"""The instants at which each device last used each protection."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "protections_seen",
        sa.Column("site", sa.String, primary_key=True, nullable=False, server_default="home"),
        *(sa.Column(name, sa.String, primary_key=True) for name in ("device", "protection")),
        sa.Column("at", sa.Float, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("protections_seen")
