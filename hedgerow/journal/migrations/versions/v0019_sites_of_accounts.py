"""A site on accounts, sign-ins and tokens too, so that those who are in charge of one site are nobody at another."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_SITE = "home"
_TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")
_SIGN_INS = ("web_sessions", "tokens")


def upgrade() -> None:
    for table in ("accounts", *_SIGN_INS):
        op.add_column(table, sa.Column("site", _TEXT, nullable=False, server_default=_SITE))
    _key_accounts("site", "name")


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET CONSTRAINTS ALL IMMEDIATE")  # triggers that wait keep a table from being changed
        for table in ("accounts", *_SIGN_INS):
            op.execute(f"DROP POLICY IF EXISTS own_site ON {table}")
    _key_accounts("name")
    for table in ("accounts", *_SIGN_INS):
        op.drop_column(table, "site")


def _key_accounts(*key: str) -> None:
    """Give the accounts another primary key, for which SQLite needs another table."""
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint("accounts_pkey", "accounts")
        op.create_primary_key("accounts_pkey", "accounts", list(key))
        return
    names = ("name", "role", "created_at", "password", "totp", "recovery", "site")
    op.create_table("accounts_new", *(_column(name, is_key=name in key) for name in names))
    listed = ", ".join(names)
    op.execute(f"INSERT INTO accounts_new ({listed}) SELECT {listed} FROM accounts")  # noqa: S608 (constant names)
    op.drop_table("accounts")
    op.rename_table("accounts_new", "accounts")


def _column(name: str, *, is_key: bool) -> sa.Column[Any]:
    default = _SITE if name == "site" else None
    return sa.Column(
        name,
        sa.Float if name == "created_at" else sa.String,
        primary_key=is_key,
        nullable=False,
        server_default=default,
    )
