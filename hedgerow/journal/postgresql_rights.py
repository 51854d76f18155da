"""The rights of roles on PostgreSQL: the tables' owner sees every site, all others the one that `site_roles` names for them.

Row-level security adds the site to each statement of a role that does not own the tables, whatever the statement says. Rights to tables say
what it may do with the rows: decisions, events and versions of the rules are only ever added, unless the role manages its site. Statements
are only ever added by all of them.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, text

from hedgerow.journal.store import JournalError, Rights, UnreachableStoreError
from hedgerow.journal.tables import metadata

_ONLY_ADDED = ("decisions", "events", "rule_versions", "counter_entries")
_NEVER_CHANGED = ("statements",)
_ONLY_READ = ("policy_changes", "policy_versions")
_OF_THE_OWNER = ("site_groups",)
_OF_THE_STORE = ("alembic_version", "site_changes", "site_roles")
_SITE = "site = (SELECT site FROM site_roles WHERE role = session_user)"
_GROUP = "SELECT '@' || group_name FROM site_groups WHERE site_groups.site = (SELECT site FROM site_roles WHERE role = session_user)"
_ABOVE = {"policy_versions": f"site = '@' OR site = ({_GROUP})", "site_changes": "site LIKE '@%'"}
"""Rows of other names that a site may read: versions of the organisation's and its group's policy, and numbers of their changes."""
_OWN_ROW = "role = session_user"

_RIGHTS = text("""
SELECT session_user AS role, pg_has_role(owned.relowner, 'USAGE') AS is_owner, to_regclass('site_roles') IS NOT NULL AS has_roles
FROM pg_class owned WHERE oid = to_regclass('decisions')
""")


def separate_sites(connection: Connection) -> None:
    """Let each role but the owner see its own site's rows only, and give all roles their rights to the tables of this version."""
    conditions = {**dict.fromkeys((*metadata.tables, "site_changes"), _SITE), "site_roles": _OWN_ROW}
    for table, condition in conditions.items():
        connection.execute(text(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY"))
        connection.execute(text(f"DROP POLICY IF EXISTS own_site ON {table}"))
        connection.execute(text(f"CREATE POLICY own_site ON {table} USING ({condition})"))
    for table, condition in _ABOVE.items():
        connection.execute(text(f"DROP POLICY IF EXISTS levels_above ON {table}"))
        connection.execute(text(f"CREATE POLICY levels_above ON {table} FOR SELECT USING ({condition})"))
    for role, may_manage in connection.execute(text("SELECT role, may_manage FROM site_roles")).all():
        _give_rights(connection, role, may_manage=may_manage)


def own_rights(connection: Connection, site: str | None = None) -> Rights:
    """Return the rights of the connection's role. Raises `JournalError` if it has none, or is that of another site than `site`."""
    found = connection.execute(_RIGHTS).one_or_none()
    if found is None or found.is_owner or not found.has_roles:  # there are no tables yet, or none with rights
        return Rights()
    query = text("SELECT site, may_manage FROM site_roles WHERE role = session_user")
    given = connection.execute(query).one_or_none() if _may_read(connection, "site_roles") else None
    if given is None:
        raise UnreachableStoreError(f"the role {found.role} has no rights to this store: give it some with `hedgerow store grant`")
    if site not in (None, given.site):
        raise JournalError(f"the role {found.role} is for the site {given.site}, and network.site is {site}: write site: {given.site}")
    return Rights(given.site, given.may_manage)


def grant_site(connection: Connection, role: str, site: str, *, may_manage: bool) -> None:
    """Give an existing role the rights of a site's node. It loses those of another site. Raises `JournalError`."""
    if connection.scalar(text("SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = :role"), {"role": role}) is not False:
        raise JournalError(f"there is no role {role}, or it is a superuser, who may read everything")
    row = {"role": role, "site": site, "may_manage": may_manage}
    values = "INSERT INTO site_roles VALUES (:role, :site, :may_manage)"
    connection.execute(text(f"{values} ON CONFLICT (role) DO UPDATE SET site = :site, may_manage = :may_manage"), row)
    _give_rights(connection, role, may_manage=may_manage)


def may_make_roles(connection: Connection) -> bool:
    """Return True if the connection's role may make others."""
    return bool(connection.scalar(text("SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user")))


def make_role(connection: Connection, role: str, password: str) -> None:
    """Make a role that may sign in, or give the one that there is another password. The server gets a hash only. Raises DatabaseError."""
    driver: Any = connection.connection.driver_connection
    verifier = driver.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    is_there = connection.scalar(text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role})
    connection.exec_driver_sql(f"{'ALTER' if is_there else 'CREATE'} ROLE {_quote(connection, role)} LOGIN PASSWORD '{verifier}'")


def role_for(connection: Connection, site: str, node: str = "") -> str:
    """Return the name of the role of a site, or of one of its nodes: roles belong to all databases of a server."""
    database = str(connection.scalar(text("SELECT current_database()")))
    return "_".join(part.replace("-", "_") for part in (database, site, node) if part)


def revoke_site(connection: Connection, role: str) -> bool:
    """Take a role's rights, at once and also from its open connections. Returns False if it has none."""
    if not connection.execute(text("DELETE FROM site_roles WHERE role = :role"), {"role": role}).rowcount:
        return False
    _take_rights(connection, role)
    if may_make_roles(connection):
        connection.execute(text(f"ALTER ROLE {_quote(connection, role)} NOLOGIN"))
    return True


def _give_rights(connection: Connection, role: str, *, may_manage: bool) -> None:
    _take_rights(connection, role)
    name, schema = _quote(connection, role), _quote(connection, str(connection.scalar(text("SELECT current_schema()"))))
    added = _NEVER_CHANGED if may_manage else (*_ONLY_ADDED, *_NEVER_CHANGED)
    read = _OF_THE_OWNER if may_manage else (*_ONLY_READ, *_OF_THE_OWNER)
    changed = [table for table in metadata.tables if table not in (*added, *read)]
    rights = {"SELECT": [*read, *_OF_THE_STORE], "SELECT, INSERT": added, "SELECT, INSERT, UPDATE, DELETE": changed}
    for right, tables in rights.items():
        if tables:
            connection.execute(text(f"GRANT {right} ON {', '.join(tables)} TO {name}"))
    connection.execute(text(f"GRANT UPDATE (files) ON rule_versions TO {name}"))  # the texts may become known later than the rules
    connection.execute(text(f"GRANT USAGE ON SCHEMA {schema} TO {name}"))
    connection.execute(text(f"GRANT USAGE ON SEQUENCE {', '.join(_sequences(connection))} TO {name}"))


def _take_rights(connection: Connection, role: str) -> None:
    tables = ", ".join((*metadata.tables, *_OF_THE_STORE))
    connection.execute(text(f"REVOKE ALL ON {tables} FROM {_quote(connection, role)}"))


def _sequences(connection: Connection) -> list[str]:
    """Return the sequences that number the rows of our tables, quoted."""
    numbered = [name for name, table in metadata.tables.items() if "id" in table.c and table.c.id.type.python_type is int]
    return [str(connection.scalar(text(f"SELECT pg_get_serial_sequence('{name}', 'id')"))) for name in numbered]


def _may_read(connection: Connection, table: str) -> bool:
    return bool(connection.scalar(text("SELECT has_table_privilege(:table, 'SELECT')"), {"table": table}))


def _quote(connection: Connection, name: str) -> str:
    return connection.dialect.identifier_preparer.quote(name)
