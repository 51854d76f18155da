"""Stages of what the law closes to people."""

import sqlalchemy as sa
from alembic import op

revision = "0041"
down_revision = "0040"
branch_labels = None
depends_on = None

_TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "legal_stages",
        sa.Column("site", _TEXT, primary_key=True, nullable=False, server_default="home"),
        sa.Column("person", _TEXT, primary_key=True, nullable=False),
        *(sa.Column(name, _TEXT, nullable=False) for name in ("basis", "closed", "announced")),
        *(sa.Column(name, sa.Float, nullable=False) for name in ("announced_at", "takes_effect", "seen_at", "unseen")),
    )


def downgrade() -> None:
    op.drop_table("legal_stages")
