"""One form of write at a time: what the rows were before, the write through a proxy, its undo to the
same rows, its redo to those that it had made.

A case is data: what is there, what is written and how, and which gaps it may leave. It is written in a
schema of its own for each way of sending it, under one tag.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg
from fix_postgres import VERSIONS, Database
from psycopg import Connection, RawCursor
from psycopg.rows import dict_row

from proxy.demo.command import Serving

# A statement, or one and its parameters ($1).
Step = str | tuple[Any, ...]
Open = Callable[..., Connection]

SIMPLE, EXTENDED, PREPARED = "simple", "extended", "prepared"
EVERY_WAY: Final = (SIMPLE, EXTENDED, PREPARED)
TWO_WAYS: Final = (SIMPLE, PREPARED)

# As pg_dump reads rows.
AS_DUMPED: Final = (
    "-c DateStyle=ISO -c IntervalStyle=postgres -c extra_float_digits=3 -c TimeZone=UTC"
)
ROWS: Final = """
SELECT c.oid::regclass::text FROM pg_class c
 WHERE c.relkind = 'r' AND c.relnamespace = ANY (%s::regnamespace[]) ORDER BY 1
"""
# What an undo has its hands on besides rows.
STATE: Final = """
SELECT t.tgrelid::regclass || ' ' || t.tgname || ' ' || t.tgenabled::text
  FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
 WHERE c.relnamespace = ANY (%(schemas)s::regnamespace[])
UNION ALL
SELECT k.conrelid::regclass || ' ' || k.conname || ' ' || k.convalidated || pg_get_constraintdef(k.oid)
  FROM pg_constraint k WHERE k.connamespace = ANY (%(schemas)s::regnamespace[])
UNION ALL
SELECT c.oid::regclass || ' ' || c.relhastriggers || c.relrowsecurity || c.relforcerowsecurity
  FROM pg_class c WHERE c.relnamespace = ANY (%(schemas)s::regnamespace[])
