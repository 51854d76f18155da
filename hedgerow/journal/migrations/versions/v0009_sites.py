"""A site on every row that records an event or a state, so that several sites can share one journal.

No index of the decisions changes: building one anew takes minutes on a small machine, and nothing is filtered
meanwhile.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_SITE = "home"
_PLAIN = (
    "decisions",
    "access_requests",
    "grants",
    "pauses",
    "events",
    "policy_changes",
    "bonuses",
    "sittings",
    "codes",
    "vouchers",
    "notices",
)
_COUNTS = ("device", "verdict", "reason", "what")


def upgrade() -> None:
    for table in _PLAIN:
        op.add_column(table, _site())
    for table, columns in _keyed_tables().items():
        _rebuild(table, [_site(primary_key=True), *columns], [column.name for column in columns])
    op.create_index("usage_hour", "usage", ["site", "hour"])


def downgrade() -> None:
    for table in _PLAIN:
        op.drop_column(table, "site")
    for table, columns in _keyed_tables().items():
        _rebuild(table, columns, [column.name for column in columns])
    op.create_index("usage_hour", "usage", ["hour"])


def _keyed_tables() -> dict[str, list[sa.Column[Any]]]:
    """The tables whose primary key includes the site, with their other columns."""
    seen: list[sa.Column[Any]] = [
        _text("address"),
        sa.Column("mac", sa.String),
        _text("name"),
        sa.Column("person", sa.String),
    ]
    seen += [_text("profile")]
    seen += [sa.Column(name, sa.Float, nullable=False) for name in ("first_seen", "last_seen")]
    minutes: sa.Column[Any] = sa.Column("minutes", sa.BigInteger, nullable=False)
    return {
        "hourly": [_number("hour", primary_key=True), *_key(*_COUNTS), _number("count")],
        "daily": [_number("day", primary_key=True), *_key(*_COUNTS), _number("count")],
        "devices_seen": [*_key("device"), *seen],
        "usage": [*_key("account", "subject"), _number("hour", primary_key=True), minutes],
    }


def _rebuild(table: str, columns: Sequence[sa.Column[Any]], copied: Sequence[str]) -> None:
    """Replace a table by one with another primary key. Its indexes go with the old one."""
    op.create_table(f"{table}_new", *columns)
    names = ", ".join(copied)
    op.execute(f"INSERT INTO {table}_new ({names}) SELECT {names} FROM {table}")  # noqa: S608 (constant names)
    op.drop_table(table)
    op.rename_table(f"{table}_new", table)


def _site(*, primary_key: bool = False) -> sa.Column[Any]:
    return sa.Column("site", sa.String, primary_key=primary_key, nullable=False, server_default=_SITE)


def _key(*names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, sa.String, primary_key=True) for name in names]


def _text(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.String, nullable=False)


def _number(name: str, *, primary_key: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Integer, primary_key=primary_key, nullable=False)
