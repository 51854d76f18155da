"""The last use of tokens. Those of before count as not used."""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

_TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("tokens", sa.Column("used_at", sa.Float, nullable=True))
    op.add_column("tokens", sa.Column("used_from", _TEXT, nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("tokens", "used_from")
    op.drop_column("tokens", "used_at")
