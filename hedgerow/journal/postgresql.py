"""PostgreSQL as the journal's engine: one database for the nodes of a site, or for many sites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import psycopg
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Engine,
    Insert,
    Select,
    String,
    Table,
    bindparam,
    cast,
    create_engine,
    event,
    func,
    select,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DatabaseError, OperationalError

from hedgerow.journal import postgresql_rights, postgresql_schema
from hedgerow.journal.lanes import MAX_CONNECTIONS
from hedgerow.journal.postgresql_connection import ChangeListener, Connector, may_pass, open_error
from hedgerow.journal.store import Dialect, JournalError, NewestRows, Rights, StoreAddress, cause_of

_KEPT_CONNECTIONS = 4
_NOT_REWRITTEN = "Copies remain in the files of the tables until the role that owns them rewrites these (VACUUM FULL)."
_LEFTOVERS = "Copies may remain in the server's write-ahead log for a while, and in its backups and replicas"


@dataclass(frozen=True, slots=True)
class PostgresDialect(Dialect):
    """The dialect of the database at `address`."""

    address: StoreAddress

    has_one_writer = False
    is_partitioned = True
    snapshot_isolation = "REPEATABLE READ"
    insert_into = staticmethod(insert)

    def open(self) -> Engine:
        """Return the engine. It connects when it is used first."""
        connector = Connector(self.address)
        engine = create_engine(
            "postgresql+psycopg://",
            creator=connector.connect,
            pool_size=_KEPT_CONNECTIONS,
            max_overflow=MAX_CONNECTIONS - _KEPT_CONNECTIONS,
        )
        event.listen(engine, "checkout", lambda connection, _record, _proxy: connector.check(connection))
        event.listen(engine, "handle_error", _unify_errors)
        return engine

    def open_error(self, error: Exception) -> JournalError:
        return open_error(error, self.address)

    def lock_schema(self, connection: Connection) -> None:
        postgresql_schema.lock_migrations(connection)

    def limit_turn(self, connection: Connection, seconds: float) -> None:
        for setting in ("lock_timeout", "idle_in_transaction_session_timeout"):
            connection.execute(text(f"SET LOCAL {setting} = {seconds * 1000:.0f}"))

    def create_schema(self, connection: Connection) -> None:
        postgresql_schema.create_tables(connection)

    def complete_schema(self, connection: Connection) -> None:
        postgresql_schema.create_functions(connection)
        postgresql_rights.separate_sites(connection)

    def rights(self, connection: Connection, site: str | None = None) -> Rights:
        return postgresql_rights.own_rights(connection, site)

    def restrict(self, engine: Engine, rights: Rights) -> None:
        if rights.site is not None:
            event.listen(engine, "before_execute", postgresql_rights.delete_by_function, retval=True)

    def end_holding_up(self, engine: Engine) -> Sequence[str]:
        with engine.begin() as connection:
            return postgresql_rights.end_holding_up(connection)

    def facts(self, connection: Connection) -> dict[str, str | int]:
        rights = postgresql_rights.own_rights(connection)
        found = postgresql_schema.facts(connection) | {"site": rights.site or "all", "rights": str(rights)}
        unbounded = postgresql_rights.unbounded_roles(connection) if rights.site is None else []
        return found | ({"unbounded roles": ", ".join(unbounded)} if unbounded else {})

    def prepare_days(self, connection: Connection, first: float, last: float) -> None:
        postgresql_schema.prepare_days(connection, first, last)

    def drop_days(self, engine: Engine, before: float) -> int:
        return postgresql_schema.drop_days(engine, before)

    def continue_numbers(self, connection: Connection, tables: Sequence[Table]) -> None:
        for table in tables:
            name = text(f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), max(id)) FROM {table.name}")  # noqa: S608 (our names)
            connection.execute(name)

    def insert_rows(
        self, connection: Connection, statement: Insert, site: str, rows: Sequence[Mapping[str, Any]]
    ) -> None:
        """Insert all rows by one statement, with an array for each column: the server plans a statement for each
        execution.
        """
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        connection.execute(_from_arrays(statement, tuple(columns)), columns | {"of_site": site})

    def greatest(self, first: Any, second: Any) -> ColumnElement[Any]:
        return func.greatest(first, second)

    def floor(self, value: ColumnElement[Any]) -> ColumnElement[int]:
        return cast(func.floor(value), BigInteger)

    def unindexed(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        """Return the column itself: this planner has statistics, and leaves out days by their instants."""
        return column

    def newest_of_each(self, texts: Sequence[str], newest: NewestRows, columns: Sequence[Column[Any]]) -> Select[Any]:
        names = select(func.unnest(cast(list(texts), ARRAY(String))).label("value")).subquery("wanted")
        rows = newest(names.c.value, columns).lateral("newest")
        return select(*(rows.c[column.name] for column in columns)).select_from(names.join(rows, true()))

    def changes(self, site: str) -> ChangeListener:
        return ChangeListener(Connector(self.address), site)

    def is_full(self, error: BaseException) -> bool:
        return isinstance(getattr(error, "orig", error), psycopg.errors.DiskFull)

    def is_damaged(self, _error: BaseException) -> bool:
        """Return False: a damaged database is the server's to recover."""
        return False

    def may_pass(self, error: BaseException) -> bool:
        return may_pass(error)

    def free_bytes(self) -> int | None:
        return None

    def purge_deleted(self, engine: Engine) -> str:
        """Rewrite all tables with personal data, and the planner's statistics, which hold examples of their values.

        What the write-ahead log holds is overwritten in time; with `wal_recycle = off` and the rights to switch and to
        checkpoint it is removed at once.
        """
        try:
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                if postgresql_rights.own_rights(connection).site is not None:  # for whom VACUUM would do nothing
                    return _NOT_REWRITTEN
                for table in postgresql_schema.rewritten_tables(connection):
                    connection.execute(text(f"VACUUM (FULL, ANALYZE) {table}"))
                return _purge_server(connection)
        except DatabaseError as error:
            return f"The tables cannot be rewritten: {cause_of(error)}."


@lru_cache(maxsize=16)
def _from_arrays(statement: Insert, names: tuple[str, ...]) -> Insert:
    """Return the statement that inserts the rows of an array for each column."""
    table = statement.table
    arrays = [bindparam(name, type_=ARRAY(table.c[name].type)) for name in names]
    wanted = select(bindparam("of_site", type_=String), *func.unnest(*arrays).table_valued(*names).render_derived().c)
    return statement.from_select(["site", *names], wanted)


def _purge_server(connection: Connection) -> str:
    """Remove traces outside our tables. Returns a sentence about those that may be left."""
    try:
        for statement in ("VACUUM FULL pg_statistic", "SELECT pg_switch_wal()", "CHECKPOINT"):
            connection.execute(text(statement))
        is_recycled = connection.scalar(text("SHOW wal_recycle")) == "on"
    except DatabaseError as error:
        return f"{_LEFTOVERS} ({' '.join(cause_of(error).split())})."
    return f"{_LEFTOVERS} (wal_recycle is on)." if is_recycled else ""


def _unify_errors(context: ExceptionContext) -> None:
    """Report a connection that was lost as an OperationalError, as other errors of the database are."""
    if isinstance(context.original_exception, psycopg.InterfaceError):
        statement, parameters = context.statement or "", context.parameters
        raise OperationalError(statement, parameters, context.original_exception) from context.original_exception
