"""The column of requests for what a child says is done."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

_TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("access_requests", sa.Column("chore", _TEXT, nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("access_requests", "chore")
