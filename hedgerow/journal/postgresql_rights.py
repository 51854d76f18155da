"""The rights of roles on PostgreSQL: the tables' owner sees every site, all others the one that `site_roles` names for
them.

Row-level security adds the site to each statement of a role that does not own the tables, whatever the statement says.
Rights to columns say what it may do with the rows: decisions, events and versions of the rules are only ever added,
unless the role manages its site. Statements are only ever added by all of them.

A site's role has no right to a whole table but SELECT: any other one is also a right to lock the table, for all sites.
It chooses no number of a row, which another site might get next. It deletes rows by a function.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Delete, Engine, Table, func, literal_column, select, text
from sqlalchemy.exc import DatabaseError

from hedgerow.journal.postgresql_schema import FUNCTIONS, NEVER_CHANGED, OF_THE_OWNER, ONLY_ADDED, ONLY_READ
from hedgerow.journal.store import JournalError, Rights, UnreachableStoreError
from hedgerow.journal.tables import metadata

_OF_THE_STORE = ("alembic_version", "site_changes", "site_roles")
_SITE = "site = (SELECT site FROM site_roles WHERE role = session_user)"
_GROUP = (
    "SELECT '@' || group_name FROM site_groups WHERE site_groups.site = (SELECT site FROM site_roles WHERE role ="
    " session_user)"
)
_ABOVE = {"policy_versions": f"site = '@' OR site = ({_GROUP})", "site_changes": "site LIKE '@%'"}
"""Rows of other names that a site may read: versions of the organisation's and its group's policy, and numbers of their
changes.
"""
_OWN_ROW = "role = session_user"

MAX_CONNECTIONS = 24
"""Connections of one role. A node keeps up to five, and opens some more while many people use its pages."""

_DELETE_ROWS = f"hedgerow_delete_rows({FUNCTIONS['hedgerow_delete_rows']})"
_IDLE, _LONG, _WAITING = "20 seconds", "15 minutes", "3 seconds"
_END_ALL = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = :role AND datname = current_database()"
)
_END_HOLDING_UP = text("""
WITH found AS MATERIALIZED (  -- else each process might be ended before it is looked at
    SELECT pid, usename FROM pg_stat_activity AS activity JOIN site_roles ON role = usename
    WHERE datname = current_database() AND (
        (state LIKE 'idle in transaction%' AND state_change < clock_timestamp() - CAST(:idle AS interval))
        OR xact_start < clock_timestamp() - CAST(:long AS interval)
        OR EXISTS (SELECT FROM pg_locks WHERE pid = activity.pid AND locktype = 'advisory' AND granted)
        OR (NOT EXISTS (SELECT FROM pg_locks WHERE pid = activity.pid AND NOT granted) AND EXISTS (
            SELECT FROM pg_locks AS wanted JOIN pg_stat_activity AS other USING (pid)
            WHERE NOT granted AND waitstart < clock_timestamp() - CAST(:waiting AS interval) AND other.usename <> activity.usename
            AND activity.pid = ANY (pg_blocking_pids(wanted.pid))
        ))
    )
) SELECT usename FROM found WHERE pg_terminate_backend(pid)
""")  # noqa: E501
_UNBOUNDED = text("""
SELECT role FROM site_roles JOIN pg_roles ON rolname = role
WHERE rolconnlimit < 0 OR NOT (pg_has_role(rolname, 'USAGE') OR pg_has_role('pg_signal_backend', 'USAGE')) ORDER BY role
""")
_RIGHTS = text("""
SELECT session_user AS role, pg_has_role(owned.relowner, 'USAGE') AS is_owner, to_regclass('site_roles') IS NOT NULL AS has_roles
FROM pg_class owned WHERE oid = to_regclass('decisions')
""")  # noqa: E501


def separate_sites(connection: Connection) -> None:
    """Let each role but the owner see its own site's rows only, and give all roles their rights to the tables of this
    version.
    """
    conditions = {**dict.fromkeys((*metadata.tables, "site_changes"), _SITE), "site_roles": _OWN_ROW}
    for table, condition in conditions.items():
        connection.execute(text(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY"))
        connection.execute(text(f"DROP POLICY IF EXISTS own_site ON {table}"))
        connection.execute(text(f"CREATE POLICY own_site ON {table} USING ({condition})"))
    for table, condition in _ABOVE.items():
        connection.execute(text(f"DROP POLICY IF EXISTS levels_above ON {table}"))
        connection.execute(text(f"CREATE POLICY levels_above ON {table} FOR SELECT USING ({condition})"))
    database = _quote(connection, str(connection.scalar(text("SELECT current_database()"))))
    connection.execute(text(f"REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC"))
    for role, may_manage in connection.execute(text("SELECT role, may_manage FROM site_roles")).all():
        _give_rights(connection, role, may_manage=may_manage)


def own_rights(connection: Connection, site: str | None = None) -> Rights:
    """Return the rights of the connection's role.

    Raises `JournalError` if it has none, or is that of another site than `site`.
    """
    found = connection.execute(_RIGHTS).one_or_none()
    if found is None or found.is_owner or not found.has_roles:  # there are no tables yet, or none with rights
        return Rights()
    query = text("SELECT site, may_manage FROM site_roles WHERE role = session_user")
    given = connection.execute(query).one_or_none() if _may_read(connection, "site_roles") else None
    if given is None:
        raise UnreachableStoreError(
            f"the role {found.role} has no rights to this store: give it some with `hedgerow store grant`"
        )
    if site not in (None, given.site):
        raise JournalError(
            f"the role {found.role} is for the site {given.site}, and network.site is {site}: write site: {given.site}"
        )
    return Rights(given.site, given.may_manage)


def grant_site(connection: Connection, role: str, site: str, *, may_manage: bool) -> None:
    """Give an existing role the rights of a site's node. It loses those of another site. Raises `JournalError`."""
    if (
        connection.scalar(text("SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = :role"), {"role": role})
        is not False
    ):
        raise JournalError(f"there is no role {role}, or it is a superuser, who may read everything")
    row = {"role": role, "site": site, "may_manage": may_manage}
    values = "INSERT INTO site_roles VALUES (:role, :site, :may_manage)"
    connection.execute(text(f"{values} ON CONFLICT (role) DO UPDATE SET site = :site, may_manage = :may_manage"), row)
    _give_rights(connection, role, may_manage=may_manage)


