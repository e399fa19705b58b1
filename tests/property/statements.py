"""Statements for a drawn schema, that write in every way there is.

They give all values, and read nothing but the rows that they write: so a replay is well defined.
"""

from collections.abc import Sequence

from columns import VALUES
from hypothesis import strategies as st
from schemas import SCHEMA, Column, Table, ident, literal
from workload import MODES, Statement


class Words:
    """A text in the making, with its numbered values."""

    def __init__(self) -> None:
        self.values: list[str | None] = []

    def value(self, column: Column, value: str | None) -> str:
        self.values.append(value)
        return f"${len(self.values)}::{column.type}"


def _value(draw: st.DrawFn, column: Column) -> str | None:
    values = VALUES[column.type]
    # Half of what is done is done to the same few rows.
    value = st.sampled_from(values[:1] * 2 + values if column.name == "a" else values)
    may_lack = not (column.needed or column.identity or column.name in {"a", "b"})
    return draw(st.one_of(value, value, value, st.none()) if may_lack else value)


def _given(draw: st.DrawFn, table: Table) -> list[Column]:
    """What an INSERT names: all, or not those that have a default to fall back to."""
    every = draw(st.integers(0, 3)) < 3
    return [c for c in draw(st.permutations(table.given)) if every or c.default is None]


def _rows(draw: st.DrawFn, columns: Sequence[Column], words: Words) -> str:
    rows = [
        ", ".join(words.value(c, _value(draw, c)) for c in columns)
        for _ in range(draw(st.sampled_from([1, 1, 2])))
    ]
    return ", ".join(f"({row})" for row in rows)


def _names(columns: Sequence[Column]) -> str:
    return ", ".join(ident(c.name) for c in columns)


def _where(draw: st.DrawFn, table: Table, words: Words) -> str:
    chosen = draw(st.sampled_from([*["one"] * 6, "two", "both", "kept", "all"]))
    a = table.column("a")
    if chosen == "two":
        one, other = (words.value(a, _value(draw, a)) for _ in range(2))
        return f"WHERE a IN ({one}, {other})"
    if chosen == "both" and len(table.key) == 2:
        b = table.column("b")
        return (
            f"WHERE a = {words.value(a, _value(draw, a))} AND b = {words.value(b, _value(draw, b))}"
        )
    if chosen == "kept":
        return f"WHERE {ident(draw(st.sampled_from(table.kept)).name)} IS NULL"
    if chosen == "all":
        return ""
    return f"WHERE a = {words.value(a, _value(draw, a))}"


def _set(draw: st.DrawFn, table: Table, words: Words) -> str:
    able = [c for c in table.given if c.identity != "ALWAYS"]
    # Mostly what is kept: keys that change are worth having, and are refused often.
    chosen = st.lists(st.sampled_from([*table.kept, *able]), min_size=1, max_size=2, unique=True)
    return ", ".join(f"{ident(c.name)} = {words.value(c, _value(draw, c))}" for c in draw(chosen))


def _returning(draw: st.DrawFn) -> str:
    return draw(st.sampled_from(["", "", " RETURNING *", " RETURNING a AS k, tableoid::regclass"]))


def _overriding(table: Table) -> str:
    return "OVERRIDING SYSTEM VALUE " if any(c.identity for c in table.columns) else ""


def _insert(draw: st.DrawFn, table: Table, words: Words) -> str:
    columns = _given(draw, table)
    conflict = ["", "", " ON CONFLICT DO NOTHING"]
    if table.key and not table.heir:
        kept = draw(st.sampled_from(table.kept))
        name = ident(kept.name)
        key = ", ".join(table.key)
        conflict.append(f" ON CONFLICT ({key}) DO UPDATE SET {name} = excluded.{name}")
    return (
        f"INSERT INTO {table} ({_names(columns)}) {_overriding(table)}"
        f"VALUES {_rows(draw, columns, words)}{draw(st.sampled_from(conflict))}{_returning(draw)}"
    )


def _update(draw: st.DrawFn, table: Table, words: Words) -> str:
    target = draw(st.sampled_from([f"{table}", f"{table} AS x"]))
    return (
        f"UPDATE {target} SET {_set(draw, table, words)}"
        f" {_where(draw, table, words)}{_returning(draw)}"
    )


def _delete(draw: st.DrawFn, table: Table, words: Words) -> str:
    return f"DELETE FROM {table} {_where(draw, table, words)}{_returning(draw)}"


def _delete_using(draw: st.DrawFn, table: Table, words: Words) -> str:
    a = table.column("a")
    value = words.value(a, _value(draw, a))
    return f"WITH w AS (SELECT {value} AS k) DELETE FROM {table} x USING w WHERE x.a = w.k"


def _merge(draw: st.DrawFn, table: Table, words: Words) -> str:
    columns = table.given
    values = ", ".join(words.value(c, _value(draw, c)) for c in columns)
    on = " AND ".join(f"x.{k} = s.{k}" for k in table.key or ("a",))
    name = ident(draw(st.sampled_from(table.kept)).name)
    matched = draw(st.sampled_from([f"UPDATE SET {name} = s.{name}", "DELETE", "DO NOTHING"]))
    return (
        f"MERGE INTO {table} x USING (VALUES ({values})) s ({_names(columns)}) ON {on}"
        f" WHEN MATCHED THEN {matched} WHEN NOT MATCHED THEN INSERT ({_names(columns)})"
        f" {_overriding(table)}VALUES ({', '.join(f's.{ident(c.name)}' for c in columns)})"
    )


