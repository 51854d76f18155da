"""Successors of a site's certificate authority, for its other machines."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

_TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")
_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "authorities",
        sa.Column("id", _NUMBER, primary_key=True),
        sa.Column("site", _TEXT, nullable=False, server_default="home"),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("replaces", _TEXT, nullable=False),
        sa.Column("sealed", _TEXT, nullable=False),
        sa.UniqueConstraint("site", "replaces", name="authorities_replaces"),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    op.drop_table("authorities")
