"""The journal's tables on PostgreSQL.

They are created at once, by their description in `tables`, and migrated from then on as SQLite's are. Functions and
triggers are made anew after each migration. Decisions are partitioned by day of UTC, so that a day is forgotten by
dropping its table: `decisions_20261127`. `decisions_other` takes those of days without a table, such as of a clock that
is wrong. Only the owner makes the tables of days: that locks the others, for as long as the transaction lasts.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from sqlalchemy import Column, Connection, Engine, Index, MetaData, Table, func, select, text

from hedgerow.journal.tables import decisions, metadata
from hedgerow.policies.text.addresses import DEFAULT_SITE

DAY_S = 86400
LOCK = 0x4865646765726F77
"""The number of the advisory lock that is held while the tables are made."""

NEVER_CHANGED = ("statements",)
ONLY_ADDED = ("decisions", "events", "rule_versions", "counter_entries")
ONLY_READ = ("policy_changes", "policy_versions")
OF_THE_OWNER = ("site_groups",)
DELETED_BY_MANAGERS = (*ONLY_ADDED, *ONLY_READ)
DELETED_BY_NODES = tuple(
    name for name in metadata.tables if name not in (*DELETED_BY_MANAGERS, *NEVER_CHANGED, *OF_THE_OWNER)
)

_AHEAD = 10
"""Days prepared beyond those asked for, so that events find their table while the owner is away."""

_MIGRATION_TIMEOUT = "30s"
"""How long a migration may wait for locks, during which all others wait too."""

_DROP_TIMEOUT = "5s"
"""How long dropping a day may wait for long queries, during which all others wait too."""

_PREPARE_DAYS = """
CREATE OR REPLACE FUNCTION hedgerow_prepare_days(first bigint, last bigint) RETURNS integer
LANGUAGE plpgsql SET search_path = {schema}, pg_temp AS $$
DECLARE
    number bigint;
    name text;
    made integer = 0;
BEGIN
    IF last - first > 1000 THEN
        RAISE EXCEPTION 'too many days';
    END IF;
    FOR number IN first..last LOOP
        name = 'decisions_' || to_char(to_timestamp(number * 86400) AT TIME ZONE 'UTC', 'YYYYMMDD');
        IF to_regclass(name) IS NULL THEN
            BEGIN
                EXECUTE format(
                    'CREATE TABLE %I PARTITION OF decisions FOR VALUES FROM (%s) TO (%s)', name, number * 86400, (number + 1) * 86400
                );
                made = made + 1;
            EXCEPTION
                WHEN check_violation OR duplicate_table THEN NULL;  -- decisions_other has decisions of that day; another node was faster
            END;
        END IF;
    END LOOP;
    RETURN made;
END $$
"""  # noqa: E501

_SITE_ROLES = """
CREATE TABLE IF NOT EXISTS site_roles (role text COLLATE "C" PRIMARY KEY, site text COLLATE "C" NOT NULL, may_manage boolean NOT NULL)
"""  # noqa: E501
_SITE_CHANGES = """
CREATE TABLE IF NOT EXISTS site_changes (site text COLLATE "C" PRIMARY KEY, number bigint NOT NULL)
"""
_NOTE_CHANGE = """
CREATE OR REPLACE FUNCTION hedgerow_note_change() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
DECLARE
    changed text = (CASE TG_OP WHEN 'DELETE' THEN to_jsonb(OLD) ELSE to_jsonb(NEW) END) ->> 'site';
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE EXCEPTION 'this function is for the tables of the store';
    END IF;
    IF current_setting('hedgerow.noted', true) IS DISTINCT FROM 'site ' || changed THEN
        PERFORM set_config('hedgerow.noted', 'site ' || changed, true);
        INSERT INTO site_changes AS known VALUES (changed, 1) ON CONFLICT (site) DO UPDATE SET number = known.number + 1;
        PERFORM pg_notify({channel}, '');
    END IF;
    RETURN NULL;
END $$
"""  # noqa: E501
_CHAIN_STATEMENT = """
CREATE OR REPLACE FUNCTION hedgerow_chain_statement() RETURNS trigger
LANGUAGE plpgsql SET search_path = {schema}, pg_temp AS $$
DECLARE
    last statements;