def _moved(draw: st.DrawFn, table: Table, words: Words) -> str:
    change = draw(st.sampled_from([_delete, _update]))(draw, table, words)
    change = change.split(" RETURNING ", maxsplit=1)[0]
    name = ident(draw(st.sampled_from(table.kept)).name)
    return (
        f"WITH d AS ({change} RETURNING a::text AS k, {name}::text AS v)"
        f" INSERT INTO {SCHEMA}.audit SELECT '{table.name}', k, v FROM d"
    )


def _beside(draw: st.DrawFn, table: Table, words: Words) -> str:
    change = _update(draw, table, words).split(" RETURNING ", maxsplit=1)[0]
    return (
        f"WITH u AS ({change} RETURNING a),"
        f" i AS (INSERT INTO {SCHEMA}.audit VALUES ('{table.name}', 'beside')) SELECT * FROM u"
    )


def _call(draw: st.DrawFn, table: Table, words: Words) -> str:
    a, kept = table.column("a"), table.kept[0]
    key = words.value(a, _value(draw, a))
    words.values.append(draw(st.sampled_from(VALUES[kept.type])))
    return f"SELECT {SCHEMA}.put_{table.name}({key}, ${len(words.values)}::text)"


def _truncate(draw: st.DrawFn, table: Table, words: Words) -> str:
    return f"TRUNCATE {table}{draw(st.sampled_from(['', ' CASCADE']))}"


def _whole(draw: st.DrawFn, table: Table) -> str:
    """A statement with its values in it."""
    words = Words()
    text = draw(st.sampled_from([_insert, _update, _delete]))(draw, table, words)
    return Statement(text, tuple(words.values), "simple").whole()


def _do(draw: st.DrawFn, table: Table, words: Words) -> str:
    change = _whole(draw, table).split(" RETURNING ", maxsplit=1)[0]
    return f"DO $do$ BEGIN {change}; END $do$"


def _executed(draw: st.DrawFn, table: Table, words: Words) -> str:
    name = f"p{draw(st.integers(0, 10**6))}"
    return f"PREPARE {name} AS {_whole(draw, table)}; EXECUTE {name}; DEALLOCATE {name}"


def _explained(draw: st.DrawFn, table: Table, words: Words) -> str:
    return f"EXPLAIN (ANALYZE, TIMING OFF) {_whole(draw, table)}"


def _several(draw: st.DrawFn, table: Table, words: Words) -> str:
    return f"{_whole(draw, table)}; {_whole(draw, table)}"


def _current(draw: st.DrawFn, table: Table, words: Words) -> str:
    a, kept = table.column("a"), table.kept[0]
    key, value = literal(_value(draw, a)), literal(_value(draw, kept))
    return (
        f"DO $do$ DECLARE c CURSOR FOR SELECT FROM {table} WHERE a = {key}::{a.type} FOR UPDATE;"
        f" BEGIN OPEN c; MOVE c; IF FOUND THEN UPDATE {table} SET {ident(kept.name)} ="
        f" {value}::{kept.type} WHERE CURRENT OF c; END IF; END $do$"
    )


MAKERS = (
    *(*[_update] * 8, *[_insert] * 4, *[_delete] * 3),
    *(_delete_using, _merge, _merge, _moved, _beside, _call, _do, _executed, _explained),
    *(_several, _current),
)
RARELY = (_truncate,)
SIMPLE_ONLY = frozenset({_executed, _several})


def _copy(draw: st.DrawFn, table: Table) -> Statement:
    columns = _given(draw, table)
    values = [_value(draw, c) for _ in range(draw(st.integers(1, 2))) for c in columns]
    text = f"COPY {table} ({_names(columns)}) FROM STDIN"
    return Statement(text, tuple(values), "copy", len(columns))


@st.composite
def statements(draw: st.DrawFn, found: tuple[Table, ...]) -> Statement:
    table = draw(st.sampled_from([found[0], found[0], *found]))
    rare = draw(st.integers(0, 24))
    if rare == 24:
        return _copy(draw, table)
    make = draw(st.sampled_from(RARELY if rare == 23 else MAKERS))
    words = Words()
    text = make(draw, table, words)
    mode = "simple" if make in SIMPLE_ONLY else draw(st.sampled_from(MODES))
    return Statement(text, tuple(words.values), mode)


@st.composite
def first_rows(draw: st.DrawFn, found: tuple[Table, ...]) -> tuple[str, ...]:
    rows = []
    for table in found:
        for _ in range(draw(st.integers(2, 4))):
            words = Words()
            columns = [*table.given]
            values = ", ".join(words.value(c, _value(draw, c)) for c in columns)
            text = f"INSERT INTO {table} ({_names(columns)}) {_overriding(table)}VALUES ({values})"
            rows.append(Statement(text, tuple(words.values), "simple").whole())
        if table.heir:
            rows.append(rows[-1].replace(str(table), f"{SCHEMA}.{table.name}_heir", 1))
    return tuple(rows)