"""


@dataclass(frozen=True, slots=True)
class Case:
    """`writes`: steps, each in autocommit, or a function of what opens tagged connections."""

    writes: tuple[Step, ...] | Callable[[Open], None]
    setup: str = ""
    ways: tuple[str, ...] = (SIMPLE,)
    user: str = "app"
    grants: str = "GRANT ALL ON ALL TABLES IN SCHEMA {0} TO PUBLIC"
    on: tuple[int, ...] = VERSIONS  # the versions of PostgreSQL that have it
    gaps: frozenset[tuple[str, str | None]] = frozenset()  # reason and relation; undo refuses then
    same: bool = False  # nothing is left of what was written
    again: bool = False  # undone a second time, so that the schemas serve the next case
    options: dict[str, str] = field(default_factory=dict)  # settings; {} stands for the schema


def names(cases: dict[str, Case], *on: int) -> list[str]:
    """Of those that these versions have, and no other."""
    return [name for name, case in cases.items() if case.on == on]


@dataclass(slots=True)
class Bed:
    """A database behind a proxy, where the log is installed."""

    database: Database
    serving: Serving
    direct: Connection
    cases: int = 0
    schemas: int = 0
    # Schemas that are as their cases' setup made them, by setup and grants.
    clean: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    @property
    def version(self) -> int:
        return self.database.server.version

    @property
    def tag(self) -> str:
        return f"case-{self.cases}"

    def prove(self, case: Case) -> None:
        self.cases += 1
        schemas = [self.given(case) for _ in case.ways]
        before = self.content(schemas)
        for schema, way in zip(schemas, case.ways, strict=True):
            with self.clients(schema, case) as open_:
                write(case, way, open_)
        after = self.content(schemas)
        assert self.gaps() == case.gaps
        assert (after == before) is case.same
        if case.same:
            assert self.changes() == 0
        elif case.gaps:
            assert self.undo()["outcome"] == "gaps"
            assert self.content(schemas) == after
        else:
            self.there_and_back(schemas, before, after)
            if case.again:
                assert self.undo()["outcome"] == "done"
                assert self.content(schemas) == before
        if case.again or case.same:
            self.clean.setdefault((case.setup, case.grants), []).extend(schemas)

    def there_and_back(self, schemas: list[str], before: list[str], after: list[str]) -> None:
        undone = self.undo()
        assert undone["outcome"] == "done", undone
        assert self.content(schemas) == before
        redone = self.console(f"REDO {undone['undo_id']}")
        assert redone["outcome"] == "done", redone
        assert self.content(schemas) == after

    def given(self, case: Case) -> str:
        """A schema with what the case needs."""
        if clean := self.clean.get((case.setup, case.grants)):
            return clean.pop(0)
        self.schemas += 1
        schema = f"forms_{self.schemas}"
        with self.direct.transaction():
            self.direct.execute(
                f"CREATE SCHEMA {schema}; SET search_path = {schema}, public;"
                f"GRANT ALL ON SCHEMA {schema} TO PUBLIC;"
                f"{case.setup}; {case.grants.format(schema)}"
            )
            # What the setup dropped itself is no gap of the case's.
            self.direct.execute("DELETE FROM hotrollback.gap WHERE pid = pg_backend_pid()")
        return schema

    def content(self, schemas: list[str]) -> list[str]:
        """Their rows as pg_dump reads them, and the state of what guards these."""
        found = [row[0] for row in self.direct.execute(STATE, {"schemas": schemas})]
        for (table,) in self.direct.execute(ROWS, (schemas,)).fetchall():
            with self.direct.cursor().copy(f"COPY (SELECT * FROM ONLY {table}) TO STDOUT") as rows:
                found += [f"{table}: {bytes(row)!r}" for row in rows]
        return sorted(found)

    @contextmanager
    def clients(self, schema: str, case: Case) -> Iterator[Open]:
        """What opens connections through the proxy; they are closed at the end."""
        opened: list[Connection] = []
        basis = {"search_path": f"{schema},public", "hotrollback.tag": self.tag, **case.options}

        def open_(user: str = case.user, **settings: str) -> Connection:
            given = {k: v.format(schema) for k, v in {**basis, **settings}.items()}
            connection = psycopg.connect(
                f"postgresql://{user}@127.0.0.1:{self.serving.port}/{self.database.name}",
                autocommit=True,
                sslmode="disable",
                options=" ".join(
                    "-c {}={}".format(k, v.replace(" ", "\\ ")) for k, v in given.items()
                ),
            )
            opened.append(connection)
            return connection

        yield open_
        for connection in opened:
            connection.close()

    def rows(self, command: str) -> list[dict[str, Any]]:
        """What the admin console answers."""
        with psycopg.connect(
            host=str(self.serving.admin), port=6433, dbname="hotrollback", autocommit=True
        ) as admin:
            cursor = admin.cursor(row_factory=dict_row)
            return cursor.execute(command).fetchall()

    def console(self, command: str) -> dict[str, Any]:
        """The report that an undo or a redo answers."""
        (row,) = self.rows(f"{command} IN DATABASE {self.database.name} AS JSON")
        return row["report"]

    def undo(self) -> dict[str, Any]:
        return self.console(f"UNDO TAG '{self.tag}'")

    def gaps(self) -> set[tuple[str, str | None]]:
        """Those that nobody's tag stands at count, too."""
        found = self.direct.execute(
            "SELECT g.reason, c.relname FROM hotrollback.gap g LEFT JOIN pg_class c ON c.oid = g.relid"
            " WHERE g.tag = %s OR g.tag IS NULL",
            (self.tag,),
        )
        return set(found.fetchall())

    def changes(self) -> int:
        found = self.direct.execute(
            "SELECT count(*) FROM hotrollback.change WHERE tag = %s", (self.tag,)
        )
        return found.fetchall()[0][0]


def write(case: Case, way: str, open_: Open) -> None:
    if callable(case.writes):
        case.writes(open_)
        return
    connection = open_()
    for step in case.writes:
        text, *values = step if isinstance(step, tuple) else (step,)
        send(connection, text, values or None, way)


def send(connection: Connection, text: str, values: Any, way: str) -> RawCursor:
    """As a simple query; as unnamed statement and portal, answered in binary; or prepared by name."""
    cursor = RawCursor(connection)
    return cursor.execute(text, values, prepare=way == PREPARED, binary=way == EXTENDED)