BEGIN
    IF EXISTS (SELECT FROM site_roles WHERE role = session_user) THEN  -- a node's clock and word do not count
        SELECT * INTO last FROM statements WHERE site = NEW.site ORDER BY number DESC LIMIT 1;
        IF NEW.number <> coalesce(last.number, 0) + 1 OR NEW.previous <> coalesce(last.digest, '')
            OR NEW.digest <> encode(sha256(convert_to(NEW.body, 'UTF8')), 'hex') THEN
            RAISE EXCEPTION 'this statement does not follow the last one';
        END IF;
        NEW.received_at = extract(epoch FROM clock_timestamp());
        NEW.receipt = NULL;
    END IF;
    RETURN NEW;
END $$
"""
_DELETE_ROWS = """
CREATE OR REPLACE FUNCTION hedgerow_delete_rows(name text, parts oid[], rows tid[]) RETURNS SETOF boolean
LANGUAGE plpgsql STRICT SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
DECLARE
    own site_roles;
BEGIN
    SELECT * INTO own FROM site_roles WHERE role = session_user;
    IF own.role IS NULL OR NOT (name = ANY ({state}) OR (name = ANY ({recorded}) AND own.may_manage)) THEN
        RAISE insufficient_privilege USING MESSAGE = 'permission denied for table ' || name;
    END IF;
    RETURN QUERY EXECUTE format(
        'DELETE FROM %I AS kept USING unnest($1, $2) AS found (part, place)
        WHERE kept.tableoid = found.part AND kept.ctid = found.place AND kept.site = $3 RETURNING true', name
    ) USING parts, rows, own.site;
END $$
"""
"""The only way in which a site's role deletes rows.

The right to DELETE is also one to lock the whole table, for all sites.
"""

FUNCTIONS = {
    "hedgerow_prepare_days": "bigint, bigint",
    "hedgerow_note_change": "",
    "hedgerow_chain_statement": "",
    "hedgerow_delete_rows": "text, oid[], tid[]",
}
"""Our functions, each with the types of its arguments."""

CHANNEL = "'hedgerow_' || left(encode(sha256(convert_to({site}, 'UTF8')), 'hex'), 32)"
"""The channel of a site's changes, in SQL. Anybody may listen to any channel whose name they know."""

_WATCHED = {
    **dict.fromkeys(
        ("access_requests", "bonuses", "grants", "pauses", "remembered_sites", "sessions", "usage"), "INSERT OR UPDATE"
    ),
    **dict.fromkeys(("accounts", "tokens"), "INSERT OR UPDATE OR DELETE"),
    "web_sessions": "INSERT OR DELETE",
    "policy_versions": "INSERT",
    "site_groups": "INSERT OR UPDATE OR DELETE",
}
"""Tables of which every node keeps something in memory, and the changes of which it is to know.

The trigger waits for the end of the transaction, so that its row is locked last, and two transactions never wait for
each other.
"""

_DAYS = text(r"""
SELECT child.relname AS name FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid
WHERE inhparent = 'decisions'::regclass AND child.relname ~ '^decisions_\d{8}$' ORDER BY 1
""")


def lock_migrations(connection: Connection) -> None:
    """Keep other owners from migrating until the transaction ends.

    Only an owner can lock the table; anybody could hold the number.
    """
    connection.execute(text(f"SET LOCAL lock_timeout = '{_MIGRATION_TIMEOUT}'"))
    if connection.scalar(text("SELECT to_regclass('alembic_version')")) is None:
        connection.execute(select(func.pg_advisory_xact_lock(LOCK)))
    else:
        connection.execute(text("LOCK TABLE alembic_version IN EXCLUSIVE MODE"))


def create_tables(connection: Connection) -> None:
    """Create all tables and indexes in the first schema of the search path."""
    metadata.create_all(connection, tables=[table for table in metadata.sorted_tables if table is not decisions])
    partitioned_decisions().create(connection)
    connection.execute(text("CREATE TABLE decisions_other PARTITION OF decisions DEFAULT"))


