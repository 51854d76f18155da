"""Stages of people who grow up: the profile that each has, and the one that is announced."""

import sqlalchemy as sa
from alembic import op

revision = "0037"
down_revision = "0035"
branch_labels = None
depends_on = None

_TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "growing_up",
        sa.Column("site", _TEXT, primary_key=True, nullable=False, server_default="home"),
        sa.Column("person", _TEXT, primary_key=True, nullable=False),
        sa.Column("born", _TEXT, nullable=False),
        sa.Column("profile", _TEXT, nullable=False),
        sa.Column("announced", _TEXT, nullable=False),
        sa.Column("announced_at", sa.Float, nullable=False),
        sa.Column("takes_effect", sa.Float, nullable=False),
        sa.Column("erased_at", sa.Float, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("growing_up")
