"""Agreements of children with their parents, and changes of children's rules."""

import sqlalchemy as sa
from alembic import op

revision = "0038"
down_revision = "0037"
branch_labels = None
depends_on = None

_TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")
_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "agreements",
        sa.Column("site", _TEXT, primary_key=True, nullable=False, server_default="home"),
        sa.Column("person", _TEXT, primary_key=True, nullable=False),
        *(
            sa.Column(name, _NUMBER, nullable=False)
            for name in ("version", "months", "agreed_round", "child_round", "parent_round", "reminded")
        ),
        *(
            sa.Column(name, _TEXT, nullable=False)
            for name in ("promises", "words", "child_terms", "parent_terms", "parent")
        ),
        *(sa.Column(name, sa.Float, nullable=False) for name in ("child_at", "parent_at", "agreed_at", "look_at")),
    )
    op.create_table(
        "rules_told",
        sa.Column("site", _TEXT, primary_key=True, nullable=False, server_default="home"),
        sa.Column("person", _TEXT, primary_key=True, nullable=False),
        *(sa.Column(name, _TEXT, nullable=False) for name in ("rules", "privacy", "raised")),
        *(sa.Column(name, sa.Float, nullable=False) for name in ("raised_at", "begins_at")),
    )
    op.create_table(
        "rule_changes",
        sa.Column("id", _NUMBER, primary_key=True),
        sa.Column("site", _TEXT, nullable=False, server_default="home"),
        *(sa.Column(name, _TEXT, nullable=False) for name in ("person", "before", "after", "reason")),
        sa.Column("at", sa.Float, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("rule_changes_person", "rule_changes", ["person", "at"])


def downgrade() -> None:
    for table in ("agreements", "rules_told", "rule_changes"):
        op.drop_table(table)
