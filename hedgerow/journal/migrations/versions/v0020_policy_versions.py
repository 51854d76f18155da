"""Versions of a policy that several nodes share."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

_TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")
_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "policy_versions",
        sa.Column("id", _NUMBER, primary_key=True),
        sa.Column("site", _TEXT, nullable=False, server_default="home"),
        sa.Column("at", sa.Float, nullable=False),
        *(sa.Column(name, _TEXT, nullable=False) for name in ("actor", "summary", "node")),
        sa.Column("follows", _NUMBER, nullable=False),
        sa.Column("files", _TEXT, nullable=False),
        sa.UniqueConstraint("site", "follows", name="policy_versions_follows"),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    op.drop_table("policy_versions")
