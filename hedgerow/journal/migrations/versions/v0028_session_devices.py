"""The devices on which web sessions began. Those of before have none, and are no longer valid."""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

_TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("web_sessions", sa.Column("origin", _TEXT, nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("web_sessions", "origin")