def may_make_roles(connection: Connection) -> bool:
    """Return True if the connection's role may make others."""
    return bool(connection.scalar(text("SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user")))


def make_role(connection: Connection, role: str, password: str) -> None:
    """Make a role that may sign in, or give the one that there is another password.

    The server gets a hash only. Raises DatabaseError.
    """
    driver: Any = connection.connection.driver_connection
    verifier = driver.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    is_there = connection.scalar(text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role})
    connection.exec_driver_sql(
        f"{'ALTER' if is_there else 'CREATE'} ROLE {_quote(connection, role)} LOGIN PASSWORD '{verifier}'"
    )


def role_for(connection: Connection, site: str, node: str = "") -> str:
    """Return the name of the role of a site, or of one of its nodes: roles belong to all databases of a server."""
    database = str(connection.scalar(text("SELECT current_database()")))
    return "_".join(part.replace("-", "_") for part in (database, site, node) if part)


def revoke_site(engine: Engine, role: str) -> bool:
    """Take a role's rights and end its connections. Returns False if it has no rights. Raises DatabaseError."""
    with engine.begin() as connection:
        if not connection.execute(text("DELETE FROM site_roles WHERE role = :role"), {"role": role}).rowcount:
            return False
        _take_rights(connection, role)
        if may_make_roles(connection):
            connection.execute(text(f"ALTER ROLE {_quote(connection, role)} NOLOGIN"))
    with engine.begin() as connection:  # it can't connect again by now
        connection.execute(_END_ALL, {"role": role})
    return True


def unbounded_roles(connection: Connection) -> list[str]:
    """Return the roles of sites that may open any number of connections, or whose connections the owner can't end."""
    return list(connection.scalars(_UNBOUNDED))


def end_holding_up(connection: Connection, *, idle: str = _IDLE) -> list[str]:
    """End the connections of sites' roles that hold up others.

    Returns the roles, one for each connection. Raises DatabaseError.

    A node of Hedgerow never does: its transactions are short, and it locks nothing but its own rows. `idle` is the
    interval for which a transaction may do nothing, as PostgreSQL writes it.
    """
    return list(connection.scalars(_END_HOLDING_UP, {"idle": idle, "long": _LONG, "waiting": _WAITING}))


