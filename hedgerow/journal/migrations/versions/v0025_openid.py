"""Accounts of people who sign in at an OpenID Connect provider."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

_TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("accounts", sa.Column("subject", _TEXT, nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("accounts", "subject")
