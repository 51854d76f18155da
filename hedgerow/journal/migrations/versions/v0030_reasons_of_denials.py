"""The column of requests for what the person who denied one said to it."""

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None

_TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("access_requests", sa.Column("why", _TEXT, nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("access_requests", "why")
