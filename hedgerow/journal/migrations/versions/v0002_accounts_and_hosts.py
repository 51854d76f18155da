"""Accounts, sessions, tokens and changes of the policy; and hosts kept with their labels reversed, so that a domain is
one range.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _reverse_hosts()
    _make_accounts()
    op.create_table(
        "policy_changes",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("at", sa.Float, nullable=False),
        *_texts("giver", "summary", "before", "after"),
        sa.Column("undone_at", sa.Float),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    for table in ("policy_changes", "tokens", "sessions", "accounts"):
        op.drop_table(table)
    op.add_column("decisions", sa.Column("host", sa.String, nullable=False, server_default=""))
    _fill("host", "host_key")
    op.drop_index("decisions_host", "decisions")
    op.drop_column("decisions", "host_key")


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.String, nullable=False) for name in names]


def _reverse_hosts() -> None:
    op.add_column("decisions", sa.Column("host_key", sa.String, nullable=False, server_default=""))
    _fill("host_key", "host")
    op.drop_column("decisions", "host")
    op.create_index("decisions_host", "decisions", ["host_key", "id", "device", "verdict"])


def _fill(column: str, source: str) -> None:
    connection = op.get_bind()
    raw: Any = connection.connection.dbapi_connection
    raw.create_function("reversed_labels", 1, lambda name: ".".join(reversed(name.split("."))), deterministic=True)
    connection.exec_driver_sql(f"UPDATE decisions SET {column} = reversed_labels({source})")  # noqa: S608 (names of our own)


def _make_accounts() -> None:
    op.create_table(
        "accounts",
        sa.Column("name", sa.String, primary_key=True),
        *_texts("role", "password", "totp", "recovery"),
        sa.Column("created_at", sa.Float, nullable=False),
    )
    op.create_table(
        "sessions",
        sa.Column("id", sa.String, primary_key=True),
        *_texts("account", "address", "agent"),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("seen_at", sa.Float, nullable=False),
    )
    op.create_table(
        "tokens",
        sa.Column("id", sa.String, primary_key=True),
        *_texts("name", "scopes", "giver"),
        sa.Column("created_at", sa.Float, nullable=False),
    )