def delete_by_function(
    _connection: Connection, statement: Any, several: Any, parameters: Any, _options: Any
) -> tuple[Any, Any, Any]:
    """Turn a DELETE into a call of the function by which a site's role deletes.

    Listens to SQLAlchemy's event `before_execute`.
    """
    if not isinstance(statement, Delete) or not isinstance(statement.table, Table):
        return statement, several, parameters
    place: tuple[ColumnElement[Any], ...] = (
        literal_column("tableoid").label("part"),
        literal_column("ctid").label("place"),
    )
    rows = select(*place).select_from(statement.table)
    if statement.whereclause is not None:
        rows = rows.where(statement.whereclause)
    found = rows.with_for_update().subquery("found")
    arrays = [func.array_agg(column) for column in found.c]
    call = select(func.hedgerow_delete_rows(literal_column(f"'{statement.table.name}'"), *arrays)).select_from(found)
    return call.execution_options(preserve_rowcount=True), several, parameters


def _give_rights(connection: Connection, role: str, *, may_manage: bool) -> None:
    _take_rights(connection, role)
    name, schema = _quote(connection, role), _quote(connection, str(connection.scalar(text("SELECT current_schema()"))))
    added = NEVER_CHANGED if may_manage else (*ONLY_ADDED, *NEVER_CHANGED)
    read = OF_THE_OWNER if may_manage else (*ONLY_READ, *OF_THE_OWNER)
    connection.execute(text(f"GRANT SELECT ON {', '.join((*metadata.tables, *_OF_THE_STORE))} TO {name}"))
    for table in metadata.tables.values():
        if table.name not in read:
            columns = ", ".join(column.name for column in table.c if not _is_number(column))
            rights = f"INSERT ({columns})" if table.name in added else f"INSERT ({columns}), UPDATE ({columns})"
            connection.execute(text(f"GRANT {rights} ON {table.name} TO {name}"))
    # the texts may become known later than the rules
    connection.execute(text(f"GRANT UPDATE (files) ON rule_versions TO {name}"))
    connection.execute(text(f"GRANT USAGE ON SCHEMA {schema} TO {name}"))
    connection.execute(text(f"GRANT USAGE ON SEQUENCE {', '.join(_sequences(connection))} TO {name}"))
    connection.execute(text(f"GRANT EXECUTE ON FUNCTION {_DELETE_ROWS} TO {name}"))
    if may_make_roles(connection):
        _bound(connection, role)


def _bound(connection: Connection, role: str) -> None:
    """Limit a role's connections, and let the owner see and end them.

    Does nothing for a role that the owner may not change.
    """
    name = _quote(connection, role)
    with suppress(DatabaseError), connection.begin_nested():
        connection.execute(text(f"ALTER ROLE {name} CONNECTION LIMIT {MAX_CONNECTIONS}"))
        connection.execute(text(f"GRANT {name} TO CURRENT_USER"))


def _take_rights(connection: Connection, role: str) -> None:
    name, tables = _quote(connection, role), ", ".join((*metadata.tables, *_OF_THE_STORE))
    connection.execute(text(f"REVOKE ALL ON {tables} FROM {name}"))
    connection.execute(text(f"REVOKE ALL ON FUNCTION {_DELETE_ROWS} FROM {name}"))


def _is_number(column: Column[Any]) -> bool:
    """Return True for the column that numbers the rows of a table."""
    return column.name == "id" and column.type.python_type is int


def _sequences(connection: Connection) -> list[str]:
    """Return the sequences that number the rows of our tables, quoted."""
    numbered = [name for name, table in metadata.tables.items() if any(map(_is_number, table.c))]
    return [str(connection.scalar(text(f"SELECT pg_get_serial_sequence('{name}', 'id')"))) for name in numbered]


def _may_read(connection: Connection, table: str) -> bool:
    return bool(connection.scalar(text("SELECT has_table_privilege(:table, 'SELECT')"), {"table": table}))


def _quote(connection: Connection, name: str) -> str:
    return connection.dialect.identifier_preparer.quote(name)