def create_functions(connection: Connection) -> None:
    """Create functions and triggers, or replace those of an earlier version.

    The functions look for nothing in a node's own temporary schema, where it might put tables of the same names.
    """
    schema = connection.dialect.identifier_preparer.quote(connection.scalar(text("SELECT current_schema()")))
    channel = CHANNEL.format(site="CASE WHEN changed LIKE '@%' THEN '@' ELSE changed END")
    deletable = {"{state}": _array(DELETED_BY_NODES), "{recorded}": _array(DELETED_BY_MANAGERS)}
    for statement in (_SITE_CHANGES, _SITE_ROLES, _PREPARE_DAYS, _NOTE_CHANGE, _CHAIN_STATEMENT, _DELETE_ROWS):
        for name, value in {"{schema}": schema, "{channel}": channel, **deletable}.items():
            statement = statement.replace(name, value)
        connection.execute(text(statement))
    for name, types in FUNCTIONS.items():
        connection.execute(text(f"REVOKE ALL ON FUNCTION {name}({types}) FROM PUBLIC"))
    connection.execute(text("DROP TRIGGER IF EXISTS chain_statement ON statements"))
    chain = (
        "CREATE TRIGGER chain_statement BEFORE INSERT ON statements FOR EACH ROW EXECUTE FUNCTION"
        " hedgerow_chain_statement()"
    )
    connection.execute(text(chain))
    for table, changes in _WATCHED.items():
        when = "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hedgerow_note_change()"
        connection.execute(text(f"DROP TRIGGER IF EXISTS note_change ON {table}"))
        connection.execute(text(f"CREATE CONSTRAINT TRIGGER note_change AFTER {changes} ON {table} {when}"))


def _array(names: Iterable[str]) -> str:
    return "ARRAY[" + ", ".join(f"'{name}'" for name in names) + "]"


def partitioned_decisions() -> Table:
    """Return the table of decisions as it is on PostgreSQL: the day is in its key, and a site in front of
    each index.
    """
    columns = [
        Column(
            *(column.name, column.type),
            primary_key=column.name in ("id", "at"),
            autoincrement=column.name == "id",
            nullable=column.nullable,
            server_default=DEFAULT_SITE if column.name == "site" else None,
        )
        for column in decisions.columns
    ]
    indexes = [Index(f"decisions_{name}", "site", *rest) for name, rest in _INDEXES.items()]
    return Table("decisions", MetaData(), *columns, *indexes, postgresql_partition_by="RANGE (at)")


_INDEXES = {
    "id": ("id",),
    "at": ("at",),
    "device": ("device", "id"),
    "verdict": ("verdict", "id"),
    "host": ("host_key", "id"),
}


def prepare_days(connection: Connection, first: float, last: float) -> None:
    """Create the tables of the days from one instant to another, and of some days after that.

    Does nothing for a site's role.
    """
    days = {"first": int(first // DAY_S), "last": int(last // DAY_S) + _AHEAD}
    may = "SELECT has_function_privilege('hedgerow_prepare_days(bigint, bigint)', 'EXECUTE')"
    if connection.scalar(text(may)):
        connection.execute(text("SELECT hedgerow_prepare_days(:first, :last)"), days)


def day_tables(connection: Connection) -> list[str]:
    """Return the names of the tables of single days, the oldest first."""
    return list(connection.scalars(_DAYS))


def drop_days(engine: Engine, before: float) -> int:
    """Drop the tables of all days that end before an instant.

    Returns the number of decisions in them. Needs the tables' owner.
    """
    dropped = 0
    with engine.connect() as connection:
        names = [name for name in day_tables(connection) if _end_of(name) <= before]
    for name in names:
        with engine.begin() as connection:
            connection.execute(text(f"SET LOCAL lock_timeout = '{_DROP_TIMEOUT}'"))
            dropped += connection.scalar(text(f"SELECT count(*) FROM {name}")) or 0  # noqa: S608 (made of digits)
            connection.execute(text(f"DROP TABLE {name}"))
    return dropped


def _end_of(name: str) -> float:
    return (datetime.strptime(name[-8:], "%Y%m%d").replace(tzinfo=UTC) + timedelta(days=1)).timestamp()


def facts(connection: Connection) -> dict[str, str | int]:
    """Return the server's version, the role, the encryption of this connection, and the size of the database."""
    query = """
        SELECT current_setting('server_version') AS version, current_user AS role,
               coalesce((SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl), 'none') AS tls,
               pg_database_size(current_database()) AS bytes
    """
    return {
        "engine": "PostgreSQL",
        **connection.execute(text(query)).one()._mapping,
        "days": len(day_tables(connection)),
    }


def rewritten_tables(connection: Connection) -> list[str]:
    """Return the tables that hold personal data, as VACUUM takes them."""
    others = [name for name in metadata.tables if name != "decisions"]
    return [*day_tables(connection), "decisions_other", *others]
